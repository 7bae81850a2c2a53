//! The simulation: a short run in which no promise is broken, one seed that is the same run twice, and deliberate faults
//! that it finds.

use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::volatile::{VolatileKeys, VolatileStore};
use agent_shell_core::data::{Body, Lane, MailKind};
use agent_shell_core::ports::{Dedupe, MailItem, Mailbox, Post, PostError, Posted, StoreError};
use agent_shell_core::words::{Digest, MailId, OwnerId, SessionId};
use agent_shell_core::{Actor, Shell};
use agent_shell_tests::simulate::{Bug, Rule, WorldFault, simulate};
use async_trait::async_trait;

use crate::support::limits;

fn program(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simulate")).args(arguments.split_whitespace()).output().unwrap()
}

/// For how long seeds are tried here. `.ci/run` tries many more, in release mode.
const A_WHILE: Duration = Duration::from_secs(6);

#[test]
fn some_seeds_break_no_promise() {
    let (begun, mut records) = (Instant::now(), 0);
    for seed in (0..50).take_while(|seed| *seed < 3 || begun.elapsed() < A_WHILE) {
        let run = simulate(seed, None, false);
        assert!(run.breaches.is_empty(), "replay with `simulate --seed {seed} --trace`: {:#?}", run.breaches);
        // A user who is forgotten before the first turn leaves a run without records.
        let is_forgotten = run.coverage.world.keys().any(|fault| *fault == WorldFault::PurgeRepeated);
        assert!(run.records > 0 || is_forgotten, "seed {seed} did nothing");
        records += run.records;
    }
    assert!(records > 100, "they did {records} records");
}

#[test]
fn one_seed_is_one_run() {
    let (first, second) = (simulate(101, None, false), simulate(101, None, true));
    assert!(!first.journals.is_empty());
    assert!(first.journals == second.journals, "one seed wrote other journals the second time");
    assert_eq!((first.polls, first.lasted), (second.polls, second.lasted));
    assert!(simulate(1, None, false).journals != first.journals, "two seeds are two runs");
}

/// Looks for a seed that finds a deliberate fault by this rule.
#[track_caller]
fn expect(bug: Bug, rule: Rule) {
    let finds = |seed| {
        let breaches = simulate(seed, Some(bug), false).breaches;
        breaches.iter().any(|breach| breach.rule == rule)
    };
    assert!((11..111).any(finds), "{bug} is not found by {rule:?}");
}

#[test]
fn a_journal_that_takes_the_appends_of_a_stale_owner_is_found() {
    expect(Bug::FencingDropped, Rule::Fence);
}

#[test]
fn a_mailbox_that_ignores_dedupe_keys_is_found() {
    expect(Bug::DedupeIgnored, Rule::Twice);
}

#[test]
fn an_act_before_its_intent_is_durable_is_found() {
    expect(Bug::IntentAfterAct, Rule::Intent);
}

#[test]
fn a_snapshot_that_is_off_by_one_is_found() {
    expect(Bug::SnapshotOffByOne, Rule::Snapshot);
}

#[test]
fn a_lease_whose_margin_is_ignored_is_found() {
    expect(Bug::LeaseMarginIgnored, Rule::Lease);
}

#[test]
fn rows_that_are_acknowledged_before_the_bus_has_them_are_found() {
    expect(Bug::OutboxCursorEarly, Rule::Outbox);
}

#[test]
fn a_mark_that_is_ahead_of_its_effect_is_found() {
    expect(Bug::MarkBeforeEffect, Rule::Mark);
}

#[test]
fn events_that_the_outbox_has_and_does_not_give_are_found() {
    expect(Bug::ReplayForgotten, Rule::Undelivered);
}

#[test]
fn keys_that_are_kept_after_a_purge_are_found() {
    expect(Bug::KeysKept, Rule::Purge);
}

#[test]
fn results_in_another_order_than_their_calls_are_found() {
    expect(Bug::ResultsReordered, Rule::Talk);
}

#[test]
fn a_question_that_is_asked_again_when_its_answer_is_durable_is_found() {
    expect(Bug::AskedAgain, Rule::Talk);
}

#[test]
fn a_question_that_shows_more_than_its_policy_allows_is_found() {
    expect(Bug::BoundIgnored, Rule::Talk);
}

#[test]
fn a_loop_without_an_end_is_found() {
    expect(Bug::LoopUnbounded, Rule::Talk);
}

#[test]
fn an_answer_that_the_model_did_not_give_is_found() {
    expect(Bug::AnswerChanged, Rule::Talk);
}

#[test]
fn a_ledger_that_takes_what_does_not_fit_is_found() {
    expect(Bug::CeilingIgnored, Rule::Budget);
}

#[test]
fn settlements_that_are_forgotten_are_found() {
    expect(Bug::SettlementsForgotten, Rule::Budget);
}

