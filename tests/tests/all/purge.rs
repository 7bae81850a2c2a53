//! Forgetting a subject, at rest and with a turn running; and keys that are lost, out of reach or destroyed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::sqlite::{SqliteKeys, SqliteOptions, SqliteStore};
use agent_shell_core::data::{DataKey, KeyId};
use agent_shell_core::ports::{KeyError, KeyStore, SessionFilter, SessionStatus, Store};
use agent_shell_core::runtime::verify_store;
use agent_shell_core::words::UserId;
use agent_shell_core::{
    Actor, Call, EffectClass, ErrorKind, Outcome, Plan, Request, Shell, Step, Subject, Tenant, Tool,
    ToolError, Turn, input,
};
use agent_shell_tests::residue;
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::support::limits;

/// What a shell does well within, unless it stands still.
const SOON: Duration = Duration::from_secs(20);

/// Texts that are planted, one for each way into the journal.
const USER: &str = "Marker-of-the-user";
const INPUT: &str = "Marker-of-the-input";
const OUTPUT: &str = "Marker-of-an-output";
const ERROR: &str = "Marker-of-an-error";
const SIGNAL: &str = "Marker-of-a-signal";
const KEY: &str = "Marker-of-a-dedupe-key";
const QUEUED: &str = "Marker-of-a-queued-input";
const MARKERS: [&str; 7] = [USER, INPUT, OUTPUT, ERROR, SIGNAL, KEY, QUEUED];

/// A key store whose keys may be out of reach, lost, or not really destroyed.
struct Keys {
    inner: SqliteKeys,
    fault: Arc<AtomicU8>,
}

const NONE: u8 = 0;
const LOST: u8 = 1;
const UNAVAILABLE: u8 = 2;
const KEPT: u8 = 3;

