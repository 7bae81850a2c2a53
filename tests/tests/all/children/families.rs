//! Random families: plans with children of children, cancelled at any time, in processes that die at any poll.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_shell_core::data::Body;
use agent_shell_core::testing::{BoxError, Crash, Host, Problem, Records, TestKit, Trouble};
use agent_shell_core::words::{StepId, TurnId};
use agent_shell_core::{Actor, Delegate, Outcome, Plan, Step, Turn};
use serde_json::json;

use super::kit;
use crate::sagas::{Log, call};

/// A linear congruential generator (Knuth, MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A plan of bookings and children, each after one before it or after none, with how many bookings there are in all of them.
/// One in `fails` ends with a failure; with 0 none does.
fn family(random: &mut Random, depth: u64, fails: u64, booked: &mut u64) -> Plan {
    let mut steps: Vec<Step> = Vec::new();
    for place in 0..=random.below(3) {
        let is_child = depth < 3 && random.below(3) > 0;
        let step = if is_child {
            let plan = family(random, depth + 1, fails, booked);
            Step::child(format!("child-{depth}-{place}"), Delegate::to_plan(plan, json!(null)))
        } else {
            *booked += 1;
            call(&format!("book-{booked}"), "book")
        };
        let after = random.below(place + 1);
        steps.push(if after < place { step.after([steps[after as usize].id.clone()]) } else { step });
    }
    if fails > 0 && random.below(fails) == 0 {
        let all: Vec<StepId> = steps.iter().map(|step| step.id.clone()).collect();
        steps.push(call("fails", "refuse").after(all));
    }
    Plan::new(steps).unwrap()
}

/// Waits until a turn and all below it have ended.
fn all_end(turn: Turn) -> std::pin::Pin<Box<dyn Future<Output = Result<Outcome, BoxError>> + Send>> {
    Box::pin(async move {
        let outcome = turn.outcome().await?;
        for child in turn.children().await? {
            all_end(child.turn).await?;
        }
        Ok(outcome)
    })
}

async fn lives(host: Host<Log>, plan: Plan, cancel_ms: Option<u64>) -> Result<Outcome, BoxError> {
    let turn = host.session("ada")?.submit(plan).dedupe("1").await?;
    if let Some(after) = cancel_ms {
        host.sleep(Duration::from_millis(after)).await;
        drop(turn.cancel("not needed", &Actor::Host).await);
    }
    all_end(turn).await
}

/// No step has two children, and no child was told of twice in the same way.
fn check_records(journal: &Records, seed: u64) {
    let (mut started, mut ended) = (BTreeMap::new(), BTreeMap::new());
    for record in journal.all() {
        let of = |turn: TurnId, step: &StepId| (turn, step.clone());
        match &record.entry.body {
            Body::ChildStarted { turn, step, .. } => *started.entry(of(*turn, step)).or_insert(0) += 1,
            Body::ChildEnded { turn, step, .. } => *ended.entry(of(*turn, step)).or_insert(0) += 1,
            _ => {}
        }
    }
    for counts in [&started, &ended] {
        assert!(counts.values().all(|count| *count == 1), "seed {seed}: {counts:?}");
    }
}

#[test]
fn families_end_with_all_or_nothing_applied_whatever_dies_and_is_cancelled() {
    let (mut answered, mut undone, mut crashed) = (0, 0, 0);
    for seed in 0..100 {
        let mut random = Random(seed);
        let (mut booked, fails) = (0, [0, 3, 6][random.below(3) as usize]);
        let plan = family(&mut random, 0, fails, &mut booked);
        let cancel_ms = (random.below(3) == 0).then(|| random.below(120));
        let of_plan = plan.clone();
        let run = |kit: TestKit<Log>| {
            let plan = of_plan.clone();
            kit.seed(seed).run(move |host| lives(host, plan.clone(), cancel_ms))
        };
        let poll = 1 + random.below(150);
        // A short life has fewer polls.
        let run = match run(kit().crash_at(Crash::after_poll(poll))) {
            Ok(run) => run,
            Err(Trouble { problem: Problem::NotReached, .. }) => run(kit()).unwrap(),
            Err(trouble) => panic!("{trouble}"),
        };
        crashed += u32::from(run.crash.is_some());
        check_records(&run.journal, seed);
        run.journal.assert_ended();
        let (mut did, mut took_back) = (run.world.of("book"), run.world.of("unbook"));
        match run.outcome {
            Outcome::Answered(_) => {
                assert_eq!((did.len() as u64, took_back.len()), (booked, 0), "seed {seed}");
                answered += 1;
            }
            _ => {
                did.sort();
                took_back.sort();
                assert_eq!(did, took_back, "seed {seed}: {:?}", run.world.all());
                undone += u32::from(!did.is_empty());
            }
        }
    }
    assert!(answered > 15 && undone > 15 && crashed > 50, "{answered}, {undone}, {crashed}");
}
