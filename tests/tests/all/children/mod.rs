//! Children: a step that is a turn of its own session.

mod bounds;
mod cancelled;
mod families;
mod undone;

use agent_shell_core::data::Body;
use agent_shell_core::testing::{BoxError, Host, Life, Records, TestKit};
use agent_shell_core::{
    Actor, Delegate, ErrorKind, FailureCode, Outcome, Plan, Request, Resolution, Shell, Step, Template,
    Undone, input, output,
};
use serde_json::{Value, json};

use crate::sagas::{Log, call, tools};
use crate::support::{limits, on_each};

pub(super) fn kit() -> TestKit<Log> {
    TestKit::on(Log::default, |life: &Life<Log>| {
        tools(&life.world()).into_iter().fold(life.shell(), |shell, tool| shell.tool(tool))
    })
}

/// A call that comes after others.
pub(super) fn then(step: &str, tool: &str, after: &str) -> Step {
    call(step, tool).after([after])
}

/// A child that books these, one after another.
pub(super) fn booking(steps: &[&str]) -> Delegate {
    let plan = steps.iter().enumerate().map(|(place, step)| match place {
        0 => call(step, "book"),
        _ => then(step, "book", steps[place - 1]),
    });
    Delegate::to_plan(Plan::new(plan).unwrap(), json!(null))
}

pub(super) fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(tool, step)| ((*tool).to_owned(), (*step).to_owned())).collect()
}

pub(super) fn count(journal: &Records, kind: &str) -> usize {
    journal.kinds().into_iter().filter(|found| *found == kind).count()
}

pub(super) fn names(undone: &Undone) -> (Vec<&str>, Vec<&str>) {
    (undone.undone.iter().map(AsRef::as_ref).collect(), undone.left.iter().map(AsRef::as_ref).collect())
}

/// A child that is given what a step before it brought, and whose answer a step after it takes.
fn a_plan_with_a_child() -> Plan {
    let kid = Plan::builder()
        .step(call("k", "book"))
        .answer(Template::object([("said", input("/of")), ("booked", output("k"))]));
    let delegate = Delegate::to_plan(kid.build().unwrap(), Template::object([("of", output("a"))]));
    let last = Template::object([("step", Template::from("z")), ("after", output("kid"))]);
    Plan::builder()
        .step(call("a", "book"))
        .step(Step::child("kid", delegate))
        .step(Step::tool("z", "book", last))
        .answer(output("kid"))
        .build()
        .unwrap()
}

async fn has_a_child(host: Host<Log>) -> Result<Value, BoxError> {
    let turn = host.session("ada")?.submit(a_plan_with_a_child()).dedupe("1").await?;
    let outcome = turn.outcome().await?;
    // The child may still wait to be told that its parent has ended.
    for child in turn.children().await? {
        assert!(matches!(child.turn.outcome().await?, Outcome::Answered(_)));
    }
    Ok(outcome.answer().cloned().unwrap_or_default())
}

#[test]
fn a_child_starts_once_and_its_answer_is_taken_once_whatever_crashes() {
    let sweep = kit().each_crash(has_a_child).unwrap();
    assert!(sweep.crashes() >= 14, "{}", sweep.crashes());
    for run in sweep.runs() {
        assert_eq!(run.outcome, json!({ "said": "booked a", "booked": "booked k" }));
        assert_eq!(run.world.all(), pairs(&[("book", "a"), ("book", "k"), ("book", "z")]));
        for (kind, times) in
            [("child.started", 1), ("child.ended", 1), ("turn.answered", 1), ("turn.started", 2)]
        {
            assert_eq!(count(&run.journal, kind), times, "{kind} in {:?}", run.journal.kinds());
        }
        assert_eq!(count(&run.journal, "mail.refused"), 0, "{:?}", run.journal.kinds());
        run.journal.assert_ended();
    }
}

