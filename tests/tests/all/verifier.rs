//! The second program: `tests/verify/verify.py` verifies what a real shell exports, and judges whatever a forger makes
//! of it as `verify_export` does. It is written from docs/FORMAT.md in another language, without any of our code.
//!
//! It needs python3, which a developer's machine may lack: these tests are ignored unless they are asked for, and
//! `.ci/run` asks for them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use agent_shell_core::data::{Header, Kind, record_hash};
use agent_shell_core::runtime::verify_export;
use agent_shell_core::words::{Digest, Epoch, Head, Pseudonym, Seq, SessionId, Timestamp};
use agent_shell_core::{Actor, Plan, Shell, Step, Subject, Tenant, ToolError};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{counted, double, limits};
use crate::workspace::root;

type Heads = BTreeMap<SessionId, Head>;

/// What the second program said.
#[derive(Debug)]
pub(crate) struct Said {
    /// 0: all is whole. 1: something was changed, cut off or removed. 2: it could not read what it was given.
    status: i32,
    pub(crate) heads: String,
    pub(crate) problem: String,
}

/// Runs the second program on an export, with the heads that must be there.
pub(crate) fn verifier(export: &[u8], heads: &[&str]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: String, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let kept: Vec<_> =
        heads.iter().enumerate().map(|(nth, text)| write(format!("heads-{nth}"), text.as_bytes())).collect();
    let export = File::open(write("export".into(), export)).unwrap();
    let mut python = Command::new("python3");
    python.arg(root().join("tests/verify/verify.py")).args(kept).stdin(Stdio::from(export));
    let output = python.output().expect("python3 can be run: these tests need it");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (heads, problem) = (text(output.stdout), text(output.stderr));
    assert!(!problem.contains("Traceback"), "{problem}");
    Said { status: output.status.code().unwrap(), heads, problem }
}

/// Both programs judge an export, and must agree; whether it is whole.
pub(crate) fn whole(lines: &[impl AsRef<str>], known: &Heads) -> bool {
    let export: String = lines.iter().map(|line| format!("{}\n", line.as_ref())).collect();
    whole_bytes(export.as_bytes(), known)
}

fn whole_bytes(export: &[u8], known: &Heads) -> bool {
    let said = verifier(export, &[&heads_file(known)]);
    let ours = verify_export(export, known);
    assert!(said.status == 0 || said.status == 1, "{said:?}");
    assert_eq!(said.status == 0, ours.is_ok(), "the programs disagree: {said:?}, {ours:?}");
    if let Ok(report) = ours {
        assert_eq!(said.heads, heads_file(&report.heads), "the programs found other heads");
    }
    said.status == 0
}

/// Heads as the second program prints and reads them.
fn heads_file(heads: &Heads) -> String {
    heads.iter().map(|(session, head)| format!("{session} {} {}\n", head.seq, head.hash)).collect()
}

/// What a shell exported in the middle of its life, and at its end.
struct Exported {
    /// The heads in the middle.
    earlier: Heads,
    /// The heads at the end. One session has no record, and so no line.
    heads: Heads,
    /// The lines at the end, with sealed bodies alone.
    lines: Vec<String>,
    /// The same with bodies in the clear beside the sealed ones.
    opened: Vec<String>,
}

impl Exported {
    /// The lines of one session.
    fn of(&self, session: SessionId) -> Vec<String> {
        let of_session = format!("\"session\":\"{session}\"");
        self.lines.iter().filter(|line| line.contains(&of_session)).cloned().collect()
    }

    fn without(&self, session: SessionId) -> Vec<String> {
        let gone = self.of(session);
        self.lines.iter().filter(|line| !gone.contains(line)).cloned().collect()
    }

    /// The sessions that have records.
    fn sessions(&self) -> Vec<SessionId> {
        self.heads.iter().filter(|(_, head)| head.seq > Seq::ZERO).map(|(session, _)| *session).collect()
    }
}

async fn lines_of(shell: &Shell, opened: bool) -> (Vec<String>, Heads) {
    let mut export = Vec::new();
    let heads = shell.export(&mut export, opened).await.unwrap();
    (String::from_utf8(export).unwrap().lines().map(str::to_owned).collect(), heads)
}

