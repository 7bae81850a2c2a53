//! Who may fork, what a name stands for, and how long forks and their parents live.

use agent_shell_core::data::{Body, Ceiling, FailureCode};
use agent_shell_core::runtime::{Ceilings, verify_export};
use agent_shell_core::words::{Seq, TurnId, UserId};
use agent_shell_core::{Actor, ErrorKind, Outcome, Plan, Reply, Scripted, Shell, Step, Tenant, ToolLoop};
use serde_json::json;

use super::{World, bodies, records, settled, until};
use crate::support::{limits, on_each};

const NOBODY: Actor = Actor::Host;

fn one(input: &str) -> Plan {
    Plan::new([Step::tool("only", "note", json!(input))]).unwrap()
}

/// A wait that is open where a session is forked lasts as long in the fork as it had left.
#[tokio::test]
async fn a_wait_ends_as_far_off_as_it_did_when_it_was_forked() {
    on_each(|shell, _| async move {
        let shell = shell.open().await.unwrap();
        let session = shell.session("customer-42").unwrap();
        let wait = Step::signal("wait", "go").expires(std::time::Duration::from_millis(700));
        let turn = session.submit(Plan::new([wait]).unwrap()).await.unwrap();
        until(async || bodies(&session).await.iter().any(|body| matches!(body, Body::WaitOpened { .. })))
            .await;
        let head = session.head().await.unwrap().seq;
        let expired = turn.outcome().await.unwrap();
        assert!(matches!(&expired, Outcome::Failed(failure) if failure.code == FailureCode::Expired));
        let fork = session.fork("fork").at(head).await.unwrap();
        fork.signal("go", json!("in time"), None, &NOBODY).await.unwrap();
        until(async || bodies(&fork).await.iter().any(|body| matches!(body, Body::TurnEnded { .. }))).await;
        let ended = bodies(&fork).await.into_iter().find_map(|body| match body {
            Body::TurnEnded { outcome, .. } => Some(outcome),
            _ => None,
        });
        assert!(matches!(ended, Some(Outcome::Answered(_))), "{ended:?}");
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_name_is_one_fork() {
    on_each(|shell, _| async move {
        let world = World::default();
        let shell = shell.tool(world.idempotent("note")).open().await.unwrap();
        let session = shell.session("customer-42").unwrap();
        let error = session.fork("early").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "there is nothing yet: {error}");
        let turn = session.submit(one("x")).await.unwrap();
        turn.outcome().await.unwrap();
        let head = session.head().await.unwrap().seq;

        // Asked for by many at once, it is made once.
        let asked = (0..8).map(|_| async { session.fork("fork").at(head).await?.id().await });
        let ids: Vec<_> = futures::future::join_all(asked).await.into_iter().map(Result::unwrap).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let fork = session.fork("fork").at(head).await.unwrap();
        let forked = |body: &Body| matches!(body, Body::SessionForked { .. });
        assert_eq!(bodies(&fork).await.iter().filter(|body| forked(body)).count(), 1);

        // The head moves on, and the fork stays where it is.
        session.submit(one("y")).await.unwrap().outcome().await.unwrap();
        assert_eq!(session.fork("fork").await.unwrap().id().await.unwrap(), ids[0]);
        let mismatches = [
            session.fork("fork").at(Seq::new(head.number() - 1)),
            session.fork("fork").before(turn.id()),
            session.fork("fork").at(head).with_effects(),
            fork.fork("fork"),
            fork.fork("customer-42"),
            session.fork("customer-42"),
        ];
        for asked in mismatches {
            let error = asked.await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
        }
        let not_there = [
            session.fork("other").at(Seq::new(1_000)),
            session.fork("other").before(TurnId::from_bytes([9; 16])),
        ];
        for asked in not_there {
            assert_eq!(asked.await.unwrap_err().kind(), ErrorKind::NotFound);
        }
        assert_eq!(session.fork("other").at(Seq::ZERO).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(session.fork("\u{7}").await.unwrap_err().kind(), ErrorKind::InvalidInput);
        let sessions = shell.sessions(Default::default(), None, 10).await.unwrap();
        assert_eq!(sessions.len(), 2, "what was refused left no session");
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_fork_says_where_it_comes_from_and_verifies() {
    on_each(|shell, _| async move {
        let world = World::default();
        let shell = shell.tool(world.idempotent("note")).open().await.unwrap();
        let session = shell.session("customer-42").unwrap();
        session.submit(one("x")).await.unwrap().outcome().await.unwrap();
        let by = Actor::named("an analyst").unwrap();
        let fork = session.fork("fork").actor(by.clone()).await.unwrap();
        fork.submit(one("x")).await.unwrap().outcome().await.unwrap();
        let second = &records(&fork).await[1];
        let Body::SessionForked { parent, seq, hash, root, handles_from, .. } = second.body else { panic!() };
        let head = session.head().await.unwrap();
        assert_eq!((parent, seq, hash), (session.id().await.unwrap(), head.seq, head.hash));
        assert_eq!((root, handles_from), (parent, seq.number()));
        assert_eq!(shell.actor(&Tenant::default(), second.actor).await.unwrap(), Some(by));
        let again = fork.fork("again").await.unwrap();
        let Body::SessionForked { root: of_again, handles_from: from, .. } = bodies(&again).await[1] else {
            panic!()
        };
        assert_eq!(of_again, parent, "the account is that of the first ancestor");
        assert_eq!(from, seq.number() + fork.head().await.unwrap().seq.number());
        let mut out = Vec::new();
        let heads = shell.export(&mut out, true).await.unwrap();
        assert_eq!(heads.len(), 3);
        verify_export(&*out, &heads).unwrap();
        // An auditor finds the parent's record by what an export in the clear says.
        let lines: Vec<serde_json::Value> = out
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        let forked = lines.iter().find(|line| line["kind"] == "session.forked").unwrap();
        let of_parent = lines
            .iter()
            .find(|line| line["session"] == forked["body"]["parent"] && line["seq"] == forked["body"]["seq"]);
        assert_eq!(of_parent.unwrap()["hash"], forked["body"]["hash"]);
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_purge_reaches_forks() {
    let (world, folder) = (World::default(), tempfile::tempdir().unwrap());
    let path = folder.path().join("shell.db");
    let shell = Shell::at(&path).limits(limits()).tool(world.idempotent("note")).open().await.unwrap();
    let session = shell.session("customer-42").unwrap();
    let turn = session.submit(one("done")).await.unwrap();
    turn.outcome().await.unwrap();
    session.submit(one("hang")).await.unwrap();
    until(async || world.of("note") == 2).await;
    // One at a boundary, one amid a turn, and one of a fork.
    let quiet = session.fork("quiet").before(turn.id()).await.unwrap();
    let amid = session.fork("amid").await.unwrap();
    settled(&shell, &amid).await;
    let of_fork = amid.fork("of-fork").await.unwrap();
    settled(&shell, &of_fork).await;
    let user = UserId::new("customer-42").unwrap();
    let receipt = shell.purge(&Tenant::default(), &user, &NOBODY).await.unwrap();
    let mut expected = Vec::new();
    for session in [&session, &quiet, &amid, &of_fork] {
        expected.push(session.id().await.unwrap());
        let error = session.history().await.unwrap().next(100).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Purged);
        assert_eq!(session.fork("late").await.unwrap_err().kind(), ErrorKind::Purged);
    }
    expected.sort();
    assert_eq!(receipt.sessions.iter().map(|purged| purged.session).collect::<Vec<_>>(), expected);
    assert!(receipt.unfinished.is_empty());
    // The act of which nothing is known is told once, by the session that began it.
    let open: Vec<_> = receipt.sessions.iter().filter_map(|purged| purged.open.as_ref()).flatten().collect();
    assert_eq!(open.len(), 1, "{open:?}");
    let mut out = Vec::new();
    let heads = shell.export(&mut out, false).await.unwrap();
    verify_export(&*out, &heads).unwrap();
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_fork_needs_nothing_of_a_parent_that_is_archived_and_gone() {
    let (world, folder) = (World::default(), tempfile::tempdir().unwrap());
    let (path, files) = (folder.path().join("shell.db"), folder.path().join("archive"));
    std::fs::create_dir(&files).unwrap();
    let open = || Shell::at(&path).limits(limits()).tool(world.idempotent("note")).open();
    let shell = open().await.unwrap();
    let session = shell.session("customer-42").unwrap();
    let turn = session.submit(one("x")).await.unwrap();
    turn.outcome().await.unwrap();
    let fork = session.fork("fork").before(turn.id()).await.unwrap();
    // The fork has work, so that only its parent leaves.
    let waits =
        Plan::new([Step::signal("go", "go"), Step::tool("then", "note", json!("x")).after(["go"])]).unwrap();
    let waiting = fork.submit(waits).await.unwrap();
    settled(&shell, &fork).await;
    let report = shell.archive(&files).await.unwrap();
    assert_eq!(report.archived.len(), 1, "{report:?}");
    assert_eq!(session.fork("fork").before(turn.id()).await.unwrap_err().kind(), ErrorKind::Archived);
    let gone = shell.expire(std::time::Duration::ZERO).folder(&files).await.unwrap();
    assert_eq!(gone.expired.len(), 1, "{gone:?}");
    shell.shutdown().await.unwrap();
    let shell = open().await.unwrap();
    let subject = agent_shell_core::Subject::User(UserId::new("customer-42").unwrap());
    let fork = shell.session_of(Tenant::default(), "fork", subject).unwrap();
    fork.signal("go", json!(1), None, &NOBODY).await.unwrap();
    let outcome = shell.turn(waiting.id()).outcome().await.unwrap();
    assert!(matches!(outcome, Outcome::Answered(_)), "{outcome:?}");
    assert_eq!(world.of("note"), 1);
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_fork_spends_what_its_parent_may() {
    let world = World::default();
    let three = Ceiling { tool_calls: Some(3), ..Ceiling::NONE };
    let shell = Shell::volatile()
        .limits(limits())
        .tool(world.idempotent("note"))
        .budgeted(move |_| Ceilings { session: three, ..Ceilings::default() })
        .open()
        .await
        .unwrap();
    let session = shell.session("customer-42").unwrap();
    session.submit(one("x")).await.unwrap().outcome().await.unwrap();
    let fork = session.fork("fork").with_effects().await.unwrap();
    let second = fork.fork("second").with_effects().await.unwrap();
    for spender in [&fork, &second] {
        let outcome = spender.submit(one("y")).await.unwrap().outcome().await.unwrap();
        assert!(matches!(outcome, Outcome::Answered(_)), "{outcome:?}");
    }
    for spender in [&fork, &second, &session] {
        let Outcome::Failed(failure) = spender.submit(one("z")).await.unwrap().outcome().await.unwrap()
        else {
            panic!("the three calls are made")
        };
        assert_eq!(failure.code, FailureCode::Budget);
    }
    let account = shell.session_account(session.id().await.unwrap());
    assert_eq!(shell.ledger().balance(account).await.unwrap().unwrap().settled.tool_calls, 3);
    // What is not made costs nothing.
    let quiet = session.fork("quiet").await.unwrap();
    let Outcome::Failed(failure) = quiet.submit(one("z")).await.unwrap().outcome().await.unwrap() else {
        panic!()
    };
    assert_eq!(failure.code, FailureCode::EffectsOff);
    shell.shutdown().await.unwrap();
}

/// A handle names an output by the number of a record. In a fork, a number of the parent's still names the parent's.
#[tokio::test]
async fn handles_of_the_parent_are_read_in_a_fork() {
    let long = |of: &str| of.repeat(600);
    let model = Scripted::with(move |request| {
        let last = json!(request.messages.last());
        let said = last["user"][0]["text"].as_str().unwrap_or_default().to_owned();
        match said.split_once(' ') {
            Some(("make", what)) => Reply::call("long", json!(what)),
            Some(("read", handle)) => {
                Reply::call("read_output", json!({ "handle": handle.parse::<u64>().unwrap() }))
            }
            _ => Reply::text(last["results"][0]["output"].to_string()),
        }
    });
    let tool =
        agent_shell_core::Tool::pure("long", "Brings much", move |of: String, _: agent_shell_core::Call| {
            let long = long(&of);
            async move { Ok::<_, agent_shell_core::ToolError>(long) }
        });
    let shell = Shell::volatile()
        .limits(limits())
        .model(model)
        .planner(ToolLoop::new().handles_above(200))
        .reads_outputs()
        .tool(tool)
        .open()
        .await
        .unwrap();
    let session = shell.session("customer-42").unwrap();
    let handle = |outcome: &Outcome| -> u64 {
        let shown: serde_json::Value = serde_json::from_str(&outcome.text()).unwrap();
        shown["handle"].as_u64().unwrap_or_else(|| panic!("{shown}"))
    };
    let say = async |session: &agent_shell_core::Session, what: String| {
        session.submit(what).await.unwrap().outcome().await.unwrap()
    };
    let first = handle(&say(&session, "make abc".into()).await);
    let fork = session.fork("fork").await.unwrap();
    let own = handle(&say(&fork, "make xyz".into()).await);
    assert!(own > first, "{own} {first}");
    let second = fork.fork("second").await.unwrap();
    for reader in [&fork, &second] {
        for (handle, text) in [(first, "abcabc"), (own, "xyzxyz")] {
            let read = say(reader, format!("read {handle}")).await.text();
            assert!(read.contains(text), "{handle} in {reader:?}: {read}");
        }
    }
    shell.shutdown().await.unwrap();
}
