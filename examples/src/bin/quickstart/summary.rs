//! What is said at the end.

use std::path::Path;

use agent_shell_core::words::SessionId;
use agent_shell_core::{FailureCode, Outcome, Undone};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::args::Options;
use crate::changes::Told;
use crate::desk::Desk;
use crate::past::Past;
use crate::state::StateFolder;
use crate::{Trouble, say, undone, verify};

/// The closing summary, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// Tickets that were ever opened.
    tickets: u64,
    /// Calls to open one, as the ledger counted them.
    calls: u64,
    /// Different idempotency keys of those calls.
    keys: u64,
    /// Effects that happened twice.
    doubled: u64,
    /// How often this run was taken over by a process that was started while it was not over.
    resumed: u64,
    /// Calls whose key had been used before; each got the ticket that it had.
    repeated: u64,
    /// Tickets that were withdrawn again, because their run failed.
    withdrawn: u64,
    /// How often a ticket that was closed was opened again, because its run failed.
    reopened: u64,
    /// What was undone of this run, and what of it stays although it failed: numbers of steps.
    #[serde(flatten, serialize_with = "in_numbers")]
    pub(crate) aftermath: Undone,
    /// Records in the journal; unknown when it is broken.
    records: Option<u64>,
    /// Whether the journal's chain holds.
    pub(crate) verified: bool,
}

/// How the run ended.
pub(crate) enum End {
    Published(Option<Told>),
    Failed(String),
    Parked,
}

impl End {
    pub(crate) fn of(outcome: Option<Outcome>) -> Self {
        #[derive(Deserialize)]
        struct Answer {
            told: Told,
        }
        match outcome {
            None => Self::Parked,
            Some(Outcome::Answered(answer)) => {
                Self::Published(Answer::deserialize(answer).ok().map(|answer| answer.told))
            }
            Some(Outcome::Failed(failure)) => Self::Failed(match failure.step {
                _ if failure.code == FailureCode::Denied => failure.message,
                Some(step) => format!("step `{step}` failed: {}", failure.message),
                None => failure.message,
            }),
            Some(other) => Self::Failed(format!("the run ended as {other:?}")),
        }
    }
}

impl Summary {
    /// Counts, when the run is over and its shell is shut down.
    pub(crate) async fn of(
        desk: &Desk,
        state: &StateFolder,
        session: SessionId,
        past: &Past,
        restarts: u64,
        aftermath: Undone,
    ) -> Result<Self, Trouble> {
        let counted = desk.ledger.summary().await?;
        let store = verify::store(&state.journal()).await?;
        let chain = verify::chain(&store).await;
        if let Err(error) = &chain {
            eprintln!("quickstart: the chain is broken: {error}");
        }
        let epoch = store.journal.session(session).await.map_err(agent_shell_core::Error::from)?;
        let epoch = epoch.map_or(0, |entry| entry.epoch.number());
        let before = past.latest.as_ref().map_or(0, |run| run.epoch_before.number());
        Ok(Self {
            tickets: counted.tickets,
            calls: counted.calls,
            keys: counted.keys,
            doubled: counted.doubled,
            // Who takes a run over was started after it had begun, and takes the next epoch. Neither tells alone: one
            // that was started may be gone before it takes anything, and a session that waits long enough for a
            // person is let go, and taken again under another epoch, within one process.
            resumed: epoch.saturating_sub(before + 1).min(restarts),
            repeated: counted.repeated,
            withdrawn: counted.withdrawn,
            reopened: counted.reopened,
            aftermath,
            records: chain.as_ref().ok().map(|report| report.records),
            verified: chain.is_ok(),
        })
    }

    pub(crate) fn print(
        &self,
        options: &Options,
        past: &Past,
        end: &End,
        briefing: &str,
    ) -> Result<(), Trouble> {
        let (about, is_error) = match end {
            End::Published(Some(Told { new, gone, unchanged, .. })) => (
                format!("Published {briefing}: {new} findings are new, {gone} gone, {unchanged} unchanged."),
                false,
            ),
            End::Published(None) => (format!("Published {briefing}."), false),
            End::Failed(why) => (self.failed(why, options, past), true),
            End::Parked => (parked(options, past), true),
        };
        if options.json {
            eprintln!("{about}");
            let json = serde_json::to_string(self).map_err(|error| Trouble::Unknown(error.to_string()))?;
            return say(&json);
        }
        if is_error {
            eprintln!("{about}");
        } else {
            say(&about)?;
        }
        say(&self.text(past))
    }

    /// Why it failed, what became of what it did, and where there is more to see.
    fn failed(&self, why: &str, options: &Options, past: &Past) -> String {
        let undone = undone::told(past, &self.aftermath);
        let (program, state, folder) = (program(), quoted(&options.state), quoted(&options.folder));
        format!(
            "Not published: {why}\n{undone}\nTo look further:\n  {program} --history --state {state}\n  \
             {program} --html timeline.html --state {state} {folder}"
        )
    }

    fn text(&self, past: &Past) -> String {
        let Self { tickets, calls, keys, doubled, resumed, repeated, withdrawn, reopened, .. } = self;
        let undone = match (withdrawn, reopened) {
            (0, 0) => String::new(),
            _ => format!("\n  undone    {withdrawn} tickets withdrawn, {reopened} opened again"),
        };
        let doubts = past.latest.as_ref().map_or(0, |run| run.doubts);
        let records = match self.records {
            Some(records) => format!("{records}, and the chain holds"),
            None => "the chain is broken".to_owned(),
        };
        format!(
            "  tickets   {tickets}{undone}\n  calls     {calls} under {keys} keys; {repeated} were repeats, and got the same ticket\n  \
             doubled   {doubled}\n  resumed   {resumed}\n  in doubt  {doubts}, answered by the ledger\n  \
             records   {records}"
        )
    }
}

fn parked(options: &Options, past: &Past) -> String {
    let (program, state, folder) = (program(), quoted(&options.state), quoted(&options.folder));
    if past.latest.as_ref().is_some_and(|run| run.is_undone) {
        return format!(
            "Parked: the run failed, and something that it did can't be undone.\n\
             Run this again in a terminal to say how that goes on, or with --yes to try it again:\n  \
             {program} --yes --state {state} {folder}"
        );
    }
    let fail = if options.fail_publish { " --fail publish" } else { "" };
    format!(
        "Parked: the briefing waits for an approval, and there is no terminal to ask at.\n\
         To approve it, run this again in a terminal, or with --yes:\n  \
         {program} --yes{fail} --state {state} {folder}"
    )
}

/// How this program is started.
fn program() -> &'static str {
    if std::env::var_os("CARGO_MANIFEST_DIR").is_some() {
        "cargo run --bin quickstart --"
    } else {
        "quickstart"
    }
}

fn in_numbers<S: Serializer>(aftermath: &Undone, serializer: S) -> Result<S::Ok, S::Error> {
    let mut numbers = serializer.serialize_map(Some(2))?;
    numbers.serialize_entry("undone", &aftermath.undone.len())?;
    numbers.serialize_entry("left", &aftermath.left.len())?;
    numbers.end()
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |character: char| character.is_alphanumeric() || "/._-".contains(character);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
