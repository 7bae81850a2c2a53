//! Forks of sessions with children, of children, and of turns into which something was steered.

use std::sync::Arc;

use agent_shell_core::data::Body;
use agent_shell_core::words::Seq;
use agent_shell_core::{
    Actor, Delegate, FailureCode, Outcome, Plan, PlanView, Planned, Planner, PlannerError, Reply, Request,
    Resolution, Scripted, Session, Shell, Step, Template, Tool, Turn, Undo, output,
};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{World, bodies, records, settled, until};
use crate::steered::scene::Gate;
use crate::support::limits;

const NOBODY: Actor = Actor::Host;

/// A shell whose `pay` can be undone.
async fn shell(world: &World) -> Shell {
    let undo = world.clone();
    let unpay = Tool::idempotent("unpay", "Gives it back", move |_: Undo<Value, Value>, _| {
        undo.touched("unpay");
        async { Ok::<_, agent_shell_core::ToolError>(json!(null)) }
    });
    let pay = world.idempotent("pay").compensated_by("unpay");
    let shell = Shell::volatile().limits(limits()).tool(pay).tool(unpay).tool(world.idempotent("note"));
    shell.open().await.unwrap()
}

/// A child that pays, and then asks.
fn asking_child() -> Delegate {
    let steps = [
        Step::tool("pay", "pay", json!("kid")),
        Step::approval("ask", json!("the child asks")).after(["pay"]),
    ];
    Delegate::to_plan(Plan::new(steps).unwrap(), json!(null)).tools(["pay"])
}

/// Pays, then lets a child pay, and then asks.
fn plan(child: Delegate) -> Plan {
    let steps = [
        Step::tool("first", "pay", json!("parent")),
        Step::child("kid", child).after(["first"]),
        Step::approval("last", json!("the parent asks")).after(["kid"]),
    ];
    Plan::builder().steps(steps).answer(output("kid")).build().unwrap()
}

/// The turn that runs in a session.
async fn running(shell: &Shell, session: &Session) -> Turn {
    let state = session.state_at(session.head().await.unwrap().seq).await.unwrap();
    shell.turn(state.turn.expect("a turn runs").id)
}

async fn child(turn: &Turn) -> agent_shell_core::runtime::ChildTurn {
    turn.children().await.unwrap().pop().expect("it has a child")
}

async fn say_yes(turn: &Turn) {
    turn.approval().await.unwrap().expect("it waits").approve(&NOBODY).await.unwrap();
}

async fn asks(turn: &Turn) {
    turn.approval().await.unwrap().expect("it waits");
}

