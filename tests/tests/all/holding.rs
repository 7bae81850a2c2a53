//! Which sessions a shell holds: places are given back, and no session is held by nobody, whatever was not answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::volatile::{VolatileKeys, VolatileStore};
use agent_shell_core::data::MailKind;
use agent_shell_core::ports::{
    Claim, ClaimFilter, Duty, Lease, Ownership, OwnershipError, Post, Store, StoreError,
};
use agent_shell_core::words::{Epoch, MailId, OwnerId, Pseudonym, SessionId, Timestamp, TurnId};
use agent_shell_core::{Actor, Call, ErrorKind, FailureCode, Outcome, Plan, Shell, Step, Tool, ToolError};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::support::{limits, on_each};

/// What a shell does well within, unless it stands still.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_rest_make_room_also_with_inputs_behind_the_rest() {
    on_each(|shell, _| async {
        let mut few = limits();
        few.held_sessions = 2;
        let shell = shell.limits(few).open().await.unwrap();
        let ask = Plan::new([Step::approval("ask", json!("go on?"))]).unwrap();
        let mut resting = Vec::new();
        for name in ["a", "b", "c"] {
            let session = shell.session(name).unwrap();
            let first = session.submit(ask.clone()).await.unwrap();
            let behind =
                session.submit(Plan::new([Step::timer("t", Duration::ZERO)]).unwrap()).await.unwrap();
            let approval =
                tokio::time::timeout(SOON, first.approval()).await.expect("it has a place").unwrap();
            resting.push((approval.unwrap(), first, behind));
        }
        // Each of them goes on once it is asked to, and the input behind it follows.
        for (approval, first, behind) in resting {
            approval.approve(&Actor::Host).await.unwrap();
            for turn in [first, behind] {
                let outcome = tokio::time::timeout(SOON, turn.outcome()).await.expect("it goes on").unwrap();
                assert!(matches!(outcome, Outcome::Answered(_)), "{outcome:?}");
            }
        }
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_sleeps_makes_room_when_another_comes() {
    let mut few = limits();
    few.held_sessions = 2;
    let busy = Tool::pure("busy", "", |_: Value, _: Call| std::future::pending::<Result<Value, ToolError>>());
    let shell = Shell::volatile().limits(few).tool(busy).open().await.unwrap();
    let submit = async |name: &str, step| {
        shell.session(name).unwrap().submit(Plan::new([step]).unwrap()).await.unwrap()
    };
    let asleep = submit("asleep", Step::approval("ask", json!("go on?"))).await;
    asleep.approval().await.unwrap().expect("it rests");
    tokio::time::sleep(Duration::from_millis(100)).await;
    submit("busy", Step::tool("busy", "busy", json!(null))).await;
    let third = submit("third", Step::timer("t", Duration::ZERO)).await;
    let outcome = tokio::time::timeout(SOON, third.outcome()).await.expect("the one that sleeps makes room");
    assert!(matches!(outcome.unwrap(), Outcome::Answered(_)));
}

/// Ownership whose claims meet with trouble.
struct Troubled {
    inner: Arc<dyn Ownership>,
    trouble: Trouble,
}

enum Trouble {
    /// So many claims that find something are carried out and not answered.
    Unanswered(AtomicU32),
    /// The same, and they do not even come back.
    Hanging(AtomicU32),
    /// A claim without names waits until it is let through.
    HeldUp(tokio::sync::watch::Receiver<bool>),
    /// The process stands still before each of so many claims, until its lease has run out.
    LeaseRunsOut(AtomicU32),
}

/// Whether one is left; it is taken.
fn one_of(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

#[async_trait]
impl Ownership for Troubled {
    async fn enlist(&self, owner: OwnerId, lease: Duration) -> Result<Lease, OwnershipError> {
        self.inner.enlist(owner, lease).await
    }

    async fn renew(&self, owner: OwnerId) -> Result<Lease, OwnershipError> {
        self.inner.renew(owner).await
    }

    async fn claim(
        &self,
        owner: OwnerId,
        filter: ClaimFilter,
        limit: usize,
    ) -> Result<Vec<Claim>, OwnershipError> {
        match &self.trouble {
            Trouble::HeldUp(waits) if filter.sessions.is_none() => {
                waits.clone().wait_for(|waits| !waits).await.unwrap();
            }
            Trouble::LeaseRunsOut(left) if one_of(left) => self.inner.resign(owner).await?,
            _ => {}
        }
        let claims = self.inner.claim(owner, filter, limit).await?;
        match &self.trouble {
            Trouble::Unanswered(left) if !claims.is_empty() && one_of(left) => {
                Err(StoreError::Indeterminate { detail: "the answer was lost".into() }.into())
            }
            Trouble::Hanging(left) if !claims.is_empty() && one_of(left) => std::future::pending().await,
            _ => Ok(claims),
        }
    }

    async fn release(&self, owner: OwnerId, sessions: Vec<(SessionId, Epoch)>) -> Result<(), OwnershipError> {
        self.inner.release(owner, sessions).await
    }

    async fn hold(&self, owner: OwnerId, duty: Duty) -> Result<bool, OwnershipError> {
        self.inner.hold(owner, duty).await
    }

    async fn resign(&self, owner: OwnerId) -> Result<(), OwnershipError> {
        self.inner.resign(owner).await
    }
}

fn volatile() -> Store {
    VolatileStore::store(Arc::new(SystemClock::new()))
}

/// The store, with trouble when sessions are claimed.
fn troubled(store: &Store, trouble: Trouble) -> Store {
    let mut troubled = store.clone();
    troubled.ownership = Arc::new(Troubled { inner: store.ownership.clone(), trouble });
    troubled
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_claim_was_not_answered_is_driven_all_the_same() {
    let (store, keys) = (volatile(), Arc::new(VolatileKeys::new()));
    let shell = Shell::on(store.clone(), keys.clone()).limits(limits()).open().await.unwrap();
    let plan = Plan::new([Step::timer("t", Duration::from_millis(500))]).unwrap();
    let turn = shell.session("s").unwrap().submit(plan).await.unwrap();
    while store.journal.turn(turn.id()).await.unwrap().unwrap().started.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shell.shutdown().await.unwrap();
    // No mail waits in it: nothing but the claim itself says that it is this process's.
    let shell = Shell::on(troubled(&store, Trouble::Unanswered(AtomicU32::new(2))), keys)
        .limits(limits())
        .open()
        .await
        .unwrap();
    let outcome = tokio::time::timeout(SOON, shell.turn(turn.id()).outcome()).await;
    assert!(matches!(outcome.expect("the session is held by nobody").unwrap(), Outcome::Answered(_)));
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opening_that_is_given_up_holds_nothing() {
    let (store, keys) = (volatile(), Arc::new(VolatileKeys::new()));
    let mut patient = limits();
    patient.lease_ms = 3_600_000;
    let shell = Shell::on(store.clone(), keys.clone()).limits(patient.clone()).open().await.unwrap();
    let plan = Plan::new([Step::signal("wait", "go"), Step::timer("t", Duration::from_millis(50))]).unwrap();
    let turn = shell.session("s").unwrap().submit(plan).await.unwrap();
    while store.journal.turn(turn.id()).await.unwrap().unwrap().started.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shell.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let given_up = Shell::on(troubled(&store, Trouble::Hanging(AtomicU32::new(1))), keys.clone())
        .limits(patient.clone())
        .open();
    assert!(tokio::time::timeout(Duration::from_millis(200), given_up).await.is_err(), "its claim hangs");
    let shell = Shell::on(store, keys).limits(patient).open().await.unwrap();
    let session = shell.session("s").unwrap();
    session.signal("go", Value::Null, None, &Actor::Host).await.unwrap();
    let outcome = tokio::time::timeout(SOON, shell.turn(turn.id()).outcome()).await;
    assert!(outcome.expect("nobody holds the session").is_ok());
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_is_found_by_its_id_while_it_waits_and_one_that_never_was_is_not() {
    on_each(|shell, _| async {
        let shell = shell.open().await.unwrap();
        let session = shell.session("s").unwrap();
        session.submit(Plan::new([Step::signal("wait", "go")]).unwrap()).await.unwrap();
        let behind = session.submit(Plan::new([Step::timer("t", Duration::ZERO)]).unwrap()).await.unwrap();
        let found = shell.turn(behind.id());
        assert_eq!(found.ended().await.unwrap(), None);
        let early = found.abandon("not needed", &Actor::Host).await.unwrap_err();
        assert_eq!(early.kind(), ErrorKind::InvalidInput);
        let never = shell.turn(TurnId::from_bytes([7; 16]));
        assert_eq!(never.outcome().await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(never.ended().await.unwrap_err().kind(), ErrorKind::NotFound);
        session.signal("go", Value::Null, None, &Actor::Host).await.unwrap();
        let outcome = tokio::time::timeout(SOON, found.outcome()).await.expect("it runs when its turn comes");
        assert!(matches!(outcome.unwrap(), Outcome::Answered(_)));
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_was_damaged_ends_its_turn_and_holds_up_no_other() {
    let store = volatile();
    let shell =
        Shell::on(store.clone(), Arc::new(VolatileKeys::new())).limits(limits()).open().await.unwrap();
    let session = shell.session("s").unwrap();
    let plan = || Plan::new([Step::timer("t", Duration::ZERO)]).unwrap();
    session.submit(plan()).await.unwrap().outcome().await.unwrap();
    let turn = TurnId::from_bytes([9; 16]);
    let damaged = Post {
        id: MailId::from_bytes([8; 16]),
        session: session.id().await.unwrap(),
        kind: MailKind::Submit,
        system: false,
        dedupe: None,
        turn: Some(turn),
        actor: Pseudonym::HOST,
        named_actor: None,
        posted: Timestamp::from_millis(1),
        sealed: b"\x01 not what was sealed".to_vec(),
        quota: 10,
    };
    store.mailbox.post(damaged).await.unwrap();
    let next = session.submit(plan()).await.unwrap();
    let outcome = tokio::time::timeout(SOON, shell.turn(turn).outcome()).await.expect("it ends").unwrap();
    assert!(matches!(outcome, Outcome::Failed(failure) if failure.code == FailureCode::Unreadable));
    let outcome = tokio::time::timeout(SOON, next.outcome()).await.expect("the next one runs").unwrap();
    assert!(matches!(outcome, Outcome::Answered(_)));
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_shell_serves_all_who_come() {
    on_each(|shell, _| async {
        let mut few = limits();
        few.held_sessions = 8;
        few.poll_ms = 500;
        let shell = shell.limits(few).tool(crate::support::double()).open().await.unwrap();
        let mut turns = Vec::new();
        for n in 0..200 {
            let plan = Plan::new([Step::tool("a", "double", json!({ "n": n }))]).unwrap();
            turns.push(shell.session(format!("s{n}")).unwrap().submit(plan).await.unwrap());
        }
        // One new session at each poll would take a hundred seconds.
        for turn in turns {
            let outcome =
                tokio::time::timeout(SOON, turn.outcome()).await.expect("places are given on").unwrap();
            assert!(matches!(outcome, Outcome::Answered(_)));
        }
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_for_work_takes_up_what_is_wanted_already() {
    let (hold, waits) = tokio::sync::watch::channel(false);
    let store = troubled(&volatile(), Trouble::HeldUp(waits));
    let shell = Shell::on(store, Arc::new(VolatileKeys::new())).limits(limits());
    let shell = shell.tool(crate::support::double()).open().await.unwrap();
    // While the claim of a poll is held up, more sessions are wanted than one claim takes.
    hold.send(true).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut turns = Vec::new();
    for n in 0..300 {
        let plan = Plan::new([Step::tool("a", "double", json!({ "n": n }))]).unwrap();
        turns.push(shell.session(format!("s{n}")).unwrap().submit(plan).await.unwrap());
    }
    hold.send(false).unwrap();
    for turn in turns {
        let outcome = tokio::time::timeout(SOON, turn.outcome()).await.expect("the poll comes to an end");
        assert!(matches!(outcome.unwrap(), Outcome::Answered(_)));
    }
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_whose_lease_runs_out_time_and_again_before_it_claims_opens_all_the_same() {
    let store = volatile();
    let shell = |store: &Store| {
        let shell = Shell::on(store.clone(), Arc::new(VolatileKeys::new())).limits(limits());
        shell.tool(crate::support::double())
    };
    let slow = troubled(&store, Trouble::LeaseRunsOut(AtomicU32::new(3)));
    let shell = shell(&slow).open().await.expect("it enlists again");
    let plan = Plan::new([Step::tool("a", "double", json!({ "n": 1 }))]).unwrap();
    let turn = shell.session("s").unwrap().submit(plan).await.unwrap();
    let outcome = tokio::time::timeout(SOON, turn.outcome()).await.expect("it goes on").unwrap();
    assert!(matches!(outcome, Outcome::Answered(_)), "{outcome:?}");
    shell.shutdown().await.unwrap();
}