impl Keys {
    fn fault(&self) -> Result<(), KeyError> {
        match self.fault.load(Ordering::SeqCst) {
            LOST => Err(KeyError::Lost),
            UNAVAILABLE => Err(KeyError::Unavailable { detail: "no answer".into() }),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl KeyStore for Keys {
    async fn create(&self, id: KeyId, fresh: DataKey) -> Result<DataKey, KeyError> {
        // A key that is lost can be made anew: the runtime must not.
        if self.fault.load(Ordering::SeqCst) == UNAVAILABLE {
            self.fault()?;
        }
        self.inner.create(id, fresh).await
    }

    async fn fetch(&self, id: KeyId) -> Result<DataKey, KeyError> {
        self.fault()?;
        self.inner.fetch(id).await
    }

    async fn destroy(&self, id: KeyId) -> Result<(), KeyError> {
        match self.fault.load(Ordering::SeqCst) {
            KEPT => Ok(()),
            UNAVAILABLE => self.fault(),
            _ => self.inner.destroy(id).await,
        }
    }
}

/// A shell on SQLite whose keys can be made to fail.
struct Opened {
    shell: Shell,
    store: Store,
    keys: Arc<Keys>,
    fault: Arc<AtomicU8>,
}

impl Opened {
    async fn at(folder: &Path) -> Self {
        Self::with(folder, NONE).await
    }

    async fn with(folder: &Path, fault: u8) -> Self {
        let (path, clock) = (folder.join("shell.db"), Arc::new(SystemClock::new()));
        let options = SqliteOptions::default();
        let inner =
            SqliteKeys::open(SqliteKeys::path_beside(&path), options.clone(), clock.clone()).await.unwrap();
        let fault = Arc::new(AtomicU8::new(fault));
        let keys = Arc::new(Keys { inner, fault: fault.clone() });
        let store = SqliteStore::store(&path, options, clock).await.unwrap();
        let mut small = limits();
        small.inline_bytes = 200;
        small.snapshot_every = 1;
        let shell = Shell::on(store.clone(), keys.clone()).limits(small);
        let shell = tools().into_iter().fold(shell, |shell, tool| shell.tool(tool)).open().await.unwrap();
        Self { shell, store, keys, fault }
    }

    async fn purge(&self) -> agent_shell_core::runtime::PurgeReceipt {
        let by = Actor::named("an officer").unwrap();
        self.shell.purge(&Tenant::default(), &user(), &by).await.unwrap()
    }
}

fn user() -> UserId {
    UserId::new(USER).unwrap()
}

fn tools() -> Vec<Tool> {
    vec![
        Tool::idempotent("echo", "", |text: Value, _: Call| async move {
            Ok(json!({ "said": text, "marker": OUTPUT, "long": format!("{OUTPUT}{}", "x".repeat(400)) }))
        }),
        Tool::idempotent("fail", "", |_: Value, _: Call| async {
            Err::<Value, _>(ToolError::refused(format!("it says {ERROR}")))
        }),
        Tool::irreversible("hang", "", |_: Value, _: Call| {
            std::future::pending::<Result<Value, ToolError>>()
        })
        .attempt_deadline(Duration::from_secs(3600)),
    ]
}

/// Turns of the user that plant every marker: one that answered, one that failed, one that runs, one that waits.
async fn planted(shell: &Shell) -> [Turn; 4] {
    let session = shell.session(USER).unwrap();
    let me = Actor::named(USER).unwrap();
    let said = json!({ "text": INPUT, "long": format!("{INPUT}{}", "y".repeat(400)) });
    let steps = [Step::tool("echo", "echo", input("")), Step::signal("wait", "go")];
    let request = Request::plan(Plan::new(steps).unwrap()).input(said);
    let answered = session.submit(request).dedupe(KEY).actor(me.clone()).await.unwrap();
    session.signal("go", SIGNAL, None, &me).await.unwrap();
    assert!(matches!(answered.outcome().await.unwrap(), Outcome::Answered(_)));
    let failed = session.submit(Plan::new([Step::tool("fail", "fail", json!(null))]).unwrap()).await.unwrap();
    assert!(matches!(failed.outcome().await.unwrap(), Outcome::Failed(_)));
    let hang = Plan::new([Step::tool("hang", "hang", json!({ "with": INPUT }))]).unwrap();
    let running = session.submit(hang).actor(me.clone()).await.unwrap();
    session.signal("early", SIGNAL, None, &me).await.unwrap();
    let queued = Request::plan(Plan::new([Step::tool("echo", "echo", input(""))]).unwrap()).input(QUEUED);
    let queued = session.submit(queued).actor(me).await.unwrap();
    while !is_acting(shell, &session).await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    [answered, failed, running, queued]
}

async fn is_acting(shell: &Shell, session: &agent_shell_core::Session) -> bool {
    let mut history = session.history().await.unwrap();
    let records = history.next(1000).await.unwrap();
    assert!(shell.recovered() < 2);
    records.iter().rev().any(|record| {
        matches!(&record.body, agent_shell_core::data::Body::StepStarted { step, .. } if step.as_str() == "hang")
    })
}

fn found(folder: &Path) -> BTreeSet<String> {
    residue::search(folder, &MARKERS).unwrap().into_iter().map(|finding| finding.marker).collect()
}

async fn kind<T: std::fmt::Debug>(asked: impl Future<Output = agent_shell_core::Result<T>>) -> ErrorKind {
    tokio::time::timeout(SOON, asked).await.expect("it is answered").unwrap_err().kind()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purged_subject_is_gone_with_its_turn_running() {
    let folder = tempfile::tempdir().unwrap();
    let opened = Opened::at(folder.path()).await;
    let other = opened.shell.session("somebody else").unwrap();
    let kept = other.submit(Plan::new([Step::timer("t", Duration::ZERO)]).unwrap()).await.unwrap();
    kept.outcome().await.unwrap();
    let [answered, failed, running, queued] = planted(&opened.shell).await;
    let mut heads = BTreeMap::from([(other.id().await.unwrap(), other.head().await.unwrap())]);
    // A dedupe key is stored as a keyed digest alone, so it is found nowhere at any time.
    let stored: BTreeSet<_> =
        MARKERS.iter().filter(|marker| **marker != KEY).map(|&marker| marker.into()).collect();
    assert_eq!(found(folder.path()), stored, "the search finds what is there before the purge");

    let receipt = opened.purge().await;
    assert_eq!((receipt.sessions.len(), receipt.unfinished.len()), (1, 0));
    let purged = &receipt.sessions[0];
    assert_eq!(purged.turn, Some(running.id()));
    let [open] = &purged.open.as_ref().unwrap()[..] else { panic!("one act was open: {purged:?}") };
    assert_eq!((open.tool.as_str(), open.class, open.attempt), ("hang", EffectClass::Irreversible, 1));
    heads.insert(purged.session, purged.head);
    for turn in [&running, &queued] {
        let outcome = tokio::time::timeout(SOON, turn.outcome()).await.expect("it has ended");
        assert_eq!(outcome.unwrap(), Outcome::Purged);
    }
    for turn in [&answered, &failed] {
        assert_eq!(kind(turn.outcome()).await, ErrorKind::Purged, "its outcome was erased");
    }
    let again = opened.purge().await;
    assert_eq!(again.sessions, receipt.sessions, "a repeat changes nothing");
    let back = opened.shell.session(USER).unwrap();
    let plan = || Plan::new([Step::timer("t", Duration::ZERO)]).unwrap();
    assert_eq!(kind(async { back.submit(plan()).await.map(drop) }).await, ErrorKind::Purged);
    let forgotten = Actor::named(USER).unwrap();
    assert_eq!(
        kind(other.signal("go", 1, None, &forgotten)).await,
        ErrorKind::Purged,
        "a forgotten person acts no more"
    );
    assert!(matches!(kept.outcome().await.unwrap(), Outcome::Answered(_)), "others keep what is theirs");
    let mut export = Vec::new();
    opened.shell.export(&mut export, true).await.unwrap();
    let report = verify_store(&opened.store, &heads).await.unwrap();
    assert_eq!(report.heads[&purged.session], purged.head, "the chain holds, and ends with the purge");
    opened.shell.shutdown().await.unwrap();
    assert_eq!(found(folder.path()), BTreeSet::new());
    drop(opened);
    assert_eq!(found(folder.path()), BTreeSet::new(), "nor after the files were closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_that_keeps_the_keys_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let opened = Opened::at(folder.path()).await;
    planted(&opened.shell).await;
    opened.fault.store(KEPT, Ordering::SeqCst);
    opened.purge().await;
    opened.shell.shutdown().await.unwrap();
    let found = found(folder.path());
    for marker in [INPUT, ERROR, USER, SIGNAL] {
        assert!(found.contains(marker), "the records are still there, and open: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_reaches_sessions_at_rest_and_those_of_other_processes() {
    let folder = tempfile::tempdir().unwrap();
    let owner = Opened::at(folder.path()).await;
    let ask = || Plan::new([Step::approval("ask", json!(INPUT))]).unwrap();
    let mut turns = Vec::new();
    for name in ["one", "two"] {
        let subject = Subject::User(user());
        let session = owner.shell.session_of(Tenant::default(), name, subject).unwrap();
        let turn = session.submit(ask()).await.unwrap();
        turn.approval().await.unwrap().expect("it rests");
        turns.push(turn);
    }
    let elsewhere = Opened::at(folder.path()).await;
    let receipt = elsewhere.purge().await;
    assert_eq!((receipt.sessions.len(), receipt.unfinished.len()), (2, 0));
    for turn in turns {
        let outcome = tokio::time::timeout(SOON, turn.outcome()).await.expect("its owner says so");
        assert_eq!(outcome.unwrap(), Outcome::Purged);
    }
    assert_eq!(owner.shell.rests().await.unwrap(), [], "nothing rests any more");
    owner.shell.shutdown().await.unwrap();
    elsewhere.shell.shutdown().await.unwrap();
    assert_eq!(found(folder.path()), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_out_of_reach_at_a_submit_accept_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let opened = Opened::at(folder.path()).await;
    let plan = || Plan::new([Step::timer("t", Duration::ZERO)]).unwrap();
    let known = opened.shell.session("known").unwrap();
    known.submit(plan()).await.unwrap().outcome().await.unwrap();
    for (fault, expected) in [(UNAVAILABLE, ErrorKind::Unavailable), (LOST, ErrorKind::KeyLost)] {
        opened.fault.store(fault, Ordering::SeqCst);
        let again = opened.shell.session("known").unwrap();
        assert_eq!(kind(async { again.submit(plan()).await.map(drop) }).await, expected);
        opened.fault.store(NONE, Ordering::SeqCst);
    }
    let sessions = opened.shell.sessions(SessionFilter::default(), None, 10).await.unwrap();
    assert_eq!(sessions.len(), 1, "nothing was registered");
    assert_eq!(sessions[0].waiting_mail, 0, "and nothing posted");
    opened.shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_out_of_reach_at_a_step_hold_up_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let opened = Opened::at(folder.path()).await;
    let session = opened.shell.session("s").unwrap();
    let steps = [Step::signal("wait", "go"), Step::tool("echo", "echo", json!(1)).after(["wait"])];
    let turn = session.submit(Plan::new(steps).unwrap()).await.unwrap();
    while session.head().await.unwrap().seq.number() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    opened.fault.store(UNAVAILABLE, Ordering::SeqCst);
    session.signal("go", 1, None, &Actor::Host).await.unwrap();
    let ended = async {
        while opened.store.journal.turn(turn.id()).await.unwrap().unwrap().ended.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, ended).await.expect("its owner holds the key");
    opened.fault.store(NONE, Ordering::SeqCst);
    assert!(matches!(turn.outcome().await.unwrap(), Outcome::Answered(_)));
    opened.shell.shutdown().await.unwrap();
}

/// A session with a turn that has something to do, left by a shell that was shut down.
async fn left_running(folder: &Path) -> agent_shell_core::words::TurnId {
    let opened = Opened::at(folder).await;
    let session = opened.shell.session(USER).unwrap();
    let plan = Plan::new([Step::timer("t", Duration::from_millis(100))]).unwrap();
    let turn = session.submit(plan).await.unwrap();
    while session.head().await.unwrap().seq.number() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    opened.shell.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    turn.id()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_out_of_reach_at_recovery_leave_the_session_until_they_are_back() {
    for (fault, expected) in [(LOST, ErrorKind::KeyLost), (UNAVAILABLE, ErrorKind::Unavailable)] {
        let folder = tempfile::tempdir().unwrap();
        let turn = left_running(folder.path()).await;
        let opened = Opened::with(folder.path(), fault).await;
        assert_eq!(kind(opened.shell.turn(turn).outcome()).await, expected);
        let entry = opened.shell.sessions(SessionFilter::default(), None, 1).await.unwrap().remove(0);
        assert_ne!(entry.mark.status, SessionStatus::Purged, "a key that is lost is no purge");
        opened.fault.store(NONE, Ordering::SeqCst);
        let ended = async {
            loop {
                match opened.shell.turn(turn).outcome().await {
                    Ok(outcome) => return outcome,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let outcome = tokio::time::timeout(SOON, ended).await.expect("it goes on when the key is back");
        assert!(matches!(outcome, Outcome::Answered(_)));
        opened.shell.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_key_was_destroyed_is_closed_as_purged() {
    let folder = tempfile::tempdir().unwrap();
    let turn = left_running(folder.path()).await;
    {
        // Somebody destroys the key past the runtime: a key management service, say.
        let path = folder.path().join("shell.db");
        let clock = Arc::new(SystemClock::new());
        let store = SqliteStore::store(&path, SqliteOptions::default(), clock.clone()).await.unwrap();
        let keys =
            SqliteKeys::open(SqliteKeys::path_beside(&path), SqliteOptions::default(), clock).await.unwrap();
        let entry = store.journal.sessions(SessionFilter::default(), None, 1).await.unwrap().remove(0);
        keys.destroy(entry.key).await.unwrap();
    }
    let opened = Opened::at(folder.path()).await;
    let outcome = async {
        loop {
            match opened.shell.turn(turn).outcome().await {
                Ok(outcome) => return outcome,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Purged),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert_eq!(tokio::time::timeout(SOON, outcome).await.expect("it ends"), Outcome::Purged);
    verify_store(&opened.store, &BTreeMap::new()).await.unwrap();
    opened.shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_of_what_can_not_be_read_closes_it_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let turn = left_running(folder.path()).await;
    let opened = Opened::at(folder.path()).await;
    tokio::time::timeout(SOON, opened.shell.turn(turn).outcome()).await.unwrap().unwrap();
    let session = opened.shell.session(USER).unwrap();
    let waits = session.submit(Plan::new([Step::signal("wait", "go")]).unwrap()).await.unwrap();
    while session.head().await.unwrap().seq.number() < 9 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    opened.shell.shutdown().await.unwrap();
    let entry = opened.shell.sessions(SessionFilter::default(), None, 1).await.unwrap().remove(0);
    drop(opened);
    // The subject's key is lost; the tenant's is there.
    let path = folder.path().join("shell.db.keys");
    let keys = rusqlite::Connection::open(path).unwrap();
    let gone = keys.execute("DELETE FROM keys WHERE id = ?1", (entry.key.0.as_bytes(),)).unwrap();
    assert_eq!(gone, 1);
    drop(keys);
    let opened = Opened::at(folder.path()).await;
    let receipt = opened.purge().await;
    assert_eq!((receipt.sessions.len(), receipt.unfinished.len()), (1, 0), "{receipt:?}");
    assert_eq!(receipt.sessions[0].open, None, "what was open can't be read any more");
    assert_eq!(opened.shell.turn(waits.id()).outcome().await.unwrap(), Outcome::Purged);
    let gone = opened.keys.fetch(entry.key).await;
    assert_eq!(gone.unwrap_err(), KeyError::Destroyed, "a tombstone stays");
    opened.shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_on_while_a_session_is_purged_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let opened = Opened::at(folder.path()).await;
    let session = opened.shell.session(USER).unwrap();
    let turn = session.submit(Plan::new([Step::timer("t", Duration::ZERO)]).unwrap()).await.unwrap();
    turn.outcome().await.unwrap();
    // The keys are at hand from before.
    let mut history = session.history().await.unwrap();
    opened.purge().await;
    assert_eq!(kind(history.next(1000)).await, ErrorKind::Purged);
    opened.shell.shutdown().await.unwrap();
}
