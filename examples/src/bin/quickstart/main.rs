//! Reviews a folder, files what it finds as tickets in a ledger, and publishes a briefing: a durable agent at work on
//! real input, without a key or a server. Killed at any instant it goes on where it was when it is started again.
//!
//! Read it in this order: `embedding` opens a shell and asks it for a turn, `planner` says which steps the turn has (or,
//! with `--model`, a model: `stand_in`), `tools` carries them out, `conversation` answers what the turn asks, `past` reads the journal, and
//! `timeline` makes a page of it. What is below them (`scan`, `findings`, `changes`, `briefing`,
//! `ledger`) knows nothing of Agent Shell.
//!
//! Those five, about 930 lines, are the embedding: what a program of your own needs, readable in one sitting. Half of
//! them is about this program's own tools. The rest is the review itself (`scan`, `findings`, `changes`, `briefing`),
//! the outside world on which it acts (`ledger`), and what a command needs around it.

mod args;
mod ask;
mod briefing;
mod changes;
mod conversation;
mod crash;
mod desk;
mod embedding;
mod findings;
mod history;
mod ledger;
mod past;
mod planner;
mod progress;
mod scan;
mod stand_in;
mod state;
mod summary;
mod timeline;
mod tools;
mod undone;
mod verify;

use std::io::{self, Write};
use std::process::ExitCode;

use agent_shell_core::runtime::ExportError;
use agent_shell_core::words::InvalidName;

use args::{Arguments, Mode, Options};
use ledger::{BookError, LedgerError};
use scan::FolderError;
use state::StateError;
use timeline::TimelineError;

/// Ended with this the command line is wrong.
const WRONG_COMMAND_LINE: u8 = 2;
/// Ended with this the run waits for a person.
const PARKED: u8 = 3;
/// Ended with this the run failed, and nothing of what it did is left.
const UNDONE: u8 = 4;

/// Why the quickstart can't go on.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("the path of the folder {0} is not UTF-8, and the journal holds text: rename it")]
    NotUtf8(String),
    #[error("the state can't be kept in the folder under review itself: choose another with --state")]
    StateIsFolder,
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Shell(#[from] agent_shell_core::Error),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Book(#[from] BookError),
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    #[error("the user's name can't be journaled: {0}")]
    Name(#[from] InvalidName),
    #[error("this program can't be started: {0}")]
    Program(io::Error),
    #[error("nothing can be printed: {0}")]
    Print(io::Error),
    #[error("{0}")]
    Unknown(String),
}

fn main() -> ExitCode {
    let folder = args::default_folder(std::env::var_os("CARGO_MANIFEST_DIR").as_deref());
    let done = match args::parse(std::env::args_os().skip(1), folder) {
        Ok(Arguments::Help) => say(args::HELP.trim_end()).map(|()| ExitCode::SUCCESS),
        Ok(Arguments::Ledger { file, refuses_publications }) => {
            let (input, output) = (io::stdin().lock(), io::stdout().lock());
            let served = ledger::serve(&file, refuses_publications, input, output);
            served.map(|()| ExitCode::SUCCESS).map_err(Trouble::from)
        }
        Ok(Arguments::Run(options)) => run(&options),
        Err(error) => {
            eprintln!("quickstart: {error}");
            return ExitCode::from(WRONG_COMMAND_LINE);
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("quickstart: {error}");
        ExitCode::FAILURE
    })
}

fn run(options: &Options) -> Result<ExitCode, Trouble> {
    if options.crashes > 0 && options.worker.is_none() {
        return crash::supervise(options);
    }
    let runtime = tokio::runtime::Runtime::new().map_err(Trouble::Program)?;
    let done = runtime.block_on(async {
        match &options.mode {
            Mode::Review => embedding::review(options).await,
            Mode::History => history::history(options).await,
            Mode::Verify => verify::verify(options).await,
            Mode::Html { file, folder } => timeline::timeline(options, file, folder.as_deref()).await,
        }
    });
    // A scan that nobody waits for any more does not hold up the end.
    runtime.shutdown_background();
    done
}

/// Prints on standard output. Who reads it may have read enough: that is no failure.
fn say(text: &str) -> Result<(), Trouble> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Trouble::Print(error)),
        _ => Ok(()),
    }
}
