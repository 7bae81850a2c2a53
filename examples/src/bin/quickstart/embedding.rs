//! The embedding: opens a shell, asks it for one turn, and answers what it asks.

use std::process::ExitCode;
use std::sync::Arc;

use agent_shell_core::words::Limits;
use agent_shell_core::{Outcome, Request, Session, Shell, Turn};

use crate::args::Options;
use crate::ask::Operator;
use crate::conversation::Conversation;
use crate::crash::{Fuse, Stage, end_with_supervisor};
use crate::desk::{Desk, scope};
use crate::ledger::{LedgerClient, LedgerProgram};
use crate::past::Past;
use crate::planner::{Assignment, Reviewer};
use crate::progress::{Progress, State};
use crate::scan::{self, Folder};
use crate::stand_in::{self, Briefed};
use crate::state::{StateFolder, briefing_of};
use crate::summary::{End, Summary};
use crate::{PARKED, Trouble, UNDONE, tools};

/// Reviews the folder: goes on with the run that is not over, if there is one, else begins one.
pub(crate) async fn review(options: &Options) -> Result<ExitCode, Trouble> {
    if options.worker.is_some() {
        end_with_supervisor();
    }
    let host = Host::of(options).await?;
    let shell = host.open_shell().await?;
    let session = shell.session(session_name(&host.folder))?;
    let past = Past::of(&session).await?;
    let turn = host.turn(options, &shell, &session, &past).await?;
    let (operator, desk) = (&host.operator, &*host.desk);
    let outcome = Conversation { turn: &turn, operator, desk }.until_end().await?;
    let undone = turn.undone().await?;
    let (id, past) = (session.id().await?, Past::of(&session).await?);
    shell.shutdown().await?;
    host.desk.fuse.passes(Stage::Ended);
    let restarts = host.state.restarts(&scope(&host.folder));
    let summary = Summary::of(&host.desk, &host.state, id, &past, restarts, undone).await?;
    host.finish(options, &summary, &past, outcome)
}

/// A folder has one session. Its name is the folder's path, as far as a name can be one.
pub(crate) fn session_name(folder: &str) -> String {
    let fits = folder.len() <= 256 && !folder.chars().any(char::is_control);
    if fits { folder.to_owned() } else { format!("folder {}", scope(folder)) }
}

/// The program around the shell.
struct Host {
    /// The folder under review.
    folder: String,
    state: StateFolder,
    desk: Arc<Desk>,
    operator: Operator,
}

impl Host {
    async fn of(options: &Options) -> Result<Self, Trouble> {
        let fuse = Fuse::of(options);
        fuse.light();
        let folder = Folder::open(&options.folder, scan::Limits::default())?;
        if std::fs::canonicalize(&options.state).is_ok_and(|state| state == folder.root()) {
            return Err(Trouble::StateIsFolder);
        }
        let folder = folder.root().to_str().ok_or_else(|| Trouble::NotUtf8(folder.name()))?.to_owned();
        let state = StateFolder::open(&options.state).await?;
        // Before anything is taken over. Whether there was something to take over, the journal will say.
        state.keep_restarts(&scope(&folder), state.restarts(&scope(&folder)) + 1)?;
        let ledger = LedgerProgram::this_executable(&state.ledger(), options.fail_publish);
        let ledger = LedgerClient::start(ledger.map_err(Trouble::Program)?);
        let progress = if options.json { Progress::on_stderr() } else { Progress::on_stdout() };
        progress.note(&format!("Reviewing {folder}; the journal is {}", state.journal().display()));
        let desk = Arc::new(Desk::new(folder.clone(), state.path(), ledger, progress, fuse));
        Ok(Self { folder, state, desk, operator: Operator::of(options)? })
    }

    /// The shell: its journal, its planner, its tools. What a crash left goes on before this returns.
    async fn open_shell(&self) -> agent_shell_core::Result<Shell> {
        let mut limits = Limits::default();
        // The ledger is on this machine: what was sent to it does not travel for long.
        limits.lateness_ms = 500;
        let shell = Shell::at(self.state.journal()).limits(limits);
        let shell = shell.planner(Reviewer { state: self.state.name().to_owned() });
        // Both, whichever is asked for now: a run goes on with the one that it began with.
        let shell = shell.model(stand_in::model(self.state.name().to_owned()));
        let shell = shell.named_planner(stand_in::PLANNER, stand_in::planner());
        tools::all(&self.desk).into_iter().fold(shell, |shell, tool| shell.tool(tool)).open().await
    }

    /// The turn of this run. The request is named by the number of the run, which counts the runs that have ended: as
    /// long as this one has not, the same request is the same turn.
    async fn turn(
        &self,
        options: &Options,
        shell: &Shell,
        session: &Session,
        past: &Past,
    ) -> Result<Turn, Trouble> {
        let (number, own) = (past.ended + 1, scope(&self.folder));
        let note = match &past.latest {
            Some(run) if run.has_ended && past.ended > self.state.told(&own) => {
                self.state.keep_restarts(&own, self.state.restarts(&own).saturating_sub(1))?;
                self.desk.progress.note("The last run had ended, and was killed before it could say so.");
                return Ok(shell.turn(run.turn));
            }
            Some(run) if !run.has_ended => {
                let note = match run.is_undone {
                    false => format!("Run {number} is not over, and goes on: {} steps are done.", run.steps),
                    true => format!("Run {number} has failed, and what it did goes on being undone."),
                };
                self.desk.progress.note(&note);
                return Ok(shell.turn(run.turn));
            }
            _ => {
                self.state.keep_restarts(&own, 0)?;
                format!("This is run {number}.")
            }
        };
        self.desk.progress.note(&note);
        let input = Assignment { folder: self.folder.clone(), past: past.remembered.clone() };
        let input = serde_json::to_value(input).map_err(|error| Trouble::Unknown(error.to_string()))?;
        let request = match options.model {
            false => session.submit(Request::new(input)),
            true => {
                self.desk.progress.note(stand_in::LABEL);
                session.submit(Request::new(input).planner(stand_in::PLANNER)).wants::<Briefed>()
            }
        };
        let request = request.dedupe(format!("run {number}"));
        Ok(request.actor(self.operator.actor().clone()).await?)
    }

    /// Says how the run ended, and remembers that it did.
    fn finish(
        &self,
        options: &Options,
        summary: &Summary,
        past: &Past,
        outcome: Option<Outcome>,
    ) -> Result<ExitCode, Trouble> {
        let end = End::of(outcome);
        if !summary.aftermath.undone.is_empty() {
            let undone = format!("{} undone", summary.aftermath.undone.len());
            self.desk.show(&self.folder, "undo", State::Done(undone));
        }
        self.desk.progress.rest();
        summary.print(options, past, &end, &briefing_of(self.state.name(), &self.folder))?;
        if !matches!(end, End::Parked) {
            self.state.tell(&scope(&self.folder), past.ended)?;
        }
        Ok(match end {
            _ if !summary.verified => ExitCode::FAILURE,
            End::Published(_) => ExitCode::SUCCESS,
            End::Failed(_) if summary.aftermath.left.is_empty() => ExitCode::from(UNDONE),
            End::Failed(_) => ExitCode::FAILURE,
            End::Parked => ExitCode::from(PARKED),
        })
    }
}
