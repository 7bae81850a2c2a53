//! Files that were edited: flipped bits, torn and zeroed pages, cut files. A host opens them and must either go on as if
//! nothing were, or say what is wrong by a typed error; a loss must be found by whoever kept the heads.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use agent_shell_core::ErrorKind;
use agent_shell_core::runtime::verify_store;
use agent_shell_core::words::{Head, SessionId, TurnId};
use agent_shell_tests::disk::{Command, Event, HostProcess, Setting, answer, request};

use super::life::program;
use super::{SOON, block_on, limits, opened};

const PAGE: usize = 4096;
/// A frame of the log: a header of 24 bytes and a page.
const FRAME: usize = 24 + PAGE;
const SESSIONS: [&str; 3] = ["a", "b", "c"];

/// A journal as a crash leaves it, with much in the file and something in the log.
pub(super) struct Image {
    /// The file before what is in the log was written.
    older: Vec<u8>,
    pub(super) db: Vec<u8>,
    pub(super) wal: Vec<u8>,
    pub(super) keys: Vec<u8>,
    pub(super) turns: Vec<(TurnId, usize)>,
    pub(super) heads: BTreeMap<SessionId, Head>,
}

impl Image {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("shell.db");
        let mut turns = Vec::new();
        let read = |ending: &str| fs::read(format!("{}{ending}", journal.display())).unwrap_or_default();
        let mut older = Vec::new();
        let mut image = None;
        for life in 0..3 {
            image = Some(block_on(async {
                let (shell, _) = opened(&journal).await.unwrap();
                for (nth, session) in SESSIONS.iter().enumerate() {
                    for bytes in [10 + life, 2_000 + nth, 40_000] {
                        let turn =
                            shell.session(session).unwrap().submit(request(bytes).unwrap()).await.unwrap();
                        turn.outcome().await.unwrap();
                        turns.push((turn.id(), bytes));
                    }
                }
                let heads = shell.export(&mut std::io::sink(), false).await.unwrap();
                let (db, wal, keys) = (read(""), read("-wal"), read(".keys"));
                shell.shutdown().await.unwrap();
                (db, wal, keys, heads)
            }));
            if life == 1 {
                older = read("");
            }
        }
        let (db, wal, keys, heads) = image.unwrap();
        assert!(wal.len() > 20 * FRAME && older.len() > 20 * PAGE && !keys.is_empty());
        Self { older, db, wal, keys, turns, heads }
    }

    /// Writes the files into a folder.
    pub(super) fn write(&self, folder: &Path) -> PathBuf {
        let journal = folder.join("shell.db");
        for (ending, bytes) in [("", &self.db), ("-wal", &self.wal), (".keys", &self.keys)] {
            fs::write(format!("{}{ending}", journal.display()), bytes).unwrap();
        }
        journal
    }
}

/// What came of edited files.
#[derive(Debug, Default)]
struct Found {
    edits: usize,
    /// It did not open.
    unopened: usize,
    /// The verification found it, with the heads that were kept.
    found_by_heads: usize,
    /// Some calls returned errors.
    said: usize,
    /// A turn was not found, and the verification found nothing.
    silent_losses: usize,
    /// Nothing was noticed, and all answers were right.
    harmless: usize,
}

