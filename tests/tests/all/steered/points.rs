//! Steering, interrupting and cancelling at every point of a running turn: each has the outcome of the table in GUARANTEES.md.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_shell_core::data::Message;
use agent_shell_core::ports::{AnswerStream, ModelBound, ModelCapabilities, ModelError, ModelRequest};
use agent_shell_core::{
    Actor, Call, ErrorKind, Model, Outcome, Reply, Scripted, Session, Shell, Tool, ToolError, ToolLoop, Turn,
    Undo,
};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::scene::Gate;
use super::{kinds, user};
use crate::support::limits;

/// What is sent to the turn.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sent {
    Steer,
    Interrupt,
    Cancel,
}

/// The turn: a model calls two tools beside each other, then one that waits for an approval, and answers. Each stops at the
/// gate when its name is that of the point.
const POINTS: [&str; 7] = ["ask-1", "look", "book", "ask-2", "approval", "pay", "ask-3"];

struct World {
    gate: Arc<Gate>,
    /// Where the turn stops, the first time that it comes there.
    point: Mutex<Option<&'static str>>,
    /// What took effect, in order.
    effects: Mutex<Vec<&'static str>>,
}

impl World {
    async fn at(&self, name: &str) {
        let is_it = self.point.lock().unwrap().take_if(|point| *point == name).is_some();
        if is_it {
            self.gate.pass().await;
        }
    }

    fn tools(self: &Arc<Self>) -> Vec<Tool> {
        let of = |name: &'static str| {
            let world = self.clone();
            move |_: Value, _: Call| {
                let world = world.clone();
                async move {
                    world.at(name).await;
                    world.effects.lock().unwrap().push(name);
                    Ok::<_, ToolError>(name)
                }
            }
        };
        let world = self.clone();
        let unbook = Tool::idempotent("unbook", "", move |_: Undo<Value>, _: Call| {
            world.effects.lock().unwrap().push("unbook");
            async { Ok::<_, ToolError>(()) }
        });
        vec![
            Tool::pure("look", "", of("look")),
            Tool::idempotent("book", "", of("book")).compensated_by("unbook"),
            unbook,
            Tool::irreversible("pay", "", of("pay")).ask_first(),
        ]
    }
}

/// Answers by what was said, and stops at its point before.
#[derive(Clone)]
struct Obedient {
    world: Arc<World>,
    inner: Scripted,
}

const STEERED: &str = "Be quick";

fn reply(request: &ModelRequest) -> Reply {
    let heard = request.messages.iter().any(|message| json!(message) == user(STEERED));
    let rounds = request.messages.iter().filter(|message| matches!(***message, Message::Model(_))).count();
    match (rounds, heard) {
        // One who was interrupted has nothing more to do; the test for it looks at what it was told.
        (0, false) => Reply::calls([("look", json!({})), ("book", json!({}))]),
        (1, false) => Reply::call("pay", json!({})),
        (2, false) => Reply::text("Paid."),
        (_, false) => Reply::text("What?"),
        (_, true) => Reply::text("As you say."),
    }
}

#[async_trait]
impl Model for Obedient {
    fn capabilities(&self) -> ModelCapabilities {
        self.inner.capabilities()
    }

    fn bound(&self, request: &ModelRequest) -> Option<ModelBound> {
        self.inner.bound(request)
    }

    async fn ask(&self, request: Arc<ModelRequest>, call: Call) -> Result<AnswerStream, ModelError> {
        self.world.at(&format!("ask-{}", self.inner.asked() + 1)).await;
        self.inner.ask(request, call).await
    }
}

/// What became of it.
struct Seen {
    outcome: Outcome,
    /// Of the steer's or the interrupt's own turn.
    joined: Option<Outcome>,
    effects: Vec<&'static str>,
    requests: Vec<Arc<ModelRequest>>,
    kinds: Vec<&'static str>,
}

async fn sent(session: &Session, turn: &Turn, what: Sent) -> Option<Turn> {
    match what {
        Sent::Steer => Some(session.submit(STEERED).steer().await.unwrap()),
        Sent::Interrupt => Some(session.submit(STEERED).interrupt().await.unwrap()),
        Sent::Cancel => {
            turn.cancel("enough", &Actor::Host).await.unwrap();
            None
        }
    }
}

