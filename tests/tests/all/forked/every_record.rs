//! A fork at every record of a session with calls of every class, a wait of every kind, and a turn that runs.

use agent_shell_core::data::Body;
use agent_shell_core::machine::Stage;
use agent_shell_core::runtime::StateAt;
use agent_shell_core::words::{Seq, StepId};
use agent_shell_core::{Actor, Outcome, Plan, Session, Shell, Step, Tool, Undo, output};
use serde_json::{Value, json};

use super::{World, records, settled, until};
use crate::support::{double, limits};

const NOBODY: Actor = Actor::Host;

async fn shell(world: &World) -> Shell {
    let mut limits = limits();
    (limits.inline_bytes, limits.drain_ms) = (300, 10);
    let undo = world.clone();
    let unpay = Tool::idempotent("unpay", "Gives it back", move |_: Undo<Value, Value>, _| {
        undo.touched("unpay");
        async { Ok::<_, agent_shell_core::ToolError>(json!(null)) }
    });
    Shell::volatile()
        .limits(limits)
        .tool(double())
        .tool(world.idempotent("pay").ask_first().compensated_by("unpay"))
        .tool(unpay)
        .tool(world.idempotent("note"))
        .tool(world.probed("ship"))
        .tool(world.irreversible("send"))
        .open()
        .await
        .unwrap()
}

fn plan(last: &str) -> Plan {
    let steps = [
        Step::tool("double", "double", json!({ "n": 4 })),
        Step::tool("pay", "pay", json!({ "cents": 900, "why": "x".repeat(400) })),
        Step::tool("note", "note", json!(last)).after(["pay"]),
        Step::tool("ship", "ship", json!(last)).after(["pay"]),
        Step::tool("send", "send", json!(last)).after(["pay"]),
        Step::signal("go", "go"),
        Step::timer("nap", std::time::Duration::from_millis(1)),
        Step::tool("again", "double", output("double")).after(["go"]),
    ];
    Plan::new(steps).unwrap()
}

/// A session with one whole turn, and one of which three calls hang.
async fn parent(shell: &Shell, world: &World) -> Session {
    let session = shell.session("customer-42").unwrap();
    let turn = session.submit(plan("done")).await.unwrap();
    session.signal("go", json!("now"), None, &NOBODY).await.unwrap();
    until(async || !turn.rests().await.unwrap().is_empty()).await;
    shell.approve(&turn.rests().await.unwrap()[0], &NOBODY).await.unwrap();
    assert!(matches!(turn.outcome().await.unwrap(), Outcome::Answered(_)));
    session.signal("early", json!({ "kept": true }), None, &NOBODY).await.unwrap();
    let turn = session.submit(plan("hang")).await.unwrap();
    until(async || !turn.rests().await.unwrap().is_empty()).await;
    shell.approve(&turn.rests().await.unwrap()[0], &NOBODY).await.unwrap();
    until(async || world.of("send") == 2 && world.of("ship") == 2 && world.of("note") == 2).await;
    session
}

fn stages(state: &StateAt) -> Vec<(StepId, Stage, Option<Value>)> {
    let steps = state.turn.iter().flat_map(|turn| &turn.steps);
    steps.map(|step| (step.id.clone(), step.stage, step.output.as_deref().cloned())).collect()
}