#[test]
fn the_same_holds_when_the_process_dies_between_two_polls() {
    let sweep = kit().each_poll(has_a_child).unwrap();
    assert!(sweep.crashes() >= 40, "{}", sweep.crashes());
    for run in sweep.runs() {
        assert_eq!((count(&run.journal, "child.started"), count(&run.journal, "turn.started")), (1, 2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_known_whose_child_a_session_is() {
    on_each(|builder, _| async move {
        let shell = builder.planner(Answers).open().await.unwrap();
        let session = shell.session("ada").unwrap();
        let delegate = Delegate::to_planner("default", input(""));
        let plan = Plan::new([Step::child("kid", delegate.clone()), Step::child("other", delegate)]).unwrap();
        let olga = Actor::named("olga").unwrap();
        let turn = session.submit(Request::plan(plan).input(json!(7))).actor(olga.clone()).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap(), Outcome::Answered(json!({ "kid": 7, "other": 7 })));
        let children = turn.children().await.unwrap();
        let mut steps: Vec<&str> = children.iter().map(|child| child.step.as_ref()).collect();
        steps.sort_unstable();
        assert_eq!(steps, ["kid", "other"]);
        for child in &children {
            let of = shell.child_of(child.session).await.unwrap().unwrap();
            assert_eq!(
                (of.session, of.turn, &of.step),
                (session.id().await.unwrap(), turn.id(), &child.step)
            );
            assert_eq!((of.child, of.depth), (child.turn.id(), 1));
            assert_eq!(child.turn.outcome().await.unwrap(), Outcome::Answered(json!(7)));
            // It is found by its name, and belongs to whom its parent belongs to.
            let name = format!("{}/{}/{}", of.session, of.turn, of.step);
            let found = shell.session_of(Default::default(), name, subject()).unwrap();
            assert_eq!(found.id().await.unwrap(), child.session);
            let records = found.history().await.unwrap().next(9).await.unwrap();
            assert!(
                matches!(&records[0].body, Body::SessionOpened { child_of: Some(said), .. } if **said == of)
            );
            let started =
                records.iter().find(|entry| matches!(entry.body, Body::TurnStarted { .. })).unwrap();
            assert_eq!(shell.actor(&Default::default(), started.actor).await.unwrap(), Some(olga.clone()));
        }
        assert_eq!(shell.child_of(session.id().await.unwrap()).await.unwrap(), None);
        shell.shutdown().await.unwrap();
    })
    .await;
}

fn subject() -> agent_shell_core::Subject {
    agent_shell_core::Subject::User("ada".try_into().unwrap())
}

/// A planner that answers with the turn's input.
pub(super) struct Answers;

#[async_trait::async_trait]
impl agent_shell_core::Planner for Answers {
    async fn plan(
        &self,
        view: agent_shell_core::PlanView,
    ) -> Result<agent_shell_core::Planned, agent_shell_core::PlannerError> {
        Ok(agent_shell_core::Planned::Answer((*view.input).clone()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_does_not_answer_fails_its_step() {
    on_each(|builder, _| async move {
        let world = std::sync::Arc::new(Log::default());
        let builder = tools(&world).into_iter().fold(builder, |shell, tool| shell.tool(tool));
        let shell = builder.open().await.unwrap();
        let session = shell.session("ada").unwrap();
        let kid = Plan::new([call("k", "book"), then("l", "refuse", "k")]).unwrap();
        let kid = Delegate::to_plan(kid, json!(null));
        let late = Plan::new([Step::timer("never", std::time::Duration::from_secs(3600))]).unwrap();
        let late = Delegate::to_plan(late, json!(null));
        let late = Step::child("late", late).attempt_deadline(std::time::Duration::from_millis(50));
        for (step, says) in [
            (Step::child("kid", kid.clone()), "the child failed (not_applied): it refuses on purpose"),
            (late, "the child did not answer before its deadline"),
        ] {
            let turn = session.submit(Plan::new([step]).unwrap()).await.unwrap();
            let Outcome::Failed(failure) = turn.outcome().await.unwrap() else { panic!("it answered") };
            assert_eq!((failure.code, failure.message.as_str()), (FailureCode::Child, says));
        }
        assert_eq!(world.all(), pairs(&[("book", "k"), ("unbook", "k")]), "it undid what it had applied");
        // A step that may fail lets the turn go on.
        let plan = Plan::builder().step(Step::child("kid", kid).may_fail()).step(call("z", "book"));
        let turn = session.submit(plan.answer(output("z")).build().unwrap()).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap().text(), "booked z");
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_may_own_the_child() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let world = std::sync::Arc::new(Log::default());
    let shell = |held: usize| {
        let mut limits = limits();
        limits.held_sessions = held;
        tools(&world).into_iter().fold(Shell::at(&path).limits(limits), |shell, tool| shell.tool(tool))
    };
    // One session is all that the first process holds, so the child is another's.
    let first = shell(1).open().await.unwrap();
    let session = first.session("ada").unwrap();
    let plan = [Step::child("kid", booking(&["k"])), then("z", "refuse", "kid")];
    let turn = session.submit(Plan::new(plan).unwrap()).await.unwrap();
    let second = shell(64).open().await.unwrap();
    assert!(matches!(turn.outcome().await.unwrap(), Outcome::Failed(_)));
    assert_eq!(world.all(), pairs(&[("book", "k"), ("unbook", "k")]));
    assert_eq!(names(&turn.undone().await.unwrap()).0, ["kid"]);
    first.shutdown().await.unwrap();
    second.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_rests_is_listed_and_its_parent_waits() {
    let lost =
        agent_shell_core::Tool::irreversible("lose", "", |_: Value, _: agent_shell_core::Call| async {
            Err::<(), _>(agent_shell_core::ToolError::ambiguous("the line was cut"))
        });
    let shell = Shell::volatile().limits(limits()).tool(lost).open().await.unwrap();
    let kid = Plan::new([Step::tool("k", "lose", json!(null))]).unwrap();
    let plan = Plan::new([Step::child("kid", Delegate::to_plan(kid, json!(null)))]).unwrap();
    let turn = shell.session("ada").unwrap().submit(plan).await.unwrap();
    let rest = loop {
        match shell.rests().await.unwrap().pop() {
            Some(rest) => break rest,
            None => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
        }
    };
    let child = turn.children().await.unwrap().remove(0);
    assert_eq!((rest.session, rest.turn, rest.step.as_str()), (child.session, child.turn.id(), "k"));
    // What a parent's turn waits for is no reason to give it up.
    turn.abandon("enough", &Actor::Host).await.unwrap();
    assert_eq!(child.turn.outcome().await.unwrap_err().kind(), ErrorKind::AtRest);
    assert_eq!(turn.ended().await.unwrap(), None);
    tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    shell.resolve(&rest, Resolution::Applied(json!("found")), &Actor::Host).await.unwrap();
    assert_eq!(turn.outcome().await.unwrap().text(), "found");
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_closes_parent_and_child() {
    on_each(|builder, _| async move {
        let shell = builder.open().await.unwrap();
        let wait = Plan::new([Step::approval("ask", json!("go on?"))]).unwrap();
        let plan = Plan::new([Step::child("kid", Delegate::to_plan(wait, json!(null)))]).unwrap();
        let turn = shell.session("ada").unwrap().submit(plan).await.unwrap();
        while shell.rests().await.unwrap().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let child = turn.children().await.unwrap().remove(0);
        let (tenant, ada) = (Default::default(), "ada".try_into().unwrap());
        let receipt = shell.purge(&tenant, &ada, &Actor::Host).await.unwrap();
        assert_eq!((receipt.sessions.len(), receipt.unfinished.len()), (2, 0));
        assert_eq!(child.turn.outcome().await.unwrap(), Outcome::Purged);
        assert_eq!(turn.outcome().await.unwrap(), Outcome::Purged);
        shell.shutdown().await.unwrap();
    })
    .await;
}
