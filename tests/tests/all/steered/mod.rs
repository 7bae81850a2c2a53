//! What is said while a turn runs: it waits for the planner, interrupts, or becomes the next turn.

mod points;
pub(crate) mod scene;
mod taken_back;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_shell_core::ports::ModelRequest;
use agent_shell_core::{
    Actor, ErrorKind, Outcome, Plan, PlanByModel, PlanView, Planned, Planner, PlannerError, Reply, Scripted,
    Shell, Step, Template, Tool, ToolError, Turn, from,
};
use async_trait::async_trait;
use serde_json::{Value, json};

use self::scene::Gate;
use crate::support::{double, limits, on_each};

/// What a request says last, as JSON.
fn said(request: &ModelRequest, count: usize) -> Vec<Value> {
    let from = request.messages.len() - count;
    request.messages[from..].iter().map(|message| json!(message)).collect()
}

fn user(text: &str) -> Value {
    json!({ "user": [{ "text": text }] })
}

async fn answer(turn: &Turn) -> String {
    let outcome = tokio::time::timeout(Duration::from_secs(20), turn.outcome()).await.expect("it ends");
    outcome.unwrap().text()
}

async fn kinds(shell: &Shell, session: &str) -> Vec<&'static str> {
    let mut history = shell.session(session).unwrap().history().await.unwrap();
    history.next(10_000).await.unwrap().iter().map(|entry| entry.body.kind()).collect()
}

