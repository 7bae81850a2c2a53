//! Turns that are followed: every record once and in order, from whatever place, in whatever process, and however slow.

mod beside;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::data::Body;
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::Seq;
use agent_shell_core::{
    Actor, Call, ErrorKind, Follow, Followed, Outcome, Plan, Request, Session, Shell, ShellBuilder, Step,
    Tool, ToolError, Turn,
};
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{limits, on_each};

/// What is done well within this, unless something stands still.
const SOON: Duration = Duration::from_secs(20);

/// A tool that ends when it is let.
fn gated(gate: &Arc<Semaphore>) -> Tool {
    let gate = gate.clone();
    Tool::idempotent("act", "Ends when it may", move |_: Value, _: Call| {
        let gate = gate.clone();
        async move {
            gate.acquire().await.map_err(|_| ToolError::refused("closed"))?.forget();
            Ok::<_, ToolError>(json!("x".repeat(300)))
        }
    })
}

fn open_gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(Semaphore::MAX_PERMITS))
}

/// So many steps, one after another.
fn chain(steps: usize) -> Request {
    let step = |nth: usize| {
        let step = Step::tool(format!("s{nth}"), "act", json!({}));
        if nth == 0 { step } else { step.after([format!("s{}", nth - 1)]) }
    };
    Request::plan(Plan::new((0..steps).map(step)).unwrap())
}

async fn next(follow: &mut Follow) -> Option<Arc<HistoryEntry>> {
    match tokio::time::timeout(SOON, follow.next()).await.expect("something comes").unwrap()? {
        Followed::Durable { seq, entry } => {
            assert_eq!(seq, entry.seq);
            Some(entry)
        }
        other => panic!("no step speaks: {other:?}"),
    }
}

async fn rest(follow: &mut Follow) -> Vec<HistoryEntry> {
    let mut all = Vec::new();
    while let Some(entry) = next(follow).await {
        all.push(HistoryEntry::clone(&entry));
    }
    all
}

