//! A parent's turn that is cancelled, fails or expires takes its children along.

use std::time::Duration;

use agent_shell_core::testing::{BoxError, Host};
use agent_shell_core::{Actor, Call, Delegate, Outcome, Plan, Shell, Step, Tool, ToolError};
use serde_json::{Value, json};

use super::{booking, kit, pairs, then};
use crate::sagas::{Log, call, tools};
use crate::support::limits;

/// Two children beside each other, one with a child of its own, between two calls.
fn a_family() -> Plan {
    let young = Step::child("young", booking(&["m"])).after(["x"]);
    let elder = Plan::new([call("x", "book"), young, then("y", "book", "young")]).unwrap();
    let elder = Step::child("elder", Delegate::to_plan(elder, json!(null))).after(["a"]);
    let other = Step::child("other", booking(&["o"])).after(["a"]);
    let last = call("b", "book").after(["elder", "other"]);
    Plan::new([call("a", "book"), elder, other, last]).unwrap()
}

async fn is_cancelled_after(host: Host<Log>, after: Duration) -> Result<bool, BoxError> {
    let turn = host.session("ada")?.submit(a_family()).dedupe("1").await?;
    host.sleep(after).await;
    // It may have ended by then.
    drop(turn.cancel("not needed", &Actor::Host).await);
    let outcome = turn.outcome().await?;
    for child in turn.children().await? {
        drop(child.turn.outcome().await?);
        for grandchild in child.turn.children().await? {
            drop(grandchild.turn.outcome().await?);
        }
    }
    Ok(outcome == Outcome::Cancelled)
}

#[test]
fn a_cancel_at_any_time_leaves_all_or_nothing_of_all_children() {
    let (mut cancelled, mut answered) = (0, 0);
    for after_ms in 0..150 {
        let run = kit().seed(after_ms);
        let run = run.run(move |host| is_cancelled_after(host, Duration::from_millis(after_ms))).unwrap();
        run.journal.assert_ended();
        let (booked, mut undone) = (run.world.of("book"), run.world.of("unbook"));
        match run.outcome {
            true => {
                let mut booked = booked.clone();
                booked.sort();
                undone.sort();
                assert_eq!(booked, undone, "cancelled after {after_ms} ms: {:?}", run.world.all());
                cancelled += 1;
            }
            false => {
                assert_eq!((booked.len(), undone.len()), (6, 0), "not cancelled after {after_ms} ms");
                answered += 1;
            }
        }
    }
    assert!(cancelled >= 20 && answered >= 5, "{cancelled} cancelled, {answered} answered");
}

async fn is_cancelled_by_a_person(host: Host<Log>) -> Result<Outcome, BoxError> {
    let wait = Step::approval("ask", json!("go on?")).after(["x"]);
    let kid = Delegate::to_plan(Plan::new([call("x", "book"), wait])?, json!(null));
    let plan = Plan::new([call("a", "book"), Step::child("kid", kid).after(["a"])])?;
    let turn = host.session("ada")?.submit(plan).dedupe("1").await?;
    while turn.ended().await?.is_none() && host.shell().rests().await?.is_empty() {
        host.sleep(Duration::from_millis(20)).await;
    }
    drop(turn.cancel("not needed", &Actor::Host).await);
    Ok(turn.outcome().await?)
}

#[test]
fn a_child_that_waits_for_a_person_is_cancelled_with_its_parent_whatever_crashes() {
    let sweep = kit().each_crash(is_cancelled_by_a_person).unwrap();
    assert!(sweep.crashes() >= 20, "{}", sweep.crashes());
    for run in sweep.runs() {
        assert_eq!(run.outcome, Outcome::Cancelled);
        assert_eq!(run.world.all(), pairs(&[("book", "a"), ("book", "x"), ("unbook", "x"), ("unbook", "a")]));
        run.journal.assert_ended();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_and_a_deadline_end_children_too() {
    let world = std::sync::Arc::new(Log::default());
    let shell =
        tools(&world).into_iter().fold(Shell::volatile().limits(limits()), |shell, tool| shell.tool(tool));
    let shell = shell.open().await.unwrap();
    let session = shell.session("ada").unwrap();
    let waits = || {
        let wait = Plan::new([Step::approval("ask", json!("go on?"))]).unwrap();
        Step::child("kid", Delegate::to_plan(wait, json!(null)))
    };
    let child_rests = async || {
        while shell.rests().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let fails = [waits(), Step::signal("soon", "soon"), then("c", "refuse", "soon")];
    let failed = session.submit(Plan::new(fails).unwrap()).await.unwrap();
    child_rests().await;
    session.signal("soon", 1, None, &Actor::Host).await.unwrap();
    assert!(matches!(failed.outcome().await.unwrap(), Outcome::Failed(_)));
    let expires = session.submit(Plan::new([waits()]).unwrap()).deadline(Duration::from_secs(3));
    let expired = expires.await.unwrap();
    child_rests().await;
    assert_eq!(expired.outcome().await.unwrap(), Outcome::Expired);
    for turn in [failed, expired] {
        let child = turn.children().await.unwrap().remove(0);
        assert_eq!(child.turn.ended().await.unwrap(), Some(Outcome::Cancelled));
    }
    assert!(shell.rests().await.unwrap().is_empty());
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_has_not_started_is_withdrawn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let mut narrow = limits();
    narrow.held_sessions = 1;
    // As long as the parent is at work, the child's session is held by nobody.
    let hang = Tool::pure("hang", "", |_: Value, _: Call| async {
        std::future::pending::<()>().await;
        Ok::<_, ToolError>(())
    });
    let shell = Shell::at(&path).limits(narrow).tool(hang).open().await.unwrap();
    let wait = Plan::new([Step::approval("ask", json!("go on?"))]).unwrap();
    let kid = Step::child("kid", Delegate::to_plan(wait, json!(null)));
    let plan = Plan::new([kid, Step::tool("work", "hang", json!(null))]).unwrap();
    let turn = shell.session("ada").unwrap().submit(plan).await.unwrap();
    while turn.children().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    turn.cancel("not needed", &Actor::Host).await.unwrap();
    let outcome = tokio::time::timeout(Duration::from_secs(20), turn.outcome()).await.expect("it ends");
    assert_eq!(outcome.unwrap(), Outcome::Cancelled);
    let child = turn.children().await.unwrap().remove(0);
    assert_eq!(child.turn.ended().await.unwrap(), Some(Outcome::Cancelled));
    let records = shell.history(child.session).await.unwrap().next(64).await.unwrap();
    assert!(records.iter().all(|record| record.body.kind() != "turn.started"), "{records:?}");
    shell.shutdown().await.unwrap();
}