#[test]
fn an_overrun_that_closes_nothing_is_found() {
    expect(Bug::OverrunIgnored, Rule::Budget);
}

#[test]
fn a_turn_that_is_said_to_have_ended_too_early_is_found() {
    expect(Bug::EndedEarly, Rule::Follow);
}

#[test]
fn a_record_that_is_told_again_is_found() {
    expect(Bug::FollowedAgain, Rule::Follow);
}

#[test]
fn text_whose_end_is_not_told_is_found() {
    expect(Bug::RetractionForgotten, Rule::Follow);
}

#[test]
fn a_guard_whose_denial_is_ignored_is_found() {
    expect(Bug::GuardsIgnored, Rule::Guard);
}

#[test]
fn guards_that_are_asked_again_are_found() {
    expect(Bug::GuardsAskedAgain, Rule::Guard);
}

#[test]
fn a_compensation_that_is_called_for_another_call_is_found() {
    expect(Bug::UndoOther, Rule::Undo);
}

#[test]
fn a_compensation_that_is_called_twice_is_found() {
    expect(Bug::UndoTwice, Rule::Undo);
}

#[test]
fn an_optimistic_step_that_is_given_what_it_had_read_before_is_found() {
    expect(Bug::StaleRead, Rule::Optimistic);
}

#[test]
fn a_child_that_starts_before_its_parent_says_so_is_found() {
    expect(Bug::ChildEarly, Rule::Child);
}

#[test]
fn what_is_told_a_parent_or_a_child_twice_is_found() {
    expect(Bug::ChildTwice, Rule::Child);
}

#[test]
fn a_child_that_is_not_cancelled_is_found() {
    expect(Bug::ChildCancelLost, Rule::Child);
}

#[test]
fn what_is_said_to_a_turn_and_lost_is_found() {
    expect(Bug::SteersLost, Rule::Steer);
}

#[test]
fn a_planner_that_is_not_shown_what_was_said_is_found() {
    expect(Bug::SteersUnshown, Rule::Steer);
}

#[test]
fn the_program_tells_how_to_replay_what_it_finds() {
    let output = program("--seeds 3 --bug snapshot-off-by-one");
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    let replay = errors.lines().find_map(|line| line.split_once("replay with ")).map(|(_, replay)| replay);
    let again = program(replay.unwrap_or_else(|| panic!("no replay is told: {errors}")));
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("Snapshot"));
}

#[test]
fn a_wrong_command_line_is_refused() {
    for (arguments, named) in [
        ("--sed 3", "--sed"),
        ("--seed 1 --seeds 2", "--seeds"),
        ("--trace", "--trace"),
        ("--bug none", "fencing-dropped"),
    ] {
        let output = program(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(named), "{arguments}");
    }
}

/// A mailbox whose inputs can't be read now, so many times.
struct Busy {
    inner: Arc<dyn Mailbox>,
    times: AtomicU32,
}

#[async_trait]
impl Mailbox for Busy {
    async fn post(&self, post: Post) -> Result<Posted, PostError> {
        self.inner.post(post).await
    }

    async fn waiting(
        &self,
        session: SessionId,
        lane: Lane,
        after: Option<MailId>,
        limit: usize,
    ) -> Result<Vec<MailItem>, StoreError> {
        let one_less = |left: u32| left.checked_sub(1);
        if lane == Lane::Input
            && self.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
        {
            return Err(StoreError::Unavailable { detail: "it is busy".into() });
        }
        self.inner.waiting(session, lane, after, limit).await
    }

    async fn awaiting(
        &self,
        owner: OwnerId,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionId>, StoreError> {
        self.inner.awaiting(owner, after, limit).await
    }

    async fn dedupe(
        &self,
        session: SessionId,
        kind: MailKind,
        key: Digest,
    ) -> Result<Option<Dedupe>, StoreError> {
        self.inner.dedupe(session, kind, key).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_is_taken_once_when_what_is_behind_it_can_not_be_read() {
    let mut store = VolatileStore::store(Arc::new(SystemClock::new()));
    store.mailbox = Arc::new(Busy { inner: store.mailbox.clone(), times: AtomicU32::new(5) });
    let shell = Shell::on(store, Arc::new(VolatileKeys::new())).limits(limits()).open().await.unwrap();
    let session = shell.session("a").unwrap();
    for name in ["first", "second", "third"] {
        session.signal(name, 1, None, &Actor::Host).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    let mut taken = Vec::new();
    let mut history = session.history().await.unwrap();
    loop {
        let entries = history.next(100).await.unwrap();
        if entries.is_empty() {
            break;
        }
        taken.extend(entries.into_iter().filter_map(|entry| match entry.body {
            Body::SignalReceived { name, .. } => Some(name.to_string()),
            _ => None,
        }));
    }
    assert_eq!(taken, ["first", "second", "third"]);
    shell.shutdown().await.unwrap();
}
