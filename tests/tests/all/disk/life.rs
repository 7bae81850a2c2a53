//! One life of a host on a disk that fails at one call, and what must be true of it.

use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::sync::OnceLock;

use agent_shell_core::ErrorKind;
use agent_shell_core::words::TurnId;
use agent_shell_tests::disk::{Command, Event, Fault, FaultLibrary, HostProcess, Op, Setting, answer};

use super::{SOON, limits};

/// Turns that a host is asked to run before the last one, in two sessions.
const TURNS: usize = 5;
/// The sizes of their inputs: small ones, and one that becomes a blob.
const BYTES: [usize; 3] = [10, 40_000, 3_000];

/// A turn that was accepted.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) key: String,
    pub(super) turn: TurnId,
    pub(super) bytes: usize,
}

/// What a host did on its bad disk.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// What it met, in words.
    pub(super) fault: String,
    pub(super) accepted: Vec<Accepted>,
    /// Session, key and size of what was not accepted.
    pub(super) refused: Vec<(String, String, usize)>,
    /// Every error, in order.
    pub(super) errors: Vec<Event>,
    /// What came of the turn that was submitted last, to a session of its own.
    pub(super) last: Option<Event>,
    /// How often the fault had struck before the last turn was submitted.
    pub(super) hits_before_last: usize,
    /// How often it struck in all.
    pub(super) hits: usize,
    /// How many such calls there were.
    pub(super) calls: Option<u64>,
}

/// The library that makes disks fail, compiled once.
pub(super) fn library() -> &'static FaultLibrary {
    static LIBRARY: OnceLock<FaultLibrary> = OnceLock::new();
    LIBRARY.get_or_init(|| FaultLibrary::compile().expect("cc compiles the library, as it did SQLite"))
}

/// The folder of a store. Its name is what the paths of its folder end with.
pub(super) fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    std::fs::create_dir(&store).unwrap();
    let journal = store.join("shell.db");
    (folder, journal)
}

/// A host in a process of its own.
pub(super) fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_disk"))
}

impl Life {
    /// Lets a host live on a disk with this fault, and checks what holds of every fault: it ends by itself, does not
    /// panic, and says nothing but typed errors; once it has said that it is poisoned, it accepts nothing more.
    pub(super) fn with(fault: &Fault, journal: &Path) -> Self {
        let report = journal.with_extension("report");
        let mut program = program();
        library().arm(&mut program, fault, &report);
        let setting = Setting { journal: journal.into(), limits: limits(), checkpoint_pages: Some(12) };
        let mut host = HostProcess::start(program, &setting).unwrap();
        let mut life = Self { fault: fault.to_string(), ..Self::default() };
        let opened = host.hear(SOON).unwrap().unwrap_or_else(|| panic!("{fault}: it ended without a word"));
        if opened == Event::Opened {
            life.runs(&mut host, &report);
        } else {
            life.errors.push(opened);
        }
        let (status, errors) = host.end().unwrap();
        assert!(status.success(), "{fault}: it ended with {status}: {errors}");
        assert!(!errors.contains("panicked"), "{fault}: {errors}");
        (life.hits, life.calls) = FaultLibrary::report(&report);
        let mut kinds = vec![ErrorKind::Poisoned, ErrorKind::Unavailable, ErrorKind::Indeterminate];
        // SQLite says the same of what can't be read as of what is damaged.
        kinds.extend((fault.op == Op::Read).then_some(ErrorKind::Corrupt));
        let is_typed = |event: &Event| kinds.iter().any(|kind| event.is(*kind));
        assert!(life.errors.iter().all(is_typed), "{fault}: {:?}", life.errors);
        life
    }

    fn runs(&mut self, host: &mut HostProcess, report: &Path) {
        for nth in 0..TURNS {
            self.turn(host, format!("s{}", nth % 2), format!("turn {nth}"), BYTES[nth % BYTES.len()]);
        }
        self.hits_before_last = FaultLibrary::report(report).0;
        self.last = Some(self.submit(host, "fresh".into(), "last".into(), 7));
        match ask(host, &Command::Shutdown) {
            Event::Done => {}
            failed => self.errors.push(failed),
        }
    }

    fn submit(&mut self, host: &mut HostProcess, session: String, key: String, bytes: usize) -> Event {
        let was_poisoned = self.is_poisoned();
        let said = ask(host, &Command::Submit { session: session.clone(), key: key.clone(), bytes });
        match &said {
            Event::Submitted { turn } => {
                assert!(!was_poisoned, "{key} was accepted after the shell was poisoned");
                self.accepted.push(Accepted { key, turn: *turn, bytes });
            }
            failed => {
                self.errors.push(failed.clone());
                self.refused.push((session, key, bytes));
            }
        }
        said
    }

    fn turn(&mut self, host: &mut HostProcess, session: String, key: String, bytes: usize) {
        let Event::Submitted { turn } = self.submit(host, session, key.clone(), bytes) else { return };
        match ask(host, &Command::Outcome { turn, within_ms: 400 }) {
            Event::Ended { answer: said } => assert_eq!(said, answer(bytes), "{key}"),
            Event::Late => {}
            failed => self.errors.push(failed),
        }
    }

    /// Whether the host has said that its disk failed.
    pub(super) fn is_poisoned(&self) -> bool {
        self.errors.iter().any(|error| error.is(ErrorKind::Poisoned))
    }
}

fn ask(host: &mut HostProcess, command: &Command) -> Event {
    host.ask(command, SOON).unwrap().unwrap_or_else(|| panic!("it ended at {command:?}"))
}
