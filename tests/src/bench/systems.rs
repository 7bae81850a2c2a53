//! Every system that the benchmark `steps` knows, in the order of the table.

use super::System;
use super::raw::{SqliteGroupCommit, WriteFdatasync};
use super::runtime::{AgentShell, Class, Journal};

/// The row against which the others are held.
pub(super) const BASELINE: &str = "sqlite-group-commit";

/// A system of the runtime is registered here: one line for each journal and effect class.
pub(super) fn all() -> Vec<Box<dyn System>> {
    vec![
        // The raw systems: the same bytes, no runtime.
        Box::new(SqliteGroupCommit),
        Box::new(WriteFdatasync),
        // The runtime: first what the bars are about, then the rows of their own.
        agent_shell(Journal::Sqlite, Class::Pure),
        agent_shell(Journal::Volatile, Class::Pure),
        agent_shell(Journal::Sqlite, Class::PureRiding),
        agent_shell(Journal::Sqlite, Class::Idempotent),
        agent_shell(Journal::Sqlite, Class::Probed),
        agent_shell(Journal::Sqlite, Class::Irreversible),
        agent_shell(Journal::Volatile, Class::Idempotent),
    ]
}

fn agent_shell(journal: Journal, class: Class) -> Box<dyn System> {
    Box::new(AgentShell { journal, class })
}

/// `name/journal/class`, which is unique.
pub(super) fn label(system: &dyn System) -> String {
    format!("{}/{}/{}", system.name(), system.journal(), system.class())
}

/// The systems that `--only` names: by the whole label, or by its first one or two parts.
pub(super) fn only(wanted: Option<&str>) -> Vec<Box<dyn System>> {
    let is_wanted = |system: &dyn System| {
        let Some(wanted) = wanted else { return true };
        let label = label(system);
        label.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    all().into_iter().filter(|system| is_wanted(system.as_ref())).collect()
}
