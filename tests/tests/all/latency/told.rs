//! What is told, and that it is told once although the process dies at any record.

use std::collections::{BTreeMap, BTreeSet};

use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::volatile::{VolatileKeys, VolatileStore};
use agent_shell_core::ports::OutboxPosition;
use agent_shell_core::{Envelope, Request, Shell};

use super::*;

/// All that can take too long does.
fn tight() -> LatencyBudgets {
    LatencyStage::ALL.into_iter().fold(LatencyBudgets::NONE, |budgets, stage| budgets.with(stage, ms(1)))
}

async fn planned(host: Host<Target>) -> Result<(), BoxError> {
    let turn =
        host.session("ada")?.submit(Request::new(json!(30)).planner("slow")).dedupe("request-1").await?;
    turn.outcome().await?;
    let steps = [
        Step::tool("book", "book", json!(40)),
        Step::tool("fail", "fail", json!(40)),
        Step::tool("late", "look", json!(40)).lock("desk"),
        Step::tool("later", "look", json!(40)).lock("desk"),
        Step::tool("refuse", "refuse", json!(0)).after(["book", "fail", "late", "later"]),
    ];
    let turn = host.session("ada")?.submit(Plan::new(steps)?).dedupe("request-2").await?;
    turn.outcome().await?;
    Ok(())
}

#[test]
fn it_is_told_once_wherever_the_process_dies() {
    let sweep = kit(tight()).each_crash(planned).unwrap();
    assert!(sweep.crashes() > 20, "{}", sweep.crashes());
    let mut stages = BTreeSet::new();
    for run in sweep.runs() {
        let mut told = BTreeMap::<_, u32>::new();
        for record in run.journal.all() {
            let Some(breach) = Breach::of(&record.entry.body) else { continue };
            let turn = record.entry.body.turn().unwrap();
            *told.entry((turn, breach.stage, breach.step)).or_default() += 1;
            stages.insert(breach.stage);
        }
        assert!(told.values().all(|times| *times == 1), "{:?}: {told:?}", run.crash);
        let times = |stage, step: &str| {
            let step = (!step.is_empty()).then_some(step);
            told.keys().filter(|(_, of, which)| *of == stage && which.as_deref() == step).count()
        };
        // What takes too long in every life is told in every run.
        for call in ["book", "fail", "late", "later"] {
            assert_eq!(times(LatencyStage::Tool, call), 1, "{call}, {:?}: {told:?}", run.crash);
        }
        assert_eq!(times(LatencyStage::Plan, ""), 1, "{:?}: {told:?}", run.crash);
        assert_eq!(times(LatencyStage::Turn, ""), 2, "{:?}: {told:?}", run.crash);
        assert_eq!(times(LatencyStage::Schedule, "later"), 1, "{:?}: {told:?}", run.crash);
        run.journal.assert_ended();
    }
    let all: BTreeSet<_> =
        LatencyStage::ALL.into_iter().filter(|stage| *stage != LatencyStage::Model).collect();
    assert_eq!(stages, all);
}

