//! Effects stay off: after a restart, from a snapshot, by an approval, by a resolution, by a compensation, and for what only
//! carries data out.

use agent_shell_core::data::Body;
use agent_shell_core::{
    Actor, Call, FailureCode, Outcome, Plan, Resolution, Session, Shell, ShellBuilder, Step, Tool, ToolError,
    Undo,
};
use serde_json::{Value, json};

use super::{World, bodies, settled, until};
use crate::support::{double, limits};

const NOBODY: Actor = Actor::Host;

fn tools(shell: ShellBuilder, world: &World) -> ShellBuilder {
    let (undo, web) = (world.clone(), world.clone());
    let unpay = Tool::idempotent("unpay", "Gives it back", move |_: Undo<Value, Value>, _| {
        undo.touched("unpay");
        async { Ok::<_, ToolError>(json!(null)) }
    });
    let web = Tool::pure("web", "Asks a stranger", move |question: Value, _: Call| {
        web.touched("web");
        async move { Ok::<_, ToolError>(json!({ "asked": question })) }
    });
    shell
        .tool(double())
        .tool(world.idempotent("pay").compensated_by("unpay"))
        .tool(unpay)
        .tool(world.idempotent("asked").ask_first())
        .tool(world.probed("ship"))
        .tool(world.irreversible("send"))
        .tool(web.outbound())
}

fn one(tool: &str, input: Value) -> Plan {
    Plan::new([Step::tool("only", tool, input)]).unwrap()
}

