//! What children applied is undone with their parent's turn: by their own sagas, in their steps' places.

use agent_shell_core::testing::{BoxError, Host};
use agent_shell_core::{Actor, Delegate, Outcome, Plan, Shell, Step, Undone};
use serde_json::json;

use super::{booking, count, kit, names, pairs, then};
use crate::sagas::{Log, call, tools};
use crate::support::limits;

/// A child between two calls, and then a failure.
fn a_child_between() -> Plan {
    let kid = Step::child("kid", booking(&["x", "y"])).after(["a"]);
    Plan::new([call("a", "book"), kid, then("b", "book", "kid"), then("c", "refuse", "b")]).unwrap()
}

async fn fails(host: Host<Log>, plan: Plan) -> Result<(Outcome, Undone), BoxError> {
    let turn = host.session("ada")?.submit(plan).dedupe("1").await?;
    let outcome = turn.outcome().await?;
    // What else is posted would be read by then.
    host.sleep(std::time::Duration::from_millis(500)).await;
    Ok((outcome, turn.undone().await?))
}

#[test]
fn what_a_child_applied_is_undone_in_its_place_whatever_crashes() {
    let sweep = kit().each_crash(|host| fails(host, a_child_between())).unwrap();
    assert!(sweep.crashes() >= 30, "{}", sweep.crashes());
    for run in sweep.runs() {
        let booked = [("book", "a"), ("book", "x"), ("book", "y"), ("book", "b")];
        let undone = [("unbook", "b"), ("unbook", "y"), ("unbook", "x"), ("unbook", "a")];
        assert_eq!(run.world.all(), pairs(&[booked, undone].concat()));
        assert!(
            matches!(&run.outcome.0, Outcome::Failed(failure) if failure.message == "it refuses on purpose")
        );
        assert_eq!(names(&run.outcome.1), (vec!["b", "kid", "a"], vec![]));
        assert_eq!(count(&run.journal, "mail.refused"), 0, "{:?}", run.journal.kinds());
        run.journal.assert_ended();
        run.journal.assert_order([
            "step.succeeded undo:b",
            "child.cancelled undo:kid",
            "turn.cancelled",
            "step.succeeded undo:y",
            "step.succeeded undo:x",
            "turn.ended",
            "child.ended undo:kid",
            "step.succeeded undo:kid",
            "step.succeeded undo:a",
            "turn.ended",
        ]);
    }
}

/// A child whose child books between two bookings of its own.
fn two_levels() -> Plan {
    let grandchild = Step::child("young", booking(&["m", "n"])).after(["x"]);
    let kid = Plan::new([call("x", "book"), grandchild, then("y", "book", "young")]).unwrap();
    let kid = Step::child("kid", Delegate::to_plan(kid, json!(null))).after(["a"]);
    Plan::new([call("a", "book"), kid, then("b", "book", "kid"), then("c", "refuse", "b")]).unwrap()
}

#[test]
fn children_of_children_are_undone_in_reverse_too() {
    let sweep = kit().each_crash(|host| fails(host, two_levels())).unwrap();
    for run in sweep.runs() {
        let steps = ["a", "x", "m", "n", "y", "b"];
        assert_eq!(run.world.of("book"), steps);
        assert_eq!(run.world.of("unbook"), steps.into_iter().rev().collect::<Vec<_>>());
        assert_eq!(names(&run.outcome.1), (vec!["b", "kid", "a"], vec![]));
        run.journal.assert_ended();
    }
}

async fn answers(host: Host<Log>) -> Result<Outcome, BoxError> {
    let kid = Plan::new([call("x", "book"), Step::child("young", booking(&["m"])).after(["x"])]).unwrap();
    let plan = Plan::new([Step::child("kid", Delegate::to_plan(kid, json!(null)))])?;
    let turn = host.session("ada")?.submit(plan).dedupe("1").await?;
    let outcome = turn.outcome().await?;
    let child = turn.children().await?.remove(0).turn;
    assert_eq!(child.outcome().await?, outcome);
    assert_eq!(child.children().await?.remove(0).turn.outcome().await?, outcome);
    Ok(outcome)
}

