//! Files that were edited: flipped bits, torn and zeroed pages, cut files. A host opens them and must either go on as if
//! nothing were, or say what is wrong by a typed error; a loss must be found by whoever kept the heads.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use agent_shell_core::ErrorKind;
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

/// What came of an edited file.
#[derive(Debug, Default)]
struct Found {
    unopened: usize,
    verified: usize,
    harmed: usize,
    unharmed: usize,
}

impl Found {
    /// Lets a host open the files, reads every turn, verifies every chain, and runs a new turn in each session.
    fn look(&mut self, image: &Image, what: &str) {
        let folder = tempfile::tempdir().unwrap();
        let setting =
            Setting { journal: image.write(folder.path()), limits: limits(), checkpoint_pages: None };
        let mut host = HostProcess::start(program(), &setting).unwrap();
        let mut ask = |host: &mut HostProcess, command: Command| {
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
                    let kinds =
                        [ErrorKind::Corrupt, ErrorKind::KeyLost, ErrorKind::NotFound, ErrorKind::Unavailable];
                    *error == Event::Late || kinds.into_iter().any(|kind| error.is(kind))
                };
                assert!(errors.iter().all(is_typed), "{what}: {errors:?}");
                ask(&mut host, Command::Shutdown);
                let is_whole = verdict == Event::Done;
                if errors.iter().any(|error| error.is(ErrorKind::NotFound)) && is_whole {
                    eprintln!("{what}: NOT FOUND, and verify says all is whole");
                }
                self.verified += usize::from(!is_whole);
                self.harmed += usize::from(!errors.is_empty());
                self.unharmed += usize::from(errors.is_empty() && is_whole);
                eprintln!(
                    "{what}: {verdict:?} {}",
                    errors
                        .iter()
                        .map(|e| format!("{e:?}"))
                        .collect::<std::collections::BTreeSet<_>>()
                        .into_iter()
                        .take(3)
                        .collect::<String>()
                );
            }
            unopened => {
                let kinds = [ErrorKind::Corrupt, ErrorKind::InvalidInput, ErrorKind::Unsupported];
                assert!(kinds.into_iter().any(|kind| unopened.is(kind)), "{what}: {unopened:?}");
                self.unopened += 1;
                eprintln!("{what}: {unopened:?}");
            }
        }
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
    for page in 0..image.db.len() / PAGE {
        // In the head of the page, where the tree is described, and somewhere else.
        for at in [page * PAGE + scrambled(page) % 16, page * PAGE + scrambled(page + 7) % PAGE] {
            let db = flipped(&image.db, at);
            found.look(&Image { db, ..image.parts() }, &format!("bit at {at} of the journal"));
        }
    }
    eprintln!("{found:?}");
}

#[test]
fn a_torn_or_zeroed_page_is_found_or_harmless() {
    let image = Image::new();
    let mut found = Found::default();
    let pages = image.older.len().min(image.db.len()) / PAGE;
    for page in 0..pages {
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
    eprintln!("{found:?}");
}

#[test]
fn a_damaged_log_is_found_by_who_kept_the_heads() {
    let image = Image::new();
    let mut found = Found::default();
    for frame in 0..image.wal.len() / FRAME {
        let at = 32 + frame * FRAME + scrambled(frame) % FRAME;
        let wal = flipped(&image.wal, at);
        found.look(&Image { wal, ..image.parts() }, &format!("bit at {at} of the log"));
    }
    for length in [0, 10, 32, 1_000, 5 * FRAME, 9 * FRAME + 99, image.wal.len() - 1] {
        let wal = image.wal[..length].to_vec();
        found.look(&Image { wal, ..image.parts() }, &format!("log cut to {length}"));
    }
    eprintln!("{found:?}");
}

#[test]
fn a_damaged_key_file_is_found() {
    let image = Image::new();
    let mut found = Found::default();
    for nth in 0..60 {
        let at = if nth < 20 { nth * 5 } else { scrambled(nth) % image.keys.len() };
        let keys = flipped(&image.keys, at);
        found.look(&Image { keys, ..image.parts() }, &format!("bit at {at} of the keys"));
    }
    for length in [0, 100, PAGE, image.keys.len() - 1] {
        let keys = image.keys[..length].to_vec();
        found.look(&Image { keys, ..image.parts() }, &format!("keys cut to {length}"));
    }
    eprintln!("{found:?}");
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
