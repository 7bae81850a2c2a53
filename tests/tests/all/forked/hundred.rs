//! A session of a hundred turns, forked and run again with another model.

use agent_shell_core::data::Body;
use agent_shell_core::evaluation::{Differences, PastTurn};
use agent_shell_core::ports::ModelRequest;
use agent_shell_core::{Call, Outcome, Reply, Request, Scripted, Session, Shell, Tool, ToolError, ToolLoop};
use serde_json::{Value, json};

use super::{World, bodies};
use crate::support::limits;

const TURNS: usize = 100;

/// What the user said last, and the results since, if any.
fn said(request: &ModelRequest) -> (usize, Option<Value>) {
    let messages = json!(request.messages);
    let list = messages.as_array().unwrap();
    let user = list.iter().rev().find_map(|message| message["user"][0]["text"].as_str()).unwrap();
    let number = user.split(' ').nth(1).unwrap().parse().unwrap();
    (number, list.last().unwrap().get("results").cloned())
}

/// Refunds every order, after it has looked it up.
fn today() -> Scripted {
    Scripted::with(|request| {
        let (order, told) = said(request);
        match told {
            None => Reply::calls([
                ("look_up", json!({ "order": order })),
                ("refund", json!({ "order": order, "cents": 100 })),
            ]),
            Some(_) => Reply::text(format!("order {order} was refunded")),
        }
        .usage(100, 10)
    })
    .price(1_000_000, 2_000_000)
}

/// The same, but every tenth order gets more, every seventh nothing, and it is cheaper.
fn other() -> Scripted {
    Scripted::with(|request| {
        let (order, told) = said(request);
        match told {
            None if order % 7 == 0 => Reply::text(format!("order {order} was refunded")),
            None => Reply::calls([
                ("look_up", json!({ "order": order })),
                ("refund", json!({ "order": order, "cents": if order % 10 == 0 { 200 } else { 100 } })),
            ]),
            // It is told that effects are off.
            Some(results) if results[1]["status"] == "failed" => Reply::text("it was not refunded"),
            Some(_) => Reply::text(format!("order {order} was refunded")),
        }
        .usage(50, 10)
    })
    .price(1_000_000, 2_000_000)
}

async fn open(world: &World) -> Shell {
    let mut limits = limits();
    limits.snapshot_every = 16;
    let looked = world.clone();
    let look_up = Tool::pure("look_up", "Looks an order up", move |_: Value, _: Call| {
        looked.touched("look_up");
        async { Ok::<_, ToolError>(json!({ "paid": true })) }
    });
    Shell::volatile()
        .limits(limits)
        .model(today())
        .named_model("other", other())
        .named_planner("by-other", ToolLoop::new().model("other"))
        .tool(look_up)
        .tool(world.idempotent("refund"))
        .open()
        .await
        .unwrap()
}

async fn run(session: &Session, planner: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for order in 1..=TURNS {
        let request = Request::new(format!("refund {order} please")).planner(planner);
        outcomes.push(session.submit(request).await.unwrap().outcome().await.unwrap());
    }
    outcomes
}

#[tokio::test]
async fn a_session_of_a_hundred_turns_runs_again_with_another_model_and_touches_nothing() {
    let world = World::default();
    let shell = open(&world).await;
    let session = shell.session("customer-42").unwrap();
    run(&session, "default").await;
    assert_eq!((world.of("refund"), world.of("look_up")), (TURNS, TURNS));
    let first = PastTurn::of_session(&shell, session.id().await.unwrap()).await.unwrap()[0].turn;

    let fork = session.fork("what-if").before(first).await.unwrap();
    let outcomes = run(&fork, "by-other").await;
    assert_eq!(world.of("refund"), TURNS, "not one call was made");
    assert!(world.of("look_up") > TURNS, "what is `Pure` is done");

    // What it called alike came from the record, and what it called otherwise was told to its model.
    for (order, outcome) in (1..).zip(&outcomes) {
        let expected = match order {
            _ if order % 7 == 0 => format!("order {order} was refunded"),
            _ if order % 10 == 0 => "it was not refunded".to_owned(),
            _ => format!("order {order} was refunded"),
        };
        assert_eq!(outcome.text(), expected);
    }
    let recorded = bodies(&fork).await.into_iter().filter(
        |body| matches!(body, Body::StepSucceeded { output, .. } if output.value()["did"]["cents"] == 100),
    );
    assert_eq!(recorded.count(), TURNS - 14 - 9);

    let differences = Differences::of_fork(&shell, fork.id().await.unwrap()).await.unwrap();
    assert_eq!((differences.turns.len(), differences.alike), (TURNS, 0), "each asked another model");
    assert_eq!((differences.not_run, differences.further), (0, 0));
    let otherwise = |of: usize| &differences.turns[of - 1].what;
    assert_eq!(otherwise(1), &["model default -> other"]);
    assert_eq!(
        otherwise(7),
        &["model default -> other", "questions 2 -> 1", "calls look_up, refund -> none"]
    );
    assert_eq!(
        otherwise(10),
        &[
            "another answer",
            "model default -> other",
            "calls look_up, refund, with other arguments or ends",
            "calls not made, for effects are off: 1"
        ]
    );
    let text = differences.to_string();
    assert!(
        text.starts_with("turn 1: model default -> other; tokens 220 -> 120; nano_usd 240 -> 140\n"),
        "{text}"
    );
    assert!(text.ends_with("100 turns differ, 0 went alike, 0 were not run, 0 are further\n"), "{text}");

    // The control: with effects the same turns act.
    let acting = session.fork("in-earnest").before(first).with_effects().await.unwrap();
    run(&acting, "by-other").await;
    assert_eq!(world.of("refund"), 2 * TURNS - 14);
    // The same model does the same, and calls nothing either.
    let same = session.fork("same").before(first).await.unwrap();
    run(&same, "default").await;
    let differences = Differences::of_fork(&shell, same.id().await.unwrap()).await.unwrap();
    assert!(differences.is_same(), "{differences}");
    assert_eq!(world.of("refund"), 2 * TURNS - 14);
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_fork_goes_on_with_the_conversation_of_its_parent() {
    let world = World::default();
    let shell = open(&world).await;
    let session = shell.session("customer-42").unwrap();
    for order in 1..=3 {
        session.submit(format!("refund {order} please")).await.unwrap().outcome().await.unwrap();
    }
    let asked = Scripted::with(|request| Reply::text(request.messages.len().to_string()));
    drop(asked);
    let fork = session.fork("on").await.unwrap();
    fork.submit("refund 4 please").await.unwrap().outcome().await.unwrap();
    let turns = PastTurn::of_session(&shell, fork.id().await.unwrap()).await.unwrap();
    let [turn] = &turns[..] else { panic!("{} turns", turns.len()) };
    assert_eq!((turn.number, turn.forked), (4, Some(session.id().await.unwrap())));
    // Three turns of four messages, and what the user says now.
    assert_eq!(turn.questions[0].request.as_ref().unwrap().messages.len(), 13);
    assert!(turn.case().is_none(), "what came before stands in another session");
    shell.shutdown().await.unwrap();
}