/// A shell that lives twice: sessions of two tenants and of no user, an approval by a named actor, a step that fails,
/// a payload that is kept as a blob, two epochs, and a session in which nothing has happened.
async fn exported() -> Exported {
    let folder = TempDir::new().unwrap();
    let (_, earlier) = life(&folder.path().join("shell.db"), 1).await;
    let (shell, heads) = life(&folder.path().join("shell.db"), 2).await;
    let (lines, opened) = shell;
    assert!(heads.len() == 5 && heads.values().any(|head| *head == Head::EMPTY), "{heads:?}");
    assert!(lines.len() > 40 && lines.iter().any(|line| line.contains("\"epoch\":2")), "two epochs");
    assert!(opened.iter().any(|line| line.contains("\"kind\":\"step.failed\"")), "a step that failed");
    Exported { earlier, heads, lines, opened }
}

/// Opens the journal, runs a turn in each session, exports, and closes it again.
async fn life(path: &Path, nth: u64) -> ((Vec<String>, Vec<String>), Heads) {
    let mut small = limits();
    small.inline_bytes = 200;
    let count = counted(&Default::default()).ask_first();
    let fails = agent_shell_core::Tool::pure("fails", "Fails", |_: Value, _| async {
        Err::<Value, _>(ToolError::refused("no"))
    });
    let shell = Shell::at(path).limits(small).tool(double()).tool(count).tool(fails).open().await.unwrap();
    let acme = Tenant::new("ácme & sons").unwrap();
    let sessions = [
        shell.session("anna").unwrap(),
        shell.session("bert").unwrap(),
        shell.session_of(acme.clone(), "carl", Subject::None).unwrap(),
        shell.session_of(acme, "dora", Subject::None).unwrap(),
    ];
    shell.session("never used").unwrap().id().await.unwrap();
    for (session, tool) in sessions.iter().zip(["double", "count", "fails", "double"]) {
        let input = json!({ "n": nth, "remark": "x".repeat(300) });
        let turn = session.submit(Plan::new([Step::tool("act", tool, input)]).unwrap()).await.unwrap();
        if let Some(approval) = turn.approval().await.unwrap() {
            approval.approve(&Actor::named("olga").unwrap()).await.unwrap();
        }
        turn.outcome().await.unwrap();
    }
    let (lines, heads) = lines_of(&shell, false).await;
    let (opened, _) = lines_of(&shell, true).await;
    shell.shutdown().await.unwrap();
    ((lines, opened), heads)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs python3; `.ci/run` runs it"]
async fn a_real_export_is_whole_to_both_programs() {
    let exported = exported().await;
    for lines in [&exported.lines, &exported.opened] {
        for known in [&Heads::new(), &exported.earlier, &exported.heads] {
            assert!(whole(lines, known));
        }
    }
    // What it prints is what it reads, also when it is one of several files.
    let export = exported.lines.join("\n");
    let printed = verifier(export.as_bytes(), &[]).heads;
    assert_eq!(printed.lines().count(), 4, "a session without records has no line");
    let said = verifier(export.as_bytes(), &[&heads_file(&exported.earlier), &printed]);
    assert_eq!((said.status, said.heads), (0, printed), "{}", said.problem);
    // The order of sessions means nothing, and sessions may be interleaved.
    let mut mixed = Vec::new();
    let mut sessions: Vec<_> =
        exported.sessions().into_iter().rev().map(|id| exported.of(id).into_iter()).collect();
    while mixed.len() < exported.lines.len() {
        mixed.extend(sessions.iter_mut().filter_map(Iterator::next));
    }
    assert!(whole(&mixed, &exported.heads));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs python3; `.ci/run` runs it"]
async fn a_flipped_byte_is_found_by_both_programs() {
    let exported = exported().await;
    // Any byte of the file, whatever it belongs to; a prime, so that all members and columns are met.
    let export = exported.lines.join("\n").into_bytes();
    let mut met = 0;
    for at in (0..export.len()).step_by(463) {
        let mut flipped = export.clone();
        flipped[at] ^= 1;
        let before = &export[..at];
        let in_append = before.windows(10).rposition(|text| text == b"\"append\":\"").is_some_and(|start| {
            let inside = &before[start + 10..];
            inside.len() < 26 && !inside.contains(&b'"')
        });
        assert!(!whole_bytes(&flipped, &Heads::new()) || in_append, "byte {at} of {}", export.len());
        met += 1;
    }
    assert!(met > 50, "{met}");
    // Every chained member of some records.
    for nth in (0..exported.lines.len()).step_by(9) {
        let record: Value = serde_json::from_str(&exported.lines[nth]).unwrap();
        for (name, value) in record.as_object().unwrap().iter().filter(|(name, _)| *name != "append") {
            let mut changed = record.clone();
            changed[name] = match value {
                Value::Number(number) => (number.as_u64().unwrap() ^ 1).into(),
                Value::String(text) => flip(text).into(),
                other => panic!("`{name}` is {other}"),
            };
            let mut lines = exported.lines.clone();
            lines[nth] = changed.to_string();
            assert!(!whole(&lines, &Heads::new()), "`{name}` of line {nth} was changed");
        }
    }
}

/// The same text with one bit of its last ASCII digit or letter flipped; what follows stays of the same form.
fn flip(text: &str) -> String {
    let at = text.rfind(|letter: char| letter.is_ascii_alphanumeric()).unwrap();
    let other = if text[at..].starts_with('1') { "0" } else { "1" };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs python3; `.ci/run` runs it"]
async fn a_cut_tail_is_found_by_both_programs() {
    let exported = exported().await;
    for session in exported.sessions() {
        let mut cut = exported.lines.clone();
        cut.retain(|line| Some(line) != exported.of(session).last());
        assert!(whole(&cut, &Heads::new()), "nothing in what is left shows that the tail is gone");
        assert!(!whole(&cut, &exported.heads), "the tail of {session} is gone");
        let export: String = cut.iter().map(|line| format!("{line}\n")).collect();
        let said = verifier(export.as_bytes(), &[&heads_file(&exported.heads)]);
        assert!(said.problem.contains(&session.to_string()), "{said:?}");
    }
    // A file that was cut off within a line is none of ours, whoever looks.
    let export = exported.lines.join("\n");
    for missing in [1, 2, 40, exported.lines.last().unwrap().len() - 1] {
        assert!(!whole_bytes(&export.as_bytes()[..export.len() - missing], &Heads::new()));
    }
    assert!(!whole_bytes(b"", &exported.heads), "an empty export");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs python3; `.ci/run` runs it"]
async fn a_removed_session_is_found_by_both_programs() {
    let exported = exported().await;
    for session in exported.sessions() {
        let left = exported.without(session);
        assert!(whole(&left, &Heads::new()), "nothing in what is left shows that a session is gone");
        assert!(!whole(&left, &exported.earlier), "session {session} is gone");
        // Nor does a record that was removed, added, moved or taken from another session go unseen.
        let own = exported.of(session);
        let other = exported.sessions().into_iter().find(|other| *other != session).unwrap();
        for damaged in [
            [&own[..1], &own[2..]].concat(),
            [&own[..], &own[own.len() - 1..]].concat(),
            [&own[..1], &own[2..3], &own[1..2], &own[3..]].concat(),
            [&own[..2], &exported.of(other)[2..3], &own[3..]].concat(),
        ] {
            assert!(!whole(&[damaged, left.clone()].concat(), &Heads::new()), "{session}");
        }
    }
}

/// The lines of a session as a forger makes them who can compute the chain: changed, and chained anew.
fn forged(lines: &[String], session: SessionId, change: impl Fn(usize, &mut Value)) -> Vec<String> {
    let mut before = Digest::ZERO;
    let chain = |(nth, line): (usize, &String)| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        change(nth, &mut record);
        before = record_hash(&before, &header(session, &record));
        record["hash"] = before.to_string().into();
        record.to_string()
    };
    lines.iter().enumerate().map(chain).collect()
}

/// Another history can hold by itself; who kept a head finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs python3; `.ci/run` runs it"]
async fn a_rewritten_history_is_found_by_both_programs() {
    let exported = exported().await;
    let session = exported.sessions()[0];
    let (own, others) = (exported.of(session), exported.without(session));
    let with = |change: fn(usize, &mut Value)| [forged(&own, session, change), others.clone()].concat();
    assert!(whole(&with(|_, _| {}), &exported.heads), "the forger computes what the shell did");
    let later = with(|nth, record| {
        if nth == 2 {
            record["time_ms"] = (record["time_ms"].as_u64().unwrap() + 1).into();
        }
    });
    assert!(whole(&later, &Heads::new()));
    assert!(!whole(&later, &exported.heads));
    assert!(!whole(&later, &exported.earlier));
    // What no owner writes is found without a head, however well it is chained.
    let changes: [fn(usize, &mut Value); 4] = [
        |_, record| record["seq"] = (record["seq"].as_u64().unwrap() + 1).into(),
        |nth, record| record["seq"] = (record["seq"].as_u64().unwrap() + u64::from(nth > 2)).into(),
        |nth, record| record["epoch"] = (9 - nth.min(9)).into(),
        |nth, record| record["tenant"] = if nth > 2 { "another" } else { "default" }.into(),
    ];
    for (nth, change) in changes.into_iter().enumerate() {
        assert!(!whole(&with(change), &Heads::new()), "change {nth}");
    }
}

fn header(session: SessionId, record: &Value) -> Header {
    let (number, text) = (|name| record[name].as_u64().unwrap(), |name| record[name].as_str().unwrap());
    let actor = u128::from_str_radix(text("actor"), 16).unwrap();
    Header {
        tenant: Tenant::new(text("tenant")).unwrap(),
        session,
        seq: Seq::new(number("seq")),
        epoch: Epoch::new(number("epoch")),
        kind: Kind(text("kind").to_owned().into()),
        version: number("version") as u16,
        time: Timestamp::from_millis(number("time_ms")),
        actor: Pseudonym::from_bytes(actor.to_be_bytes()),
        body_digest: text("body_digest").parse().unwrap(),
    }
}

#[test]
#[ignore = "needs python3; `.ci/run` runs it"]
fn the_golden_export_is_whole_to_both_programs() {
    let export = fs::read_to_string(root().join("tests/golden/export-v1.jsonl")).unwrap();
    let lines: Vec<_> = export.lines().collect();
    assert!(whole(&lines, &Heads::new()));
    assert!(!whole(&[export.replacen("\"epoch\":1", "\"epoch\":2", 1).trim_end()], &Heads::new()));
    // A member that stands twice, of which another reader could take the other, is none of ours.
    let doubled = export.replacen("{", "{\"epoch\":1,", 1);
    assert!(!whole_bytes(doubled.as_bytes(), &Heads::new()));
}

#[test]
#[ignore = "needs python3; `.ci/run` runs it"]
fn what_the_second_program_cannot_read_does_not_pass() {
    let export = fs::read(root().join("tests/golden/export-v1.jsonl")).unwrap();
    let head = verifier(&export, &[]).heads;
    let (kept, hash) = head.trim_end().rsplit_once(' ').unwrap();
    let other = format!("{kept} {}\n", flip(hash));
    for (heads, status) in [
        (vec![&*head], 0),
        (vec!["not a head\n"], 2),
        (vec![&*head, "\n"], 2),
        (vec![&*other], 1),
        (vec![&*head, &*other], 1),
        (vec![&*other, &*head], 1),
    ] {
        let said = verifier(&export, &heads);
        assert_eq!(said.status, status, "{heads:?}: {said:?}");
        assert_eq!(said.heads.is_empty(), status != 0, "{said:?}");
        assert_eq!(said.problem.lines().count(), usize::from(status != 0), "{said:?}");
    }
    for not_utf8 in [&b"\xff\n"[..], b"{}\n", b"[]\n", b"7\n", b"\n", b"\xef\xbb\xbf{}\n"] {
        assert!(!whole_bytes(not_utf8, &Heads::new()));
    }
    let missing = Command::new("python3")
        .arg(root().join("tests/verify/verify.py"))
        .arg(root().join("there/is/no/such/file"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(2));
}

/// What is ignored above is run before a change is taken, under the name of this module.
#[test]
fn the_gate_asks_for_what_is_ignored_here() {
    let gate = fs::read_to_string(root().join(".ci/run")).unwrap();
    let (_, module) = module_path!().rsplit_once("::").unwrap();
    assert!(gate.contains(&format!("--test all {module} -- --include-ignored")), "{gate}");
    assert!(gate.contains("python3"), "the gate installs what the tests need");
}

/// There is one verifier: what docs/FORMAT.md shows is a part of it.
#[test]
fn the_format_shows_the_verifier_as_it_is() {
    let format = fs::read_to_string(root().join("docs/FORMAT.md")).unwrap();
    let program = fs::read_to_string(root().join("tests/verify/verify.py")).unwrap();
    let shown: Vec<_> =
        format.split("```python\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!shown.is_empty(), "the format shows the heart of the program");
    for part in shown {
        assert!(program.contains(part), "the verifier has no such part:\n{part}");
    }
    assert!(format.contains("tests/verify/verify.py"), "the format says where the program is");
}