#[test]
fn children_that_have_answered_are_released_when_their_parents_end() {
    let sweep = kit().each_crash(answers).unwrap();
    for run in sweep.runs() {
        assert_eq!(run.outcome.text(), "booked m");
        assert_eq!(run.world.all(), pairs(&[("book", "x"), ("book", "m")]));
        assert_eq!((count(&run.journal, "turn.answered"), count(&run.journal, "turn.ended")), (2, 3));
        run.journal.assert_ended();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_undone_stays_with_the_childs_step() {
    let world = std::sync::Arc::new(Log::default());
    let log = world.clone();
    let send = agent_shell_core::Tool::idempotent(
        "send",
        "",
        move |of: crate::sagas::For, call: agent_shell_core::Call| {
            log.apply("send", &of.step, call.key());
            async { Ok::<_, agent_shell_core::ToolError>(()) }
        },
    );
    let shell = tools(&world)
        .into_iter()
        .fold(Shell::volatile().limits(limits()).tool(send), |shell, tool| shell.tool(tool));
    let shell = shell.open().await.unwrap();
    let session = shell.session("ada").unwrap();
    let child = |steps| Delegate::to_plan(Plan::new(steps).unwrap(), json!(null));
    // One child sends only, and has nothing to undo; the other books besides.
    let sends = Step::child("sends", child(vec![call("s", "send")]));
    let both = Step::child("both", child(vec![call("t", "send"), then("u", "book", "t")])).after(["sends"]);
    let plan = Plan::new([sends, both, then("c", "refuse", "both")]).unwrap();
    let turn = session.submit(plan).await.unwrap();
    assert!(matches!(turn.outcome().await.unwrap(), Outcome::Failed(_)));
    assert_eq!(names(&turn.undone().await.unwrap()), (vec![], vec!["sends", "both"]));
    assert_eq!(world.of("unbook"), ["u"]);
    let children = turn.children().await.unwrap();
    assert!(matches!(children[0].turn.outcome().await.unwrap(), Outcome::Answered(_)), "it had ended");
    assert_eq!(names(&children[1].turn.undone().await.unwrap()), (vec!["u"], vec!["t"]));
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_answered_its_parent_is_undone_by_it_alone() {
    let world = std::sync::Arc::new(Log::default());
    let shell =
        tools(&world).into_iter().fold(Shell::volatile().limits(limits()), |shell, tool| shell.tool(tool));
    let shell = shell.open().await.unwrap();
    let wait = Step::approval("ask", json!("go on?")).after(["kid"]);
    let plan = Plan::new([Step::child("kid", booking(&["k"])), wait]).unwrap();
    let turn = shell.session("ada").unwrap().submit(plan).await.unwrap();
    let approval = turn.approval().await.unwrap().unwrap();
    let child = turn.children().await.unwrap().remove(0);
    assert_eq!(child.turn.ended().await.unwrap(), None, "it waits for its parent's end");
    child.turn.cancel("not needed", &Actor::Host).await.unwrap();
    let mut history = shell.history(child.session).await.unwrap();
    let mut kinds = Vec::new();
    while !kinds.contains(&"mail.refused") {
        kinds.extend(history.next(64).await.unwrap().iter().map(|entry| entry.body.kind()));
        assert!(!kinds.contains(&"turn.cancelled"), "{kinds:?}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    approval.approve(&Actor::Host).await.unwrap();
    assert!(matches!(turn.outcome().await.unwrap(), Outcome::Answered(_)));
    assert_eq!(child.turn.outcome().await.unwrap().text(), "booked k");
    assert_eq!(world.all(), pairs(&[("book", "k")]));
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_that_is_abandoned_leaves_what_its_children_did() {
    let world = std::sync::Arc::new(Log::default());
    let shell =
        tools(&world).into_iter().fold(Shell::volatile().limits(limits()), |shell, tool| shell.tool(tool));
    let shell = shell.open().await.unwrap();
    let wait = Step::approval("ask", json!("go on?")).after(["kid"]);
    let plan = Plan::new([Step::child("kid", booking(&["k"])), wait]).unwrap();
    let turn = shell.session("ada").unwrap().submit(plan).await.unwrap();
    turn.approval().await.unwrap().unwrap();
    turn.abandon("nobody answers", &Actor::Host).await.unwrap();
    assert!(matches!(turn.outcome().await.unwrap(), Outcome::Abandoned { .. }));
    assert_eq!(names(&turn.undone().await.unwrap()), (vec![], vec!["kid"]));
    let child = turn.children().await.unwrap().remove(0);
    assert_eq!(child.turn.outcome().await.unwrap().text(), "booked k");
    assert_eq!(world.all(), pairs(&[("book", "k")]));
    shell.shutdown().await.unwrap();
}
