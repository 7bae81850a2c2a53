//! What events say, and what they don't.

use std::sync::Arc;

use agent_shell_core::backends::local_bus::LocalBus;
use agent_shell_core::{Actor, Envelope, ErrorKind, Plan, Request, Resolution, Shell, Step, Tool, ToolError};
use serde_json::{Value, json};

use super::{SOON, Seen, kept, limits, on, pending, run_turn, volatile, wait_until};
use crate::support::on_each;

fn types(events: &[Envelope]) -> Vec<&str> {
    let name = |event: &Envelope| event.event_type.strip_prefix("agent-shell.").is_some();
    assert!(events.iter().all(name));
    events.iter().map(|event| &event.event_type["agent-shell.".len()..event.event_type.len() - 3]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_tells_of_its_start_its_rests_and_its_end() {
    on_each(|shell, _| async move {
        let seen = Seen::default();
        let lost = Tool::irreversible("lost", "", |_: Value, _: agent_shell_core::Call| async {
            Err::<Value, _>(ToolError::ambiguous("no answer"))
        });
        let shell = shell
            .events("/shops/eu")
            .bus(Arc::new(LocalBus::default()))
            .consumer(seen.consumer("group"))
            .tool(lost.ask_first())
            .open()
            .await
            .unwrap();
        let plan = Plan::new([Step::tool("secret-step", "lost", json!({ "secret": "input" }))]).unwrap();
        let session = shell.session("secret-name").unwrap();
        let turn = session.submit(Request::plan(plan).input(json!("secret-input"))).await.unwrap();
        turn.approval().await.unwrap().unwrap().approve(&Actor::Host).await.unwrap();
        seen.wait_for(4).await;
        turn.resolve("secret-step", Resolution::Applied(json!("secret-output")), &Actor::Host).await.unwrap();
        tokio::time::timeout(SOON, turn.outcome()).await.unwrap().unwrap();
        seen.wait_for(6).await;
        let events = seen.all();
        let rest = ["rest-opened", "rest-ended"];
        assert_eq!(types(&events), ["turn-started", rest[0], rest[1], rest[0], rest[1], "turn-ended"]);
        assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        let cause = |place: usize| events[place].causation.as_deref().and_then(|id| id.parse().ok());
        let causes = [cause(0), cause(1), cause(2), cause(3), cause(4), cause(5)];
        let id = |place: usize| Some(events[place].id);
        assert_eq!(causes, [None, id(0), id(1), id(0), id(3), id(0)]);
        let data = |place: usize, member: &str| events[place].data[member].clone();
        assert_eq!([data(1, "needs"), data(3, "needs")], ["approval", "resolution"]);
        assert_eq!([data(2, "how"), data(4, "how"), data(5, "outcome")], ["approved", "applied", "answered"]);
        let subject = events[0].subject.clone().unwrap();
        assert_eq!(subject.len(), 32);
        let id = session.id().await.unwrap();
        for event in &events {
            assert_eq!((event.specversion.as_str(), event.source.as_str()), ("1.0", "/shops/eu"));
            assert_eq!(event.subject.as_ref(), Some(&subject));
            assert_eq!(event.correlation, Some(turn.id().to_string()));
            assert_eq!(event.data["turn"], json!(turn.id()));
            assert_eq!((event.session, &event.partitionkey), (id, &id.to_string()));
            let text = serde_json::to_string(event).unwrap();
            assert!(!text.contains("secret"), "{text}");
        }
        // Each event names a record, which says what the event tells of.
        let records = session.history().await.unwrap().next(100).await.unwrap();
        let kinds: Vec<_> = events
            .iter()
            .map(|event| records[event.data["record"].as_u64().unwrap() as usize - 1].body.kind())
            .collect();
        let expected =
            ["turn.started", "wait.opened", "wait.ended", "step.in_doubt", "step.resolved", "turn.ended"];
        assert_eq!(kinds, expected);
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_turn_and_a_denial_are_told() {
    let seen = Seen::default();
    let shell = Shell::volatile().limits(limits()).bus(Arc::new(LocalBus::default()));
    let shell = shell.consumer(seen.consumer("group")).open().await.unwrap();
    let plan = || Plan::new([Step::approval("ask", json!("go on?"))]).unwrap();
    let session = shell.session("s").unwrap();
    let denied = session.submit(plan()).await.unwrap();
    denied.approval().await.unwrap().unwrap().deny("no", &Actor::Host).await.unwrap();
    denied.outcome().await.unwrap();
    let given_up = session.submit(plan()).await.unwrap();
    given_up.approval().await.unwrap().unwrap();
    given_up.abandon("not needed", &Actor::Host).await.unwrap();
    given_up.outcome().await.unwrap();
    seen.wait_for(8).await;
    let data: Vec<_> = seen.all().iter().map(|event| event.data.clone()).collect();
    assert_eq!(
        (&data[2]["how"], &data[3]["outcome"], &data[3]["code"]),
        (&json!("denied"), &json!("failed"), &json!("denied"))
    );
    assert_eq!((&data[6]["how"], &data[7]["outcome"]), (&json!("turn_ended"), &json!("abandoned")));
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shell_that_was_not_asked_tells_nothing() {
    let (store, keys) = volatile();
    let shell = on(&store, &keys).open().await.unwrap();
    run_turn(&shell, "s").await;
    shell.shutdown().await.unwrap();
    assert_eq!(kept(&store).await, []);
    let shell = on(&store, &keys).events("/only-written").open().await.unwrap();
    run_turn(&shell, "s").await;
    shell.shutdown().await.unwrap();
    assert_eq!(pending(&store).await, 2, "what is told without a bus waits for a process that has one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_owner_goes_on_with_sequence_and_causes() {
    let (store, keys) = volatile();
    let shell = on(&store, &keys).events("/x").open().await.unwrap();
    let plan = Plan::new([Step::approval("ask", json!("go on?"))]).unwrap();
    let turn = shell.session("s").unwrap().submit(plan).await.unwrap();
    turn.approval().await.unwrap().unwrap();
    shell.shutdown().await.unwrap();
    let shell = on(&store, &keys).events("/x").open().await.unwrap();
    let turn = shell.turn(turn.id());
    turn.approval().await.unwrap().unwrap().approve(&Actor::Host).await.unwrap();
    tokio::time::timeout(SOON, turn.outcome()).await.unwrap().unwrap();
    shell.shutdown().await.unwrap();
    let events: Vec<Envelope> = kept(&store)
        .await
        .iter()
        .map(|row| serde_json::from_slice(&row.outgoing.envelope).unwrap())
        .collect();
    assert_eq!(types(&events), ["turn-started", "rest-opened", "rest-ended", "turn-ended"]);
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(events[2].causation, Some(events[1].id.to_string()), "the cause was told by another owner");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_told_is_refused_at_the_opening() {
    let refused =
        |shell: agent_shell_core::ShellBuilder| async move { shell.open().await.unwrap_err().kind() };
    let bus = || Arc::new(LocalBus::default());
    let group = |name: &str| Seen::default().consumer(name);
    let without_bus = Shell::volatile().consumer(group("a"));
    let twice = Shell::volatile().bus(bus()).consumer(group("a")).consumer(group("a"));
    let nameless = Shell::volatile().bus(bus()).consumer(group(""));
    let nobody = Shell::volatile().events("");
    for shell in [without_bus, twice, nameless, nobody] {
        assert_eq!(refused(shell).await, ErrorKind::InvalidInput);
    }
    let shell = Shell::volatile().open().await.unwrap();
    let lag = shell.lag(&agent_shell_core::words::GroupName::new("a").unwrap()).await;
    assert_eq!(lag.unwrap_err().kind(), ErrorKind::Unsupported);
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_rows_go_when_they_were_delivered() {
    let (store, keys) = volatile();
    let mut none_kept = limits();
    none_kept.outbox_keep_ms = 0;
    let seen = Seen::default();
    let shell = on(&store, &keys).limits(none_kept).bus(Arc::new(LocalBus::default()));
    let shell = shell.consumer(seen.consumer("group")).open().await.unwrap();
    super::run_turns(&shell, 2, 3).await;
    seen.wait_for(12).await;
    let rows = || futures_of(&store);
    wait_until("the removal of old rows", || rows() == 0).await;
    run_turn(&shell, "s0").await;
    seen.wait_for(14).await;
    assert_eq!(seen.by_session().values().map(Vec::len).sum::<usize>(), 14, "sequences go on");
    shell.shutdown().await.unwrap();
}

/// How many rows the outbox keeps.
fn futures_of(store: &agent_shell_core::ports::Store) -> usize {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(kept(store)).len())
}