#[tokio::test]
async fn a_fork_at_every_record_holds_what_its_parent_held_there_and_touches_nothing() {
    let world = World::default();
    let shell = shell(&world).await;
    let session = parent(&shell, &world).await;
    let of_parent = records(&session).await;
    let touched = world.all();
    let (mut in_doubt, mut amid) = (0, 0);
    for entry in &of_parent {
        let fork = session.fork(format!("fork-{}", entry.seq)).at(entry.seq).await.unwrap();
        let then = session.state_at(entry.seq).await.unwrap();
        let status = settled(&shell, &fork).await;
        let own = records(&fork).await;
        let Body::SessionForked { parent, seq, hash, copies, effects, .. } = own[1].body else {
            panic!("{:?}", own[1])
        };
        let at = (session.id().await.unwrap(), entry.seq, then.head.hash);
        assert_eq!((parent, seq, hash, effects), (at.0, at.1, at.2, false));
        let copied = fork.state_at(Seq::new(2 + copies)).await.unwrap();
        let what = format!("record {} ({})", entry.seq, entry.body.kind());
        assert_eq!((&copied.conversation, &copied.signals), (&then.conversation, &then.signals), "{what}");
        assert_eq!((copied.turns, copied.turn.is_some()), (then.turns, then.turn.is_some()), "{what}");
        amid += usize::from(copied.turn.is_some());
        // What had ended is as it was, to the byte. An approval that was not used is asked for anew.
        let doubts = own.iter().filter(|own| matches!(own.body, Body::StepInDoubt { .. })).count();
        let begun = fork.state_at(Seq::new(2 + copies + doubts as u64)).await.unwrap();
        for ((step, was, output), (_, is, brought)) in stages(&then).into_iter().zip(stages(&begun)) {
            let open = matches!(was, Stage::Started | Stage::Paused | Stage::Probing);
            let expected = match was {
                _ if open => Stage::InDoubt,
                Stage::Approved => Stage::Waiting,
                as_it_was => as_it_was,
            };
            in_doubt += usize::from(open);
            assert_eq!((is, brought), (expected, output), "{what}, step `{step}`");
        }
        assert_ne!(status, agent_shell_core::ports::SessionStatus::Running, "{what}");
    }
    assert!(amid > 20 && in_doubt > 9, "{amid} forks amid a turn, {in_doubt} calls in doubt");
    assert_eq!(world.all(), touched, "forks without effects touch nothing");
    assert_eq!(records(&session).await.len(), of_parent.len(), "the parent is as it was");
    // Its own turn can be driven on: what is in doubt is for a person, and what was recorded comes from the record.
    let fork = session.fork("on").await.unwrap();
    settled(&shell, &fork).await;
    let turn = fork.state_at(fork.head().await.unwrap().seq).await.unwrap().turn.unwrap().id;
    for step in ["note", "ship", "send"] {
        shell
            .turn(turn)
            .resolve(step, agent_shell_core::Resolution::Applied(json!("seen")), &NOBODY)
            .await
            .unwrap();
    }
    fork.signal("go", json!("now"), None, &NOBODY).await.unwrap();
    assert!(matches!(shell.turn(turn).outcome().await.unwrap(), Outcome::Answered(_)));
    assert_eq!(world.all(), touched);
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_fork_with_effects_neither_repeats_nor_undoes_what_its_parent_did() {
    let world = World::default();
    let shell = shell(&world).await;
    let session = parent(&shell, &world).await;
    let fork = session.fork("acts").with_effects().await.unwrap();
    settled(&shell, &fork).await;
    let touched = world.all();
    let state = fork.state_at(fork.head().await.unwrap().seq).await.unwrap();
    let turn = shell.turn(state.turn.unwrap().id);
    let doubts: Vec<_> = state.rests.iter().map(|rest| rest.step.to_string()).collect();
    assert_eq!(doubts, ["note", "ship", "send"]);
    assert_eq!(world.of("probe"), 0, "nobody is asked what became of the parent's call");
    // It fails, and undoes nothing: `pay` is the parent's.
    turn.cancel("enough", &NOBODY).await.unwrap();
    for step in ["note", "ship", "send"] {
        turn.resolve(step, agent_shell_core::Resolution::Applied(json!("seen")), &NOBODY).await.unwrap();
    }
    assert_eq!(turn.outcome().await.unwrap(), Outcome::Cancelled);
    assert_eq!(world.all(), touched);
    assert_eq!(world.of("unpay"), 0);
    assert!(turn.undone().await.unwrap().is_empty());
    // What the fork does itself, it does: under a key of its own.
    let own = fork.submit(Plan::new([Step::tool("note", "note", json!("mine"))]).unwrap()).await.unwrap();
    own.outcome().await.unwrap();
    assert_eq!(world.of("note"), touched["note"] + 1);
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_call_that_a_person_lets_begin_again_in_a_fork_has_a_key_of_its_own() {
    let world = World::default();
    let mut limits = limits();
    limits.lateness_ms = 1;
    let keys = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let (kept, seen) = (keys.clone(), world.clone());
    let note = Tool::idempotent("note", "Notes", move |_: Value, call: agent_shell_core::Call| {
        kept.lock().unwrap().push(call.key().to_owned());
        let is_first = kept.lock().unwrap().len() == 1;
        seen.touched("note");
        async move {
            if is_first {
                std::future::pending().await
            } else {
                Ok::<_, agent_shell_core::ToolError>(json!("noted"))
            }
        }
    });
    let note = note.attempt_deadline(std::time::Duration::from_millis(400));
    let shell = Shell::volatile().limits(limits).tool(note).open().await.unwrap();
    let session = shell.session("customer-42").unwrap();
    session.submit(Plan::new([Step::tool("note", "note", json!("x"))]).unwrap()).await.unwrap();
    until(async || world.of("note") == 1).await;
    let fork = session.fork("acts").with_effects().await.unwrap();
    let state = fork.state_at(fork.head().await.unwrap().seq).await.unwrap();
    let turn = shell.turn(state.turn.unwrap().id);
    until(async || turn.resolve("note", agent_shell_core::Resolution::Retry, &NOBODY).await.is_ok()).await;
    assert_eq!(turn.outcome().await.unwrap().text(), "noted");
    until(async || session.state_at(session.head().await.unwrap().seq).await.unwrap().turn.is_none()).await;
    let keys = keys.lock().unwrap().clone();
    let mut different = keys.clone();
    different.sort();
    different.dedup();
    // The parent repeats under its key, the fork acts under its own.
    assert_eq!(different.len(), 2, "{keys:?}");
    shell.shutdown().await.unwrap();
}