impl Found {
    /// Lets a host open the files, reads every turn, verifies every chain, and runs a new turn in each session.
    fn look(&mut self, image: &Image, what: &str) {
        let folder = tempfile::tempdir().unwrap();
        let setting =
            Setting { journal: image.write(folder.path()), limits: limits(), checkpoint_pages: None };
        let mut host = HostProcess::start(program(), &setting).unwrap();
        let ask = |host: &mut HostProcess, command: Command| {
            host.ask(&command, SOON).unwrap().unwrap_or_else(|| panic!("{what}: it ended at {command:?}"))
        };
        match host.hear(SOON).unwrap().unwrap_or_else(|| panic!("{what}: it ended without a word")) {
            Event::Opened => {
                let verdict = ask(&mut host, Command::Verify { known: image.heads.clone() });
                let mut errors = Vec::new();
                for (turn, bytes) in &image.turns {
                    match ask(&mut host, Command::Outcome { turn: *turn, within_ms: 300 }) {
                        Event::Ended { answer: said } => assert_eq!(said, answer(*bytes), "{what}"),
                        other => errors.push(other),
                    }
                }
                for session in SESSIONS {
                    let (session, key) = (session.to_owned(), format!("after {session}"));
                    match ask(&mut host, Command::Submit { session, key, bytes: 77 }) {
                        Event::Submitted { turn } => {
                            match ask(&mut host, Command::Outcome { turn, within_ms: 300 }) {
                                Event::Ended { answer: said } => assert_eq!(said, answer(77), "{what}"),
                                other => errors.push(other),
                            }
                        }
                        other => errors.push(other),
                    }
                }
                let is_typed = |error: &Event| {
                    let kinds = [ErrorKind::Corrupt, ErrorKind::KeyLost, ErrorKind::NotFound];
                    *error == Event::Late || kinds.into_iter().any(|kind| error.is(kind))
                };
                assert!(errors.iter().all(is_typed), "{what}: {errors:?}");
                ask(&mut host, Command::Shutdown);
                let is_whole = verdict == Event::Done;
                self.found_by_heads += usize::from(!is_whole);
                self.said += usize::from(!errors.is_empty());
                self.silent_losses +=
                    usize::from(is_whole && errors.iter().any(|error| error.is(ErrorKind::NotFound)));
                self.harmless += usize::from(errors.is_empty() && is_whole);
            }
            unopened => {
                let kinds = [ErrorKind::Corrupt, ErrorKind::InvalidInput, ErrorKind::Unsupported];
                assert!(kinds.into_iter().any(|kind| unopened.is(kind)), "{what}: {unopened:?}");
                self.unopened += 1;
            }
        }
        self.edits += 1;
        let (status, errors) = host.end().unwrap();
        assert!(status.success() && !errors.contains("panicked"), "{what}: {status}: {errors}");
    }
}