async fn code(session: &Session, plan: Plan) -> FailureCode {
    match session.submit(plan).await.unwrap().outcome().await.unwrap() {
        Outcome::Failed(failure) => failure.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn effects_stay_off_after_a_restart_and_from_a_snapshot() {
    let (world, folder) = (World::default(), tempfile::tempdir().unwrap());
    let path = folder.path().join("shell.db");
    let open = || async {
        let mut limits = limits();
        // Every turn makes a snapshot, and every payload is a blob.
        (limits.snapshot_every, limits.inline_bytes) = (1, 1);
        tools(Shell::at(&path).limits(limits), &world).open().await.unwrap()
    };
    let shell = open().await;
    let session = shell.session("customer-42").unwrap();
    let first = session.submit(one("pay", json!(1))).await.unwrap();
    first.outcome().await.unwrap();
    for cents in [2, 1] {
        session.submit(one("pay", json!(cents))).await.unwrap().outcome().await.unwrap();
    }
    let fork = session.fork("fork").before(first.id()).await.unwrap();
    let answer = fork.submit(one("pay", json!(1))).await.unwrap().outcome().await.unwrap();
    assert_eq!(answer.answer(), Some(&json!({ "did": 1 })));
    shell.shutdown().await.unwrap();
    let touched = world.all();

    let shell = open().await;
    let fork = shell.session_of(Default::default(), "fork", subject()).unwrap();
    // What is left in the record is known after the restart: the second call with 1, the one with 2, and no third.
    for (cents, is_recorded) in [(2, true), (1, true), (1, false), (2, false)] {
        let outcome = fork.submit(one("pay", json!(cents))).await.unwrap().outcome().await.unwrap();
        assert_eq!(outcome.answer().is_some(), is_recorded, "{cents}: {outcome:?}");
    }
    assert_eq!(code(&fork, one("send", json!("x"))).await, FailureCode::EffectsOff);
    assert_eq!(world.all(), touched);
    shell.shutdown().await.unwrap();
}

fn subject() -> agent_shell_core::Subject {
    agent_shell_core::Subject::User(agent_shell_core::words::UserId::new("customer-42").unwrap())
}

#[tokio::test]
async fn no_way_leads_to_an_act_while_effects_are_off() {
    let world = World::default();
    let mut limits = limits();
    (limits.lateness_ms, limits.drain_ms) = (1, 10);
    let shell = tools(Shell::volatile().limits(limits), &world).open().await.unwrap();
    let session = shell.session("customer-42").unwrap();
    session.submit(one("double", json!({ "n": 1 }))).await.unwrap().outcome().await.unwrap();
    // A call that waits for its approval, and one that hangs with a deadline that is soon.
    let plan = Plan::new([
        Step::tool("asked", "asked", json!("x")),
        Step::tool("ship", "ship", json!("hang")).attempt_deadline(std::time::Duration::from_millis(30_000)),
    ]);
    let turn = session.submit(plan.unwrap()).await.unwrap();
    until(async || world.of("ship") == 1 && !turn.rests().await.unwrap().is_empty()).await;
    let touched = world.all();
    let fork = session.fork("fork").await.unwrap();
    settled(&shell, &fork).await;
    let state = fork.state_at(fork.head().await.unwrap().seq).await.unwrap();
    let of_fork = shell.turn(state.turn.unwrap().id);
    let rests = of_fork.rests().await.unwrap();
    // An approval lets nothing begin: its step fails.
    let asked = rests.iter().find(|rest| rest.step.as_str() == "asked").unwrap();
    shell.approve(asked, &NOBODY).await.unwrap();
    of_fork.resolve("ship", Resolution::Applied(json!("seen")), &NOBODY).await.unwrap();
    let Outcome::Failed(failure) = of_fork.outcome().await.unwrap() else { panic!("it can't succeed") };
    assert_eq!(failure.code, FailureCode::EffectsOff);
    assert!(failure.message.contains("`asked` was not called: effects are off"), "{failure:?}");
    // Nor does anything else: what asks first is not asked about, what is outbound is not called, and nothing is undone.
    for (tool, input) in [
        ("asked", json!("y")),
        ("ship", json!("y")),
        ("send", json!("y")),
        ("web", json!("y")),
        ("pay", json!("y")),
    ] {
        assert_eq!(code(&fork, one(tool, input)).await, FailureCode::EffectsOff, "{tool}");
    }
    let again = fork.submit(one("double", json!({ "n": 2 }))).await.unwrap().outcome().await.unwrap();
    assert_eq!(again.answer(), Some(&json!({ "n": 4 })), "what is `Pure` and stays here is done");
    assert_eq!(world.all(), touched);
    turn.cancel("enough", &NOBODY).await.unwrap();
    shell.shutdown().await.unwrap();
}

/// What the parent did is recorded, and a fork that fails after it undoes nothing, for it did nothing.
#[tokio::test]
async fn a_fork_that_fails_after_recorded_calls_undoes_nothing() {
    let world = World::default();
    let shell = tools(Shell::volatile().limits(limits()), &world).open().await.unwrap();
    let session = shell.session("customer-42").unwrap();
    let steps = |last: &str| {
        Plan::new([
            Step::tool("pay", "pay", json!(5)),
            Step::tool("web", "web", json!("how much?")),
            Step::tool("fails", "pay", json!("fail")).after(["pay", "web"]).may_fail(),
            Step::tool("last", "send", json!(last)).after(["pay", "web"]),
        ])
        .unwrap()
    };
    let turn = session.submit(steps("x")).await.unwrap();
    let outcome = turn.outcome().await.unwrap();
    let touched = world.all();
    assert!(matches!(outcome, Outcome::Answered(_)), "{outcome:?}");
    assert_eq!((touched["pay"], touched["web"], touched["send"]), (2, 1, 1));
    let fork = session.fork("fork").before(turn.id()).await.unwrap();
    let again = fork.submit(steps("something else")).await.unwrap();
    let Outcome::Failed(failure) = again.outcome().await.unwrap() else { panic!("it can't succeed") };
    assert_eq!(failure.code, FailureCode::EffectsOff);
    let bodies = bodies(&fork).await;
    // The recorded failure came back as it was, and so did what only carries data out.
    let failed = |code| {
        bodies.iter().any(|body| matches!(body, Body::StepFailed { failure, .. } if failure.code == code))
    };
    assert!(failed(FailureCode::NotApplied) && failed(FailureCode::EffectsOff));
    let asked = |body: &Body| matches!(body, Body::StepSucceeded { output, .. } if output.value()["asked"] == "how much?");
    assert!(bodies.iter().any(asked));
    assert!(!bodies.iter().any(|body| matches!(body, Body::StepStarted { .. } | Body::UndoPlanned { .. })));
    assert!(again.undone().await.unwrap().is_empty());
    // A fork of the fork knows what the fork's own record says, and what is left of its parent's.
    let second = fork.fork("second").before(again.id()).await.unwrap();
    let plan =
        Plan::new([Step::tool("pay", "pay", json!(5)), Step::tool("sent", "send", json!("x"))]).unwrap();
    let answered = second.submit(plan).await.unwrap().outcome().await.unwrap();
    assert!(matches!(answered, Outcome::Answered(_)), "{answered:?}");
    assert_eq!(world.all(), touched);
    shell.shutdown().await.unwrap();
}

/// Two equal calls beside each other take two ends of the record, each once.
#[tokio::test]
async fn equal_calls_take_what_was_recorded_in_order() {
    let world = World::default();
    let counted = world.clone();
    let count = Tool::idempotent("count", "Counts", move |_: Value, _: Call| {
        counted.touched("count");
        let now = counted.of("count");
        async move { Ok::<_, ToolError>(json!(now)) }
    });
    let shell = Shell::volatile().limits(limits()).tool(count).open().await.unwrap();
    let session = shell.session("customer-42").unwrap();
    let plan =
        || Plan::new(["a", "b", "c"].map(|step| Step::tool(step, "count", json!(null)).lock("one"))).unwrap();
    let turn = session.submit(plan()).await.unwrap();
    let first = turn.outcome().await.unwrap();
    let fork = session.fork("fork").before(turn.id()).await.unwrap();
    let beside = Plan::new(["a", "b", "c"].map(|step| Step::tool(step, "count", json!(null)))).unwrap();
    assert_eq!(fork.submit(beside).await.unwrap().outcome().await.unwrap(), first);
    assert_eq!(world.of("count"), 3);
    assert_eq!(code(&fork, plan()).await, FailureCode::EffectsOff);
    shell.shutdown().await.unwrap();
}

/// The same for calls that are let begin at one instant.
#[tokio::test]
async fn equal_calls_that_are_approved_together_take_one_end_each() {
    let world = World::default();
    let counted = world.clone();
    let count = Tool::idempotent("count", "Counts", move |_: Value, _: Call| {
        counted.touched("count");
        let now = counted.of("count");
        async move { Ok::<_, ToolError>(json!(now)) }
    });
    let shell = Shell::volatile().limits(limits()).tool(count.ask_first()).open().await.unwrap();
    let session = shell.session("customer-42").unwrap();
    let plan = Plan::new(["a", "b", "c"].map(|step| Step::tool(step, "count", json!(null)))).unwrap();
    let turn = session.submit(plan).await.unwrap();
    until(async || turn.rests().await.unwrap().len() == 3).await;
    let waiting = session.head().await.unwrap().seq;
    for rest in turn.rests().await.unwrap() {
        shell.approve(&rest, &NOBODY).await.unwrap();
    }
    turn.outcome().await.unwrap();
    let fork = session.fork("fork").at(waiting).await.unwrap();
    settled(&shell, &fork).await;
    let state = fork.state_at(fork.head().await.unwrap().seq).await.unwrap();
    for rest in &state.rests {
        shell.approve(rest, &NOBODY).await.unwrap();
    }
    let outcome = shell.turn(state.turn.unwrap().id).outcome().await.unwrap();
    let answer = outcome.answer().unwrap_or_else(|| panic!("{outcome:?}"));
    let mut numbers: Vec<_> = ["a", "b", "c"].map(|step| answer[step].as_u64().unwrap()).into();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(world.of("count"), 3);
    shell.shutdown().await.unwrap();
}