/// The records of the session's history from the turn's first to its last.
async fn history(session: &Session, turn: &Turn) -> Vec<HistoryEntry> {
    let mut history = session.history().await.unwrap();
    let mut all = Vec::new();
    loop {
        let page = history.next(7).await.unwrap();
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    let is_of = |entry: &HistoryEntry| entry.body.turn() == Some(turn.id());
    let first = all.iter().position(is_of).unwrap();
    let last = all.iter().rposition(is_of).unwrap();
    all[first..=last].to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_is_told_every_record_of_the_turn_and_of_no_other() {
    on_each(|shell, _| async {
        // The large output makes blobs.
        let mut small = limits();
        small.inline_bytes = 200;
        let shell = shell.limits(small).tool(gated(&open_gate())).open().await.unwrap();
        let session = shell.session("s").unwrap();
        let mut turns = Vec::new();
        for _ in 0..3 {
            turns.push(session.submit(chain(40)).await.unwrap());
        }
        let mut live = turns[1].follow();
        let told = rest(&mut live).await;
        turns[2].outcome().await.unwrap();
        let expected = history(&session, &turns[1]).await;
        assert_eq!(told, expected);
        assert!(matches!(told[0].body, Body::TurnStarted { .. }));
        assert!(matches!(told.last().unwrap().body, Body::TurnEnded { .. }));
        assert!(told[0].seq > Seq::new(1), "another turn stands before it");
        assert_eq!(next(&mut live).await, None, "it stays over");
        for turn in [&turns[1], &shell.turn(turns[1].id())] {
            assert_eq!(rest(&mut turn.follow()).await, expected, "also who comes after the end");
            let streamed: Vec<_> = turn.follow().into_stream().collect().await;
            assert_eq!(streamed.len(), expected.len());
        }
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_reconnects_after_any_record() {
    on_each(|shell, _| async {
        let gate = Arc::new(Semaphore::new(0));
        let shell = shell.tool(gated(&gate)).open().await.unwrap();
        let session = shell.session("s").unwrap();
        let turn = session.submit(chain(50)).await.unwrap();
        // While it runs, every record by a follower of its own, and others that hold older places.
        let (mut told, mut after, mut kept) = (Vec::new(), Seq::ZERO, vec![turn.follow()]);
        loop {
            gate.add_permits(1);
            let mut follow = turn.follow_after(after);
            let Some(entry) = next(&mut follow).await else { break };
            after = entry.seq;
            told.push(HistoryEntry::clone(&entry));
            if told.len() % 10 == 0 {
                kept.push(follow);
            }
        }
        let expected = history(&session, &turn).await;
        assert_eq!(told, expected);
        for mut follow in kept {
            let rest = rest(&mut follow).await;
            assert_eq!(rest, expected[expected.len() - rest.len()..]);
        }
        // After its end, from every place.
        for (nth, entry) in expected.iter().enumerate() {
            assert_eq!(rest(&mut turn.follow_after(entry.seq)).await, expected[nth + 1..]);
        }
        assert_eq!(next(&mut turn.follow_after(Seq::new(after.number() + 100))).await, None);
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_next_loses_nothing() {
    on_each(|shell, _| async {
        let gate = Arc::new(Semaphore::new(0));
        let shell = shell.tool(gated(&gate)).open().await.unwrap();
        let session = shell.session("s").unwrap();
        let turn = session.submit(chain(30)).await.unwrap();
        let mut follow = turn.follow();
        let (mut told, mut polls) = (Vec::new(), 0);
        loop {
            // Each call is polled once and dropped, wherever it waits then.
            polls += 1;
            assert!(polls < 1_000_000, "it goes on");
            match follow.next().now_or_never() {
                None => {
                    gate.add_permits(1);
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
                Some(Ok(Some(Followed::Durable { entry, .. }))) => told.push(HistoryEntry::clone(&entry)),
                Some(Ok(None)) => break,
                Some(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(told, history(&session, &turn).await);
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_slow_holds_up_nothing_and_is_told_all() {
    on_each(|shell, _| async {
        let shell = shell.tool(gated(&open_gate())).open().await.unwrap();
        let session = shell.session("s").unwrap();
        let turn = session.submit(chain(100)).await.unwrap();
        let (mut first, mut never) = (turn.follow(), turn.follow());
        assert!(next(&mut first).await.is_some());
        let mut quick = turn.follow();
        let outcome = tokio::time::timeout(SOON, turn.outcome()).await;
        assert!(matches!(outcome.expect("nothing waits for them").unwrap(), Outcome::Answered(_)));
        let expected = history(&session, &turn).await;
        assert!(expected.len() > 200, "more than what followers share");
        assert_eq!(rest(&mut quick).await, expected);
        assert_eq!(rest(&mut first).await, expected[1..]);
        assert_eq!(rest(&mut never).await, expected);
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_turn_is_driven_no_poll_is_waited_for() {
    on_each(|shell, _| async {
        let gate = Arc::new(Semaphore::new(0));
        let mut rare = limits();
        rare.poll_ms = 600_000;
        let shell = shell.limits(rare).tool(gated(&gate)).open().await.unwrap();
        let session = shell.session("s").unwrap();
        let turn = session.submit(chain(10)).await.unwrap();
        let mut follow = turn.follow();
        let mut told = Vec::new();
        while let Some(entry) = next(&mut follow).await {
            if matches!(entry.body, Body::StepStarted { .. }) {
                gate.add_permits(1);
            }
            told.push(HistoryEntry::clone(&entry));
        }
        assert_eq!(told, history(&session, &turn).await);
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_between_records_of_the_turn_is_told_too() {
    on_each(|shell, _| async {
        let gate = Arc::new(Semaphore::new(0));
        let shell = shell.tool(gated(&gate)).open().await.unwrap();
        let session = shell.session("s").unwrap();
        let turn = session.submit(chain(1)).await.unwrap();
        let mut follow = turn.follow();
        while !matches!(next(&mut follow).await.unwrap().body, Body::StepStarted { .. }) {}
        session.signal("early", json!(1), None, &Actor::Host).await.unwrap();
        let signal = next(&mut follow).await.unwrap();
        assert!(matches!(signal.body, Body::SignalReceived { .. }), "{signal:?}");
        gate.add_permits(1);
        assert!(matches!(
            rest(&mut follow).await[..],
            [.., HistoryEntry { body: Body::TurnEnded { .. }, .. }]
        ));
        assert_eq!(rest(&mut turn.follow()).await, history(&session, &turn).await);
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_waits_or_rests_is_waited_for() {
    on_each(|shell, _| async {
        let gate = Arc::new(Semaphore::new(0));
        let shell = shell.tool(gated(&gate).ask_first()).open().await.unwrap();
        let session = shell.session("s").unwrap();
        let turns = [session.submit(chain(1)).await.unwrap(), session.submit(chain(1)).await.unwrap()];
        let mut queued = turns[1].follow();
        let mut resting = turns[0].follow();
        while !matches!(next(&mut resting).await.unwrap().body, Body::WaitOpened { .. }) {}
        for follow in [&mut queued, &mut resting] {
            let early = tokio::time::timeout(Duration::from_millis(100), follow.next()).await;
            assert!(early.is_err(), "nothing comes: {early:?}");
        }
        gate.add_permits(2);
        for turn in &turns {
            turn.approval().await.unwrap().unwrap().approve(&Actor::Host).await.unwrap();
            turn.outcome().await.unwrap();
        }
        assert_eq!(rest(&mut queued).await, history(&session, &turns[1]).await);
        assert!(!rest(&mut resting).await.is_empty());
        shell.shutdown().await.unwrap();
    })
    .await;
}

/// A shell that drives nothing: it only looks.
fn onlooker(builder: ShellBuilder) -> ShellBuilder {
    let mut looks = limits();
    looks.held_sessions = 0;
    builder.limits(looks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_shell_on_the_same_file_is_told_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let gate = Arc::new(Semaphore::new(0));
    let shell = Shell::at(&path).limits(limits()).tool(gated(&gate)).open().await.unwrap();
    let other = onlooker(Shell::at(&path)).open().await.unwrap();
    let session = shell.session("s").unwrap();
    let turn = session.submit(chain(40)).await.unwrap();
    let mut there = other.turn(turn.id()).follow();
    let mut told = Vec::new();
    while let Some(entry) = next(&mut there).await {
        gate.add_permits(1);
        told.push(HistoryEntry::clone(&entry));
        if told.len() % 7 == 0 {
            there = other.turn(turn.id()).follow_after(entry.seq);
        }
    }
    assert_eq!(told, history(&session, &turn).await);
    shell.shutdown().await.unwrap();
    other.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_outlives_the_process_that_drives_the_turn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let gate = Arc::new(Semaphore::new(3));
    let mut hurry = limits();
    hurry.drain_ms = 50;
    let open = || Shell::at(&path).limits(hurry.clone()).tool(gated(&gate)).open();
    let other = onlooker(Shell::at(&path)).open().await.unwrap();
    let first = open().await.unwrap();
    let turn = first.session("s").unwrap().submit(chain(8)).await.unwrap();
    let mut there = other.turn(turn.id()).follow();
    let mut told = Vec::new();
    while told.len() < 6 {
        told.push(HistoryEntry::clone(&next(&mut there).await.unwrap()));
    }
    // An act runs that does not end: the process goes without it.
    first.shutdown().await.unwrap();
    let second = open().await.unwrap();
    gate.add_permits(100);
    told.extend(rest(&mut there).await);
    let session = second.session("s").unwrap();
    assert_eq!(told, history(&session, &turn).await);
    let epochs: std::collections::BTreeSet<_> = told.iter().map(|entry| entry.epoch).collect();
    assert_eq!(epochs.len(), 2, "two owners wrote it");
    second.shutdown().await.unwrap();
    other.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_followed_says_why() {
    on_each(|shell, _| async {
        let gate = Arc::new(Semaphore::new(1));
        let shell = shell.tool(gated(&gate)).open().await.unwrap();
        let kind = |follow: Follow| async move {
            let mut follow = follow;
            tokio::time::timeout(SOON, follow.next()).await.expect("it is answered").unwrap_err().kind()
        };
        let unknown = shell.turn(agent_shell_core::words::TurnId::from_bytes([9; 16]));
        assert_eq!(kind(unknown.follow()).await, ErrorKind::NotFound);
        let ended = shell.session("s").unwrap().submit(chain(1)).await.unwrap();
        ended.outcome().await.unwrap();
        let running = shell.session("s").unwrap().submit(chain(1)).await.unwrap();
        let (mut of_ended, mut of_running) = (ended.follow(), running.follow());
        assert!(next(&mut of_ended).await.is_some());
        while !matches!(next(&mut of_running).await.unwrap().body, Body::StepStarted { .. }) {}
        let waiting = tokio::spawn(async move { of_running.next().await });
        shell
            .purge(
                &agent_shell_core::Tenant::default(),
                &agent_shell_core::words::UserId::new("s").unwrap(),
                &Actor::Host,
            )
            .await
            .unwrap();
        let waited = tokio::time::timeout(SOON, waiting).await.expect("it is told").unwrap();
        assert_eq!(waited.unwrap_err().kind(), ErrorKind::Purged);
        assert_eq!(kind(of_ended).await, ErrorKind::Purged, "also what was read before");
        assert_eq!(kind(ended.follow()).await, ErrorKind::Purged);
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shell_that_stops_says_so_to_who_waits() {
    on_each(|shell, _| async {
        let gate = Arc::new(Semaphore::new(0));
        let mut hurry = limits();
        hurry.drain_ms = 50;
        let shell = shell.limits(hurry).tool(gated(&gate)).open().await.unwrap();
        let turn = shell.session("s").unwrap().submit(chain(1)).await.unwrap();
        let mut follow = turn.follow();
        while !matches!(next(&mut follow).await.unwrap().body, Body::StepStarted { .. }) {}
        let waiting = tokio::spawn(async move { follow.next().await });
        shell.shutdown().await.unwrap();
        let waited = tokio::time::timeout(SOON, waiting).await.expect("it is told").unwrap();
        assert_eq!(waited.unwrap_err().kind(), ErrorKind::ShuttingDown);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_was_changed_is_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let shell = Shell::at(&path).limits(limits()).tool(gated(&open_gate())).open().await.unwrap();
    let turn = shell.session("s").unwrap().submit(chain(5)).await.unwrap();
    turn.outcome().await.unwrap();
    let told = rest(&mut turn.follow()).await;
    let at = told[4].seq;
    // It still opens: only the chain tells.
    let changed = "UPDATE records SET hash = zeroblob(32) WHERE seq = ?1";
    let file = rusqlite::Connection::open(&path).unwrap();
    assert_eq!(file.execute(changed, [i64::try_from(at.number()).unwrap()]).unwrap(), 1);
    let mut follow = turn.follow();
    let mut kinds = Vec::new();
    let error = loop {
        match follow.next().await {
            Ok(Some(Followed::Durable { entry, .. })) => kinds.push(entry.seq),
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(kinds.iter().all(|seq| *seq < at), "{kinds:?}");
    shell.shutdown().await.unwrap();
}

#[test]
fn two_hundred_followers_of_ten_turns_are_told_everything_in_three_processes() {
    let folder = tempfile::tempdir().unwrap();
    let settings = "followers --followers 200 --turns 10 --steps 80 --pace-ms 15 --slow-ms 40 --poll-ms 50";
    let file = folder.path().join("row.json");
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(settings.split_whitespace())
        .arg("--json")
        .arg(&file)
        .arg("--dir")
        .arg(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")))
        .output()
        .unwrap();
    let (table, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{table}{errors}");
    let row: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(row["followers"], 200);
    // 72 steps of two records, 8 questions, of which 4 break off at first, and four records around them.
    assert_eq!(row["records"], 200 * (2 * 72 + 8 + 4 + 4), "{table}");
    assert!(row["tokens"].as_u64().unwrap() > 1_000 && row["retracted"].as_u64().unwrap() > 50, "{table}");
    // Whoever is far behind reads for itself.
    assert!(row["records_read_here"].as_u64().unwrap() > 10 * 2 * 160, "{table}");
    assert!(row["reconnects"].as_u64().unwrap() > 20 && row["dropped"].as_u64().unwrap() > 100, "{table}");
}