async fn run(point: &'static str, what: Sent) -> Seen {
    let world =
        Arc::new(World { gate: Arc::default(), point: Mutex::new(Some(point)), effects: Mutex::default() });
    let model = Obedient { world: world.clone(), inner: Scripted::with(reply) };
    let shell = Shell::volatile().limits(limits()).model(model.clone()).planner(ToolLoop::new());
    let shell = world.tools().into_iter().fold(shell, |shell, tool| shell.tool(tool)).open().await.unwrap();
    let session = shell.session("ada").unwrap();
    let turn = session.submit("Look, book and pay").await.unwrap();
    let approving = tokio::spawn({
        let (turn, world) = (turn.clone(), world.clone());
        async move {
            while turn.ended().await.unwrap().is_none() {
                let Ok(Some(approval)) = turn.approval().await else {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                };
                world.at("approval").await;
                // What was given up meanwhile is not asked for any more.
                drop(approval.approve(&Actor::Host).await);
                // It is shown as long as the decision is not read.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    });
    world.gate.reached().await;
    let own = sent(&session, &turn, what).await;
    // It has arrived before anything goes on.
    let arrived = if what == Sent::Cancel { "turn.cancelled" } else { "turn.steered" };
    while !kinds(&shell, "ada").await.contains(&arrived) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.gate.open();
    let outcome = tokio::time::timeout(Duration::from_secs(20), end_of(&turn)).await;
    let outcome = outcome.unwrap_or_else(|_| panic!("{what:?} at {point}: it does not end"));
    let joined = match own {
        Some(own) => Some(own.outcome().await.unwrap()),
        None => None,
    };
    approving.abort();
    let kinds = kinds(&shell, "ada").await;
    shell.shutdown().await.unwrap();
    let effects = world.effects.lock().unwrap().clone();
    Seen { outcome, joined, effects, requests: model.inner.requests(), kinds }
}

/// How a turn ends, although it rests now and then.
async fn end_of(turn: &Turn) -> Outcome {
    loop {
        match turn.outcome().await {
            Ok(outcome) => return outcome,
            Err(error) => assert_eq!(error.kind(), ErrorKind::AtRest),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Without `look`, which changes nothing, and may come before or after `book`.
fn acts(seen: &Seen) -> Vec<&'static str> {
    seen.effects.iter().copied().filter(|effect| *effect != "look").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_steer_is_heard_at_the_next_question_and_changes_nothing_that_runs() {
    for point in POINTS {
        let seen = run(point, Sent::Steer).await;
        assert_eq!(seen.outcome.text(), "As you say.", "at {point}: {:?}", seen.kinds);
        assert_eq!(seen.joined.as_ref(), Some(&seen.outcome), "at {point}");
        // What runs when it comes goes on, and so do the calls that the answer under way makes.
        let pays = ["ask-2", "approval", "pay", "ask-3"].contains(&point);
        let acts = acts(&seen);
        assert_eq!(acts, if pays { vec!["book", "pay"] } else { vec!["book"] }, "at {point}");
        assert_eq!(seen.effects.iter().filter(|effect| **effect == "look").count(), 1, "at {point}");
        // It is told once, last, and to the question after the point.
        let told = seen.requests.iter().position(|request| json!(request.messages.last()) == user(STEERED));
        let wanted = match point {
            "ask-1" | "look" | "book" => 1,
            "ask-2" | "approval" | "pay" => 2,
            _ => 3,
        };
        assert_eq!((told, seen.requests.len()), (Some(wanted), wanted + 1), "at {point}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interruption_gives_up_what_has_not_begun_and_undoes_nothing() {
    for point in POINTS {
        let seen = run(point, Sent::Interrupt).await;
        assert_eq!(seen.outcome.text(), "As you say.", "at {point}: {:?}", seen.kinds);
        assert_eq!(seen.joined.as_ref(), Some(&seen.outcome), "at {point}");
        let wanted: &[&str] = match point {
            "ask-1" => &[],
            "look" | "book" | "ask-2" | "approval" => &["book"],
            _ => &["book", "pay"],
        };
        assert_eq!(acts(&seen), wanted, "at {point}");
        // A question under way is dropped, and asked again with what was said.
        let last = seen.requests.last().unwrap();
        assert_eq!(json!(last.messages.last()), user(STEERED), "at {point}");
        let results = |message: &Message| match message {
            Message::Results(results) => results.iter().map(|result| json!(result.status)).collect(),
            _ => Vec::new(),
        };
        let told: Vec<Value> = last.messages.iter().flat_map(|message| results(message)).collect();
        let wanted = match point {
            "ask-1" => json!([]),
            "look" => json!(["closed", "done"]),
            "book" | "ask-2" => json!(["done", "done"]),
            "approval" => json!(["done", "done", "closed"]),
            _ => json!(["done", "done", "done"]),
        };
        assert_eq!(json!(told), wanted, "at {point}");
        assert!(!seen.kinds.contains(&"undo.planned"), "at {point}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_starts_nothing_new_and_undoes_what_was_applied() {
    for point in POINTS {
        let seen = run(point, Sent::Cancel).await;
        assert_eq!(seen.outcome, Outcome::Cancelled, "at {point}");
        let wanted: &[&str] = match point {
            "ask-1" => &[],
            "pay" | "ask-3" => &["book", "pay", "unbook"],
            _ => &["book", "unbook"],
        };
        assert_eq!(acts(&seen), wanted, "at {point}");
    }
}