/// The record that ends the stage brings it.
#[test]
fn it_is_written_with_the_record_that_ends_the_stage() {
    let run = kit(tight()).run(planned).unwrap();
    let all = run.journal.all();
    let mut seen = BTreeSet::new();
    for (place, record) in all.iter().enumerate() {
        let Some(Breach { stage, step, .. }) = Breach::of(&record.entry.body) else { continue };
        let beside = |other: usize| all.get(other).map(|record| &record.entry.body);
        let (before, after) = (beside(place - 1), beside(place + 1));
        let is_there = match stage {
            LatencyStage::Accept => matches!(before, Some(Body::TurnStarted { .. })),
            LatencyStage::Plan => matches!(before, Some(Body::PlanAdopted { .. })),
            LatencyStage::Tool => before.and_then(Body::step).map(ToString::to_string) == step,
            LatencyStage::Turn => matches!(after, Some(Body::TurnEnded { .. })),
            _ => continue,
        };
        assert!(is_there, "{stage}: {:?}", run.journal.kinds());
        seen.insert(stage);
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

/// Each append is a place to crash before and after.
#[test]
fn it_takes_no_append_of_its_own() {
    let crashes = |budgets| kit(budgets).each_crash(planned).unwrap().crashes();
    assert_eq!(crashes(tight()), crashes(LatencyBudgets::NONE));
}

/// Another process may be given others.
#[test]
fn the_budgets_of_a_turn_are_those_it_was_started_with() {
    let kit = TestKit::new(|life| {
        let budget = if life.number() == 1 { 35 } else { 1_000 };
        shell(life).latency(only(LatencyStage::Tool, budget))
    });
    let crash = agent_shell_core::testing::Crash::after("step.started");
    let plan = Plan::new([Step::tool("call", "act", json!(40))]).unwrap();
    let run = kit.crash_at(crash).run(move |host| run_plan(host, plan.clone())).unwrap();
    assert_eq!(run.lives, 2);
    assert_eq!(breaches(&run.journal), [breach(LatencyStage::Tool, Some("call"), 35, 40)]);
}

/// A plan that takes nothing up: what is said meanwhile is the next turn.
#[test]
fn what_is_said_to_a_turn_and_becomes_the_next_waits_from_when_it_was_said() {
    let steered = |host: Host<Target>| async move {
        let session = host.session("ada")?;
        let plan = |took: u64| Plan::new([Step::tool("call", "act", json!(took))]);
        let first = session.submit(plan(500)?).await?;
        host.sleep(ms(100)).await;
        let next = session.submit(plan(0)?).steer().await?;
        first.outcome().await?;
        next.outcome().await?;
        Ok::<_, BoxError>(())
    };
    let told = told(only(LatencyStage::Accept, 300), steered);
    let [late] = &told[..] else { panic!("{told:?}") };
    assert!((350..450).contains(&late.took_ms), "{late:?}");
}

#[test]
fn a_fork_has_the_budgets_but_that_of_the_turn_and_nothing_that_was_told() {
    let budgets = only(LatencyStage::Tool, 50).with(LatencyStage::Turn, ms(1));
    let forked = |host: Host<Target>| async move {
        let session = host.session("ada")?;
        let steps = [Step::tool("call", "look", json!(60)), Step::signal("go", "go").after(["call"])];
        session.submit(Plan::new(steps)?).await?;
        host.sleep(ms(1_000)).await;
        let records = session.history().await?.next(100).await?;
        assert!(records.iter().any(|entry| Breach::of(&entry.body).is_some()));
        let last = records.last().ok_or("no records")?.seq;
        let fork = session.fork("fork").at(last).await?;
        fork.signal("go", json!(1), None, &agent_shell_core::Actor::Host).await?;
        host.sleep(ms(1_000)).await;
        Ok::<_, BoxError>(fork.history().await?.next(100).await?)
    };
    let records = kit(budgets).run(forked).unwrap().outcome;
    assert!(records.iter().any(|entry| matches!(entry.body, Body::TurnEnded { .. })), "{records:?}");
    assert!(records.iter().all(|entry| Breach::of(&entry.body).is_none()), "{records:?}");
    let started = records.iter().find_map(|entry| match &entry.body {
        Body::TurnStarted { latency, .. } => latency.as_deref().copied(),
        _ => None,
    });
    assert_eq!(started, Some(only(LatencyStage::Tool, 50)));
}

/// A tool that takes longer than its budget on any machine.
fn sleeps() -> Tool {
    Tool::idempotent("sleeps", "Takes 20 ms at least", |_: Value, _: Call| async {
        tokio::time::sleep(ms(20)).await;
        Ok::<_, ToolError>(())
    })
}

#[tokio::test]
async fn each_is_one_event_in_its_place() {
    let store = VolatileStore::store(Arc::new(SystemClock::new()));
    let budgets = only(LatencyStage::Tool, 1).with(LatencyStage::Turn, ms(1));
    let shell = Shell::on(store.clone(), Arc::new(VolatileKeys::new())).events("/shops/eu").tool(sleeps());
    let shell = shell.latency(budgets).open().await.unwrap();
    let plan = Plan::new(["one", "two"].map(|step| Step::tool(step, "sleeps", json!(null)))).unwrap();
    let session = shell.session("ada").unwrap();
    let turn = session.submit(plan).await.unwrap();
    turn.outcome().await.unwrap();
    let mut records = BTreeMap::new();
    for entry in session.history().await.unwrap().next(100).await.unwrap() {
        if let Some(breach) = Breach::of(&entry.body) {
            records.insert(entry.seq.number(), breach);
        }
    }
    assert_eq!(records.len(), 3);
    let kept = store.outbox.kept(OutboxPosition::default(), 100).await.unwrap();
    let events: Vec<Envelope> =
        kept.iter().map(|item| serde_json::from_slice(&item.outgoing.envelope).unwrap()).collect();
    let types: Vec<_> = events.iter().map(|event| event.event_type.as_str()).collect();
    let breached = Envelope::LATENCY_BREACHED;
    assert_eq!(types, [Envelope::TURN_STARTED, breached, breached, breached, Envelope::TURN_ENDED]);
    let ids: BTreeSet<_> = events.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), events.len());
    let texts = kept.iter().map(|item| String::from_utf8_lossy(&item.outgoing.envelope));
    assert!(texts.into_iter().all(|text| !text.contains("sleeps") && !text.contains("\"one\"")));
    for event in &events[1..4] {
        assert_eq!(event.causation, Some(events[0].id.to_string()));
        let breach = &records[&event.data["record"].as_u64().unwrap()];
        let Breach { stage, budget_ms, took_ms, .. } = breach;
        let said = json!({
            "turn": turn.id(), "record": event.data["record"], "stage": stage, "budget_ms": budget_ms, "took_ms": took_ms,
        });
        assert_eq!(event.data, said);
    }
}
