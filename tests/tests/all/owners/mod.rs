//! Several owners on one journal, in processes of their own and in this one.

mod leaving;
mod requires;
mod stopped;
mod tenants;

use std::process::Command as Program;
use std::time::Duration;

use agent_shell_core::failpoint::Failpoint;
use agent_shell_core::words::TurnId;
use agent_shell_core::{Limits, Shell, ShellBuilder};
use agent_shell_tests::owner::{Command, Event, OwnerProcess, Setting, Stop, tool};
use agent_shell_tests::recorder::{Audit, Class, RecorderProcess, Settings, StepAudit, StepName, audit_log};

use crate::support;

/// What is done well within this, unless something stands still.
pub(super) const SOON: Duration = Duration::from_secs(30);
const CLASSES: [Class; 4] = [Class::Pure, Class::Idempotent, Class::Probed, Class::Irreversible];

/// A journal, and a recorder in a process of its own.
pub(super) struct World {
    folder: tempfile::TempDir,
    recorder: RecorderProcess,
}

impl World {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::new(folder.path().join("recorder"), folder.path().join("recorder.log"));
        let program = Program::new(env!("CARGO_BIN_EXE_recorder"));
        Self { recorder: RecorderProcess::start(program, settings).unwrap(), folder }
    }

    /// Starts an owner that stops itself at a failpoint, when it is to.
    pub(super) fn owner(&self, limits: Limits, stop: Option<Failpoint>) -> OwnerProcess {
        let setting = Setting {
            journal: self.journal(),
            recorder: self.recorder.settings().socket.clone(),
            limits,
            tools: CLASSES.to_vec(),
            stop: stop.map(|at| Stop { at: at.name().into(), nth: 1 }),
        };
        OwnerProcess::start(Program::new(env!("CARGO_BIN_EXE_owner")), &setting).unwrap()
    }

    /// A shell in this process with the same tools.
    pub(super) fn shell(&self, limits: Limits) -> ShellBuilder {
        let client = self.recorder.client();
        let shell = Shell::at(self.journal()).limits(limits);
        CLASSES.into_iter().fold(shell, |shell, class| shell.tool(tool(class, &client)))
    }

    pub(super) fn journal(&self) -> std::path::PathBuf {
        self.folder.path().join("shell.db")
    }

    /// Whether somebody holds the lock of the journal. One who was stopped inside a transaction holds it until he goes on,
    /// and all others wait: a limit of the file, which says nothing about leases.
    pub(super) fn is_locked(&self) -> bool {
        let file = rusqlite::Connection::open(self.journal()).unwrap();
        file.busy_timeout(Duration::from_millis(200)).unwrap();
        file.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err()
    }

    pub(super) fn audit(&self) -> Audit {
        audit_log(&self.recorder.settings().log).unwrap()
    }

    /// What the recorder saw of the act of a turn.
    pub(super) fn seen(&self, turn: TurnId) -> StepAudit {
        let name = StepName { turn: turn.to_string(), step: "act".into() };
        self.audit().step(&name).cloned().unwrap_or_default()
    }
}

/// Limits with which a stop of a second is longer than a lease.
pub(super) fn short() -> Limits {
    let mut limits = support::limits();
    limits.lease_ms = 600;
    limits.attempt_ms = 300;
    limits
}

pub(super) fn opened(owner: &mut OwnerProcess) -> usize {
    let said = owner.hear(SOON, |event| match event {
        Event::Opened { recovered } => Some(*recovered),
        _ => None,
    });
    said.unwrap()
}

pub(super) fn submitted(owner: &mut OwnerProcess, session: &str, tool: Class) -> TurnId {
    owner.tell(&Command::Submit { session: session.into(), tool, waits_ms: None }).unwrap();
    let said = owner.hear(SOON, |event| match event {
        Event::Submitted { turn } => Some(*turn),
        _ => None,
    });
    said.unwrap()
}

/// Waits until the shell warns of something.
pub(super) fn warned(owner: &mut OwnerProcess, of: &str) {
    let said = owner.hear(SOON, |event| match event {
        Event::Warned { what } if what.contains(of) => Some(()),
        _ => None,
    });
    said.unwrap();
}