async fn until_steered(shell: &Shell, session: &str, count: usize) {
    while kinds(shell, session).await.iter().filter(|kind| **kind == "turn.steered").count() < count {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_to_a_turn_is_told_with_the_results_of_its_calls() {
    on_each(|builder, _| async {
        let gate = Arc::new(Gate::default());
        let model = Scripted::new([Reply::call("wait", json!({})), Reply::text("Both are done.")]);
        let shell = builder.model(model.clone()).tool(gate.tool("wait")).open().await.unwrap();
        let session = shell.session("ada").unwrap();
        let first = session.submit("Do this").await.unwrap();
        gate.reached().await;
        let more = session.submit("And that").steer().dedupe("that").await.unwrap();
        let last = session.submit("And the other, too").steer().await.unwrap();
        until_steered(&shell, "ada", 2).await;
        assert_eq!((more.ended().await.unwrap(), model.asked()), (None, 1), "nothing is asked in between");
        gate.open();
        for turn in [&first, &more, &last] {
            assert_eq!(answer(turn).await, "Both are done.");
        }
        let told = said(&model.requests()[1], 3);
        assert_eq!(told[0]["results"][0]["status"], "done", "{told:?}");
        assert_eq!(told[1..], [user("And that"), user("And the other, too")]);
        assert_eq!(model.asked(), 2);
        // Asked for again, it is the same turn, which has ended with the other.
        let again = session.submit("And that").steer().dedupe("that").await.unwrap();
        assert_eq!((again.id(), answer(&again).await), (more.id(), "Both are done.".into()));
        assert_eq!(more.undone().await.unwrap().undone, []);
        let kinds = kinds(&shell, "ada").await;
        assert_eq!(kinds.iter().filter(|kind| **kind == "turn.started").count(), 1, "{kinds:?}");
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_before_the_last_word_is_answered_before_the_turn_ends() {
    let gate = Arc::new(Gate::default());
    let model = gate.model([Reply::text("It is done."), Reply::text("So is that.")]);
    let shell = Shell::volatile().limits(limits()).model(model.clone()).open().await.unwrap();
    let session = shell.session("ada").unwrap();
    let first = session.submit("Do this").await.unwrap();
    gate.reached().await;
    let more = session.submit("And that").steer().await.unwrap();
    until_steered(&shell, "ada", 1).await;
    gate.open();
    assert_eq!((answer(&first).await, answer(&more).await), ("So is that.".into(), "So is that.".into()));
    let asked = model.requests();
    let told = said(&asked[1], 3);
    assert_eq!(
        told,
        [user("Do this"), json!({ "model": [{ "text": { "text": "It is done." } }] }), user("And that")]
    );
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_takes_up_is_the_next_turn_before_all_others() {
    on_each(|builder, _| async {
        let model = Scripted::with(|request| Reply::text(format!("to {}", request.messages.len())));
        let shell = builder.model(model.clone()).open().await.unwrap();
        let session = shell.session("ada").unwrap();
        let wait = || Plan::new([Step::approval("ask", json!("go on?"))]).unwrap();
        let first = session.submit(wait()).await.unwrap();
        let queued = session.submit("queued").await.unwrap();
        first.approval().await.unwrap().expect("it waits");
        let olga = Actor::named("olga").unwrap();
        let steers = session.submit("steers").steer().actor(olga).await.unwrap();
        let interrupts = session.submit("interrupts").interrupt().await.unwrap();
        until_steered(&shell, "ada", 2).await;
        // A fixed plan has nobody to ask: even what interrupts waits for its end.
        let approval = first.approval().await.unwrap().expect("it still waits");
        approval.approve(&Actor::Host).await.unwrap();
        for turn in [&first, &steers, &interrupts, &queued] {
            assert!(matches!(turn.outcome().await.unwrap(), Outcome::Answered(_)));
        }
        let asked: Vec<Value> = model.requests().iter().map(|asked| said(asked, 1).remove(0)).collect();
        assert_eq!(asked, [user("steers"), user("interrupts"), user("queued")]);
        // Who said it is who started the turn.
        let mut history = session.history().await.unwrap();
        let records = history.next(1_000).await.unwrap();
        let actor = |turn: &Turn, kind: &str| {
            let found = records
                .iter()
                .find(|entry| entry.body.kind() == kind && entry.body.turn() == Some(turn.id()));
            found.map(|entry| entry.actor)
        };
        let said = records.iter().find(|entry| entry.body.kind() == "turn.steered").unwrap().actor;
        assert_eq!(actor(&steers, "turn.started"), Some(said));
        assert_ne!(actor(&interrupts, "turn.started"), Some(said));
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_meets_no_turn_starts_one() {
    on_each(|builder, _| async move {
        let model = Scripted::with(|_| Reply::text("Yes."));
        let shell = builder.model(model.clone()).open().await.unwrap();
        let turn = shell.session("ada").unwrap().submit("Hello").steer().await.unwrap();
        assert_eq!(answer(&turn).await, "Yes.");
        let turn = shell.session("ada").unwrap().submit("Hello again").interrupt().await.unwrap();
        assert_eq!(answer(&turn).await, "Yes.");
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_can_be_withdrawn_until_a_plan_takes_it_up() {
    let gate = Arc::new(Gate::default());
    let model = Scripted::new([Reply::call("wait", json!({})), Reply::text("Done.")]);
    let shell = Shell::volatile().limits(limits()).model(model.clone()).tool(gate.tool("wait"));
    let shell = shell.open().await.unwrap();
    let session = shell.session("ada").unwrap();
    let first = session.submit("Do this").await.unwrap();
    gate.reached().await;
    let kept = session.submit("And that").steer().await.unwrap();
    let withdrawn = session.submit("And the other").steer().await.unwrap();
    until_steered(&shell, "ada", 2).await;
    withdrawn.cancel("on second thoughts", &Actor::Host).await.unwrap();
    assert_eq!(withdrawn.outcome().await.unwrap(), Outcome::Cancelled);
    gate.open();
    assert_eq!((answer(&first).await, answer(&kept).await), ("Done.".into(), "Done.".into()));
    assert_eq!(said(&model.requests()[1], 1), [user("And that")]);
    assert_eq!(kept.cancel("too late", &Actor::Host).await.unwrap_err().kind(), ErrorKind::NotFound);
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_there_is_room_for_waits_and_none_is_lost() {
    let gate = Arc::new(Gate::default());
    let model = Scripted::with(|request| match request.messages.len() {
        1 => Reply::call("wait", json!({})),
        _ => Reply::text("Done."),
    });
    let mut limits = limits();
    limits.buffered_steers = 2;
    let shell = Shell::volatile().limits(limits).model(model.clone()).tool(gate.tool("wait"));
    let shell = shell.open().await.unwrap();
    let session = shell.session("ada").unwrap();
    let first = session.submit("Do this").await.unwrap();
    gate.reached().await;
    let mut turns = vec![first];
    for place in 0..7 {
        turns.push(session.submit(format!("and {place}")).steer().await.unwrap());
    }
    until_steered(&shell, "ada", 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(kinds(&shell, "ada").await.iter().filter(|kind| **kind == "turn.steered").count(), 2);
    gate.open();
    for turn in &turns {
        assert_eq!(answer(turn).await, "Done.");
    }
    let requests = model.requests();
    let heard = requests.iter().flat_map(|request| request.messages.iter().map(|message| json!(message)));
    for place in 0..7 {
        let wanted = user(&format!("and {place}"));
        assert!(heard.clone().any(|heard| heard == wanted), "{place} was not heard");
    }
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_plans_whole_graphs_plans_anew_when_it_is_interrupted() {
    let gate = Arc::new(Gate::default());
    let plan = |id: &str, tool: &str| {
        json!({ "steps": [
            { "id": id, "tool": tool, "input": {} },
            { "id": format!("{id}-then"), "tool": "double", "input": { "n": 1 }, "after": [id] },
        ] })
    };
    let model = Scripted::new([
        Reply::json(plan("one", "wait")),
        Reply::json(json!({ "steps": [{ "id": "two", "tool": "double", "input": { "n": 21 } }] })),
    ]);
    let shell = Shell::volatile().limits(limits()).planner(PlanByModel::new()).model(model.clone());
    let shell = shell.tool(gate.tool("wait")).tool(double()).open().await.unwrap();
    let session = shell.session("ada").unwrap();
    let first = session.submit("Do this").await.unwrap();
    gate.reached().await;
    let more = session.submit("No, that").interrupt().await.unwrap();
    until_steered(&shell, "ada", 1).await;
    gate.open();
    assert_eq!(first.outcome().await.unwrap(), more.outcome().await.unwrap());
    assert_eq!(first.outcome().await.unwrap().answer(), Some(&json!({ "n": 42 })));
    let told = said(&model.requests()[1], 2);
    assert!(told[0]["note"].as_str().unwrap().contains("one-then"), "{told:?}");
    assert_eq!(told[1], user("No, that"));
    shell.shutdown().await.unwrap();
}

/// A tool that stops here, and then does nothing.
fn refusing(gate: &Arc<Gate>) -> Tool {
    let gate = gate.clone();
    Tool::irreversible("wait", "", move |_: Value, _| {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            Err::<(), _>(ToolError::refused("no"))
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_began_before_an_interruption_may_fail() {
    let gate = Arc::new(Gate::default());
    let model = Scripted::new([
        Reply::json(json!({ "steps": [{ "id": "one", "tool": "wait", "input": {} }] })),
        Reply::json(json!({ "steps": [], "answer": "Nothing happened." })),
    ]);
    let shell = Shell::volatile().limits(limits()).planner(PlanByModel::new()).model(model.clone());
    let shell = shell.tool(refusing(&gate)).open().await.unwrap();
    let session = shell.session("ada").unwrap();
    let first = session.submit("Do this").await.unwrap();
    gate.reached().await;
    session.submit("Stop").interrupt().await.unwrap();
    until_steered(&shell, "ada", 1).await;
    gate.open();
    assert_eq!(answer(&first).await, "Nothing happened.");
    shell.shutdown().await.unwrap();
}

/// One that plans a call and another that needs its output, and answers when it is asked again.
struct InTwo;

#[async_trait]
impl Planner for InTwo {
    async fn plan(&self, view: PlanView) -> Result<Planned, PlannerError> {
        if view.round > 1 || *view.input != json!("Do this") {
            return Ok(Planned::Answer(json!("Nothing happened.")));
        }
        let second = Step::tool("two", "double", Template::object([("n", from("one", "/n"))]));
        Ok(Planned::Next(Plan::new([Step::tool("one", "wait", json!({})), second])?))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_up_does_not_fail_again_with_what_it_needed() {
    on_each(|builder, _| async {
        let gate = Arc::new(Gate::default());
        let shell = builder.planner(InTwo).tool(refusing(&gate)).tool(double()).open().await.unwrap();
        let session = shell.session("ada").unwrap();
        let first = session.submit("Do this").await.unwrap();
        gate.reached().await;
        session.submit("Stop").interrupt().await.unwrap();
        until_steered(&shell, "ada", 1).await;
        gate.open();
        assert_eq!(answer(&first).await, "Nothing happened.");
        let kinds = kinds(&shell, "ada").await;
        assert_eq!(kinds.iter().filter(|kind| **kind == "step.failed").count(), 2, "{kinds:?}");
        shell.shutdown().await.unwrap();
    })
    .await;
}

/// One that plans a call, and then ends the turn with a plan that takes up all that it is shown. Shown anything, it stops.
#[derive(Default)]
struct TakesUp {
    gate: Arc<Gate>,
    shown: Arc<Mutex<Vec<usize>>>,
}

#[async_trait]
impl Planner for TakesUp {
    async fn plan(&self, view: PlanView) -> Result<Planned, PlannerError> {
        let count = view.steers.len();
        self.shown.lock().unwrap().push(count);
        if view.round == 1 {
            return Ok(Planned::Next(Plan::new([Step::tool("wait", "wait", json!({}))])?));
        }
        if count > 0 {
            self.gate.pass().await;
        }
        let count = u32::try_from(count).unwrap();
        let plan = view.next_plan().step(Step::tool("again", "wait", json!({})));
        Ok(Planned::Whole(plan.answer(json!("done")).takes_up(count).build()?))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_back_while_the_planner_is_at_work_is_in_no_plan() {
    on_each(|builder, _| async {
        let (tool, planner) = (Arc::new(Gate::default()), TakesUp::default());
        let (gate, shown) = (planner.gate.clone(), planner.shown.clone());
        let shell = builder.planner(planner).tool(tool.tool("wait")).open().await.unwrap();
        let session = shell.session("ada").unwrap();
        let first = session.submit("Do this").await.unwrap();
        tool.reached().await;
        let more = session.submit("And that").steer().await.unwrap();
        until_steered(&shell, "ada", 1).await;
        tool.open();
        gate.reached().await;
        more.cancel("never mind", &Actor::named("olga").unwrap()).await.unwrap();
        assert_eq!(more.outcome().await.unwrap(), Outcome::Cancelled);
        gate.open();
        assert_eq!(first.outcome().await.unwrap(), Outcome::Answered(json!("done")));
        assert_eq!(*shown.lock().unwrap(), [0, 1, 0], "it is asked again, and not shown what was taken back");
        shell.shutdown().await.unwrap();
    })
    .await;
}