/// A number that looks random, for a place.
fn scrambled(place: usize) -> usize {
    (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> 20
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1 << (scrambled(at) % 8);
    bytes
}

#[test]
fn a_flipped_bit_in_any_page_is_found_or_harmless() {
    let image = Image::new();
    let mut found = Found::default();
    for page in (0..image.db.len() / PAGE).step_by(3) {
        // In the head of the page, where the tree is described, and somewhere else.
        for at in [page * PAGE + scrambled(page) % 16, page * PAGE + scrambled(page + 7) % PAGE] {
            let db = flipped(&image.db, at);
            found.look(&Image { db, ..image.parts() }, &format!("bit at {at} of the journal"));
        }
    }
    assert!(found.unopened > 0 && found.found_by_heads > 3 && found.said > 3, "{found:?}");
}

#[test]
fn a_torn_or_zeroed_page_is_found_or_harmless() {
    let image = Image::new();
    let mut found = Found::default();
    let pages = image.older.len().min(image.db.len()) / PAGE;
    for page in (1..pages).step_by(3) {
        let mut zeroed = image.db.clone();
        let at = page * PAGE + scrambled(page) % 8 * 512;
        zeroed[at..at + 512].fill(0);
        found.look(&Image { db: zeroed, ..image.parts() }, &format!("sector at {at}"));
        let (from, to) = (page * PAGE + PAGE / 2, (page + 1) * PAGE);
        if image.older[from..to] != image.db[from..to] {
            let mut torn = image.db.clone();
            torn[from..to].copy_from_slice(&image.older[from..to]);
            found.look(&Image { db: torn, ..image.parts() }, &format!("page {page} torn"));
        }
    }
    for length in [0, 100, 512, PAGE, 7 * PAGE, 20 * PAGE + 1_000, image.db.len() - 1] {
        let db = image.db[..length].to_vec();
        found.look(&Image { db, ..image.parts() }, &format!("cut to {length}"));
    }
    assert!(found.unopened > 2 && found.found_by_heads > 3 && found.said > 3, "{found:?}");
}

#[test]
fn a_damaged_log_is_found_by_who_kept_the_heads() {
    let image = Image::new();
    let mut found = Found::default();
    for frame in (0..image.wal.len() / FRAME).step_by(9) {
        let at = 32 + frame * FRAME + scrambled(frame) % FRAME;
        let wal = flipped(&image.wal, at);
        found.look(&Image { wal, ..image.parts() }, &format!("bit at {at} of the log"));
    }
    for length in [0, 10, 32, 1_000, 5 * FRAME, 9 * FRAME + 99, image.wal.len() - 1] {
        let wal = image.wal[..length].to_vec();
        found.look(&Image { wal, ..image.parts() }, &format!("log cut to {length}"));
    }
    assert_eq!(found.silent_losses, 0, "{found:?}");
    // What is written after the heads were kept is in none of them.
    assert!(found.found_by_heads * 10 >= found.edits * 9, "{found:?}");
}

#[test]
fn a_key_with_a_flipped_bit_is_not_used() {
    let image = Image::new();
    let folder = tempfile::tempdir().unwrap();
    let journal = image.write(folder.path());
    let keys = rusqlite::Connection::open(format!("{}.keys", journal.display())).unwrap();
    let all: Vec<(i64, Vec<u8>)> = keys
        .prepare("SELECT nr, key FROM keys")
        .unwrap()
        .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    drop(keys);
    assert!(all.len() > 3, "one for the tenant, and one for each user");
    for (nr, key) in all {
        let at = image.keys.windows(32).position(|bytes| bytes == key).expect("the key lies in the file");
        let mut found = Found::default();
        let keys = flipped(&image.keys, at + nr as usize % 32);
        found.look(&Image { keys, ..image.parts() }, &format!("a bit of key {nr}"));
        assert_eq!((found.said, found.silent_losses), (1, 0), "the key must be refused: {found:?}");
    }
}

#[test]
fn an_emptied_journal_beside_its_log_is_refused() {
    let image = Image::new();
    let folder = tempfile::tempdir().unwrap();
    let journal = image.write(folder.path());
    for is_gone in [false, true] {
        if is_gone {
            fs::remove_file(&journal).unwrap()
        } else {
            fs::write(&journal, "").unwrap()
        };
        let error = block_on(opened(&journal)).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    fs::write(&journal, &image.db).unwrap();
    block_on(async {
        let (shell, store) = opened(&journal).await.expect("nothing was made of it");
        verify_store(&store, &image.heads).await.expect("and the log is still there");
        shell.shutdown().await.unwrap();
    });
}

#[test]
fn damage_in_one_session_leaves_the_others_alone() {
    let image = Image::new();
    let folder = tempfile::tempdir().unwrap();
    let journal = image.write(folder.path());
    let connection = rusqlite::Connection::open(&journal).unwrap();
    let victim: i64 = connection
        .query_row("SELECT session FROM records GROUP BY session ORDER BY session LIMIT 1", (), |row| {
            row.get(0)
        })
        .unwrap();
    let changed = "UPDATE records SET body = zeroblob(length(body)) WHERE session = ?1 AND seq > 3";
    assert!(connection.execute(changed, (victim,)).unwrap() > 10);
    connection.execute("DELETE FROM snapshots WHERE session = ?1", (victim,)).unwrap();
    drop(connection);
    block_on(async {
        let (shell, store) = opened(&journal).await.expect("the store opens");
        let mut refused = Vec::new();
        for session in SESSIONS {
            let turn = shell.session(session).unwrap().submit(request(20).unwrap()).await.unwrap();
            let outcome = tokio::time::timeout(SOON, turn.outcome()).await.expect("it is said in time");
            match outcome {
                Ok(outcome) => assert_eq!(outcome.text(), answer(20)),
                Err(error) => refused.push((session, error.kind())),
            }
        }
        assert_eq!(refused, [(SESSIONS[0], ErrorKind::Corrupt)], "one is damaged, and two go on");
        assert!(verify_store(&store, &image.heads).await.is_err(), "and it is found");
        shell.shutdown().await.unwrap();
    });
}

#[test]
fn a_damaged_key_file_is_found() {
    let image = Image::new();
    let mut found = Found::default();
    for nth in 0..30 {
        let at = if nth < 10 { nth * 9 } else { scrambled(nth) % image.keys.len() };
        let keys = flipped(&image.keys, at);
        found.look(&Image { keys, ..image.parts() }, &format!("bit at {at} of the keys"));
    }
    for length in [0, 100, PAGE, image.keys.len() - 1] {
        let keys = image.keys[..length].to_vec();
        found.look(&Image { keys, ..image.parts() }, &format!("keys cut to {length}"));
    }
    assert!(found.unopened > 2 && found.said > 0, "{found:?}");
}

impl Image {
    fn parts(&self) -> Self {
        Self {
            older: Vec::new(),
            db: self.db.clone(),
            wal: self.wal.clone(),
            keys: self.keys.clone(),
            turns: self.turns.clone(),
            heads: self.heads.clone(),
        }
    }
}