/// The names of the steps that are in doubt.
async fn doubts(turn: &Turn) -> Vec<String> {
    let in_doubt = |rest: &agent_shell_core::runtime::Rest| {
        matches!(rest.needs, agent_shell_core::runtime::Needs::Resolution { .. })
    };
    let rests = turn.rests().await.unwrap();
    rests.iter().filter(|rest| in_doubt(rest)).map(|rest| rest.step.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_runs_stays_its_parents_and_the_fork_may_have_one_of_its_own() {
    let world = World::default();
    let shell = shell(&world).await;
    let session = shell.session("customer-42").unwrap();
    let turn = session.submit(plan(asking_child())).await.unwrap();
    until(async || world.of("pay") == 2).await;
    let kid = child(&turn).await;
    asks(&kid.turn).await;

    let fork = session.fork("acts").with_effects().await.unwrap();
    settled(&shell, &fork).await;
    let own = running(&shell, &fork).await;
    assert_eq!(doubts(&own).await, ["kid"]);
    // Without effects it is the same, and no child starts.
    let quiet = session.fork("looks").await.unwrap();
    settled(&shell, &quiet).await;
    let looks = running(&shell, &quiet).await;
    assert_eq!(doubts(&looks).await, ["kid"]);
    looks.resolve("kid", Resolution::Retry, &NOBODY).await.unwrap();
    match looks.outcome().await.unwrap() {
        Outcome::Failed(failure) => assert_eq!(failure.code, FailureCode::EffectsOff),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.of("pay"), 2);

    own.resolve("kid", Resolution::Retry, &NOBODY).await.unwrap();
    until(async || world.of("pay") == 3).await;
    let another = child(&own).await;
    assert_ne!((another.session, another.turn.id()), (kid.session, kid.turn.id()));
    // The fork is cancelled: it undoes what its own child did, and nothing else.
    own.cancel("enough", &NOBODY).await.unwrap();
    assert_eq!(own.outcome().await.unwrap(), Outcome::Cancelled);
    assert_eq!(another.turn.outcome().await.unwrap(), Outcome::Cancelled);
    assert_eq!(world.of("unpay"), 1);
    // The parent and its child go on as if nothing had been.
    say_yes(&kid.turn).await;
    say_yes(&turn).await;
    assert!(matches!(turn.outcome().await.unwrap(), Outcome::Answered(_)));
    assert!(matches!(kid.turn.outcome().await.unwrap(), Outcome::Answered(_)));
    assert_eq!((world.of("pay"), world.of("unpay")), (3, 1));
    for session in [&session, &fork, &quiet] {
        let refused = bodies(session).await.iter().filter(|body| body.kind() == "mail.refused").count();
        assert_eq!(refused, 0);
    }
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_waits_for_its_parent_is_not_the_forks_to_undo_or_to_release() {
    let world = World::default();
    let shell = shell(&world).await;
    let session = shell.session("customer-42").unwrap();
    let turn = session.submit(plan(asking_child())).await.unwrap();
    until(async || world.of("pay") == 2).await;
    let kid = child(&turn).await;
    say_yes(&kid.turn).await;
    asks(&turn).await;
    assert_eq!(kid.turn.ended().await.unwrap(), None, "it has answered and waits");

    let cancelled = session.fork("cancelled").with_effects().await.unwrap();
    settled(&shell, &cancelled).await;
    let own = running(&shell, &cancelled).await;
    own.cancel("enough", &NOBODY).await.unwrap();
    assert_eq!(own.outcome().await.unwrap(), Outcome::Cancelled);
    assert!(own.undone().await.unwrap().is_empty());
    let answers = session.fork("answers").await.unwrap();
    settled(&shell, &answers).await;
    let own = running(&shell, &answers).await;
    say_yes(&own).await;
    let answer = own.outcome().await.unwrap();
    assert!(matches!(answer, Outcome::Answered(_)), "{answer:?}");
    assert_eq!(kid.turn.ended().await.unwrap(), None, "no fork spoke to it");
    assert_eq!((world.of("pay"), world.of("unpay")), (2, 0));

    // A fork of the child waits for nobody, and may use no more tools than the child.
    let of = shell.child_of(kid.session).await.unwrap().unwrap();
    let name = format!("{}/{}/{}", of.session, of.turn, of.step);
    let subject =
        agent_shell_core::Subject::User(agent_shell_core::words::UserId::new("customer-42").unwrap());
    let of_child = shell.session_of(Default::default(), name, subject).unwrap();
    let fork = of_child.fork("of the child").with_effects().await.unwrap();
    settled(&shell, &fork).await;
    assert_eq!(fork.state_at(fork.head().await.unwrap().seq).await.unwrap().turn, None, "it has ended");
    let ends = bodies(&fork).await;
    let ended = ends.iter().find_map(|body| match body {
        Body::TurnEnded { answer, .. } => answer.as_ref().map(|answer| answer.value()),
        _ => None,
    });
    assert_eq!(ended.as_deref(), answer.answer());
    assert!(ends.iter().all(|body| !matches!(body, Body::TurnAnswered { .. })), "{ends:?}");
    assert_eq!(shell.child_of(fork.id().await.unwrap()).await.unwrap(), None);
    for (tool, may) in [("note", false), ("pay", true)] {
        let plan = Plan::new([Step::tool("only", tool, json!("fork"))]).unwrap();
        let outcome = fork.submit(plan).await.unwrap().outcome().await.unwrap();
        assert_eq!(matches!(outcome, Outcome::Answered(_)), may, "{tool}: {outcome:?}");
    }
    assert_eq!((world.of("note"), world.of("pay")), (0, 3));
    say_yes(&turn).await;
    assert_eq!(turn.outcome().await.unwrap(), answer);
    assert_eq!(kid.turn.outcome().await.unwrap(), Outcome::Answered(answer.answer().unwrap().clone()));
    shell.shutdown().await.unwrap();
}

/// What requests say, message by message.
fn said(model: &Scripted) -> Vec<Vec<Value>> {
    let messages = |request: &Arc<agent_shell_core::ports::ModelRequest>| {
        request.messages.iter().map(|message| json!(message)).collect()
    };
    model.requests().iter().map(messages).collect()
}

fn user(text: &str) -> Value {
    json!({ "user": [{ "text": text }] })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_steered_into_a_turn_is_in_its_fork_but_not_what_was_withdrawn() {
    let gate = Arc::new(Gate::default());
    let model = Scripted::new([
        Reply::call("wait", json!({})),
        Reply::text("The fork's answer."),
        Reply::text("The parent's answer."),
        Reply::text("And next."),
    ]);
    let shell = Shell::volatile().limits(limits()).model(model.clone()).tool(gate.tool("wait"));
    let shell = shell.open().await.unwrap();
    let session = shell.session("customer-42").unwrap();
    let first = session.submit("Do this").await.unwrap();
    gate.reached().await;
    let withdrawn = session.submit("And the other").steer().await.unwrap();
    let kept = session.submit("And that").steer().await.unwrap();
    let steered = async |count: usize| {
        let all = bodies(&session).await;
        all.iter().filter(|body| matches!(body, Body::TurnSteered { .. })).count() == count
    };
    until(async || steered(2).await).await;
    withdrawn.cancel("on second thoughts", &NOBODY).await.unwrap();
    assert_eq!(withdrawn.outcome().await.unwrap(), Outcome::Cancelled);

    let fork = session.fork("what-if").with_effects().await.unwrap();
    settled(&shell, &fork).await;
    let own = running(&shell, &fork).await;
    let ids: Vec<_> = bodies(&fork)
        .await
        .into_iter()
        .filter_map(|body| match body {
            Body::TurnSteered { request, .. } => Some(request.turn),
            _ => None,
        })
        .collect();
    assert_eq!(ids.len(), 1);
    assert_ne!(ids[0], kept.id(), "it is a turn of the fork");
    let in_doubt = doubts(&own).await.pop().expect("the call");
    own.resolve(in_doubt, Resolution::Applied(json!("seen")), &NOBODY).await.unwrap();
    assert_eq!(own.outcome().await.unwrap().text(), "The fork's answer.");
    assert_eq!(shell.turn(ids[0]).outcome().await.unwrap().text(), "The fork's answer.");
    assert_eq!(said(&model)[1].last(), Some(&user("And that")));
    assert!(!said(&model)[1].contains(&user("And the other")));
    assert_eq!((first.ended().await.unwrap(), kept.ended().await.unwrap()), (None, None));

    gate.open();
    for turn in [&first, &kept] {
        assert_eq!(turn.outcome().await.unwrap().text(), "The parent's answer.");
    }
    // What is in a turn that has ended is steered no more: a fork of it goes on with turns of its own.
    let later = session.fork("later").await.unwrap();
    let next = later.submit(Request::new("Next")).await.unwrap();
    assert_eq!(next.outcome().await.unwrap().text(), "And next.");
    assert_eq!(records(&later).await.iter().filter(|entry| entry.body.kind() == "turn.steered").count(), 0);
    shell.shutdown().await.unwrap();
}

/// Plans a call and another that needs its output, and answers when it is asked again.
struct InTwo;

#[async_trait]
impl Planner for InTwo {
    async fn plan(&self, view: PlanView) -> Result<Planned, PlannerError> {
        if view.round > 1 {
            return Ok(Planned::Answer(json!(view.steers.len())));
        }
        let second = Step::tool("two", "wait", Template::object([("of", output("one"))]));
        Ok(Planned::Whole(Plan::new([Step::tool("one", "wait", json!({})), second])?))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_interrupted_a_turn_has_interrupted_its_fork_also_when_it_was_withdrawn() {
    let gate = Arc::new(Gate::default());
    let shell = Shell::volatile().limits(limits()).planner(InTwo).tool(gate.tool("wait"));
    let shell = shell.open().await.unwrap();
    let session = shell.session("customer-42").unwrap();
    let first = session.submit("Do this").await.unwrap();
    gate.reached().await;
    let stops = session.submit("Stop").interrupt().await.unwrap();
    let given_up = async || bodies(&session).await.iter().any(|body| body.kind() == "step.failed");
    until(given_up).await;
    stops.cancel("on second thoughts", &NOBODY).await.unwrap();
    assert_eq!(stops.outcome().await.unwrap(), Outcome::Cancelled);

    let fork = session.fork("what-if").await.unwrap();
    settled(&shell, &fork).await;
    let own = running(&shell, &fork).await;
    own.resolve("one", Resolution::Applied(json!("waited")), &NOBODY).await.unwrap();
    assert_eq!(own.outcome().await.unwrap(), Outcome::Answered(json!(0)));
    gate.open();
    assert_eq!(first.outcome().await.unwrap(), Outcome::Answered(json!(0)));
    // A fork that begins after the planner was asked again begins as well.
    let mut again = session.fork("later").at(Seq::new(1));
    for entry in records(&session).await {
        if entry.body.kind() == "plan.answered" {
            again = session.fork("later").at(entry.seq);
        }
    }
    let later = again.await.unwrap();
    settled(&shell, &later).await;
    let ended = bodies(&later).await.into_iter().find_map(|body| match body {
        Body::TurnEnded { outcome, answer, .. } => Some((outcome, answer.map(|answer| answer.value()))),
        _ => None,
    });
    assert_eq!(ended.unwrap().1.as_deref(), Some(&json!(0)));
    shell.shutdown().await.unwrap();
}
