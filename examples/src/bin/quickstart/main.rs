//! Reviews a folder, files what it finds as tickets in a ledger, and publishes a briefing.
//!
//! This is the part below the runtime: it scans, and prints the briefing.

// The runtime, which uses the rest, is not wired in yet.
#![allow(dead_code, unused_imports)]

mod args;
mod briefing;
mod findings;
mod ledger;
mod progress;
mod scan;

use std::process::ExitCode;

use args::Arguments;
use findings::Tickets;
use scan::{Folder, FolderError, Limits, Review};

fn main() -> ExitCode {
    let folder = args::default_folder(std::env::var_os("CARGO_MANIFEST_DIR").as_deref());
    let done = match args::parse(std::env::args_os().skip(1), folder) {
        Ok(Arguments::Help) => {
            print!("{}", args::HELP);
            Ok(())
        }
        Ok(Arguments::Ledger { file }) => {
            ledger::serve(&file, std::io::stdin().lock(), std::io::stdout().lock())
                .map_err(|error| error.to_string())
        }
        Ok(Arguments::Run(options)) => review(&options).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

fn review(options: &args::Options) -> Result<(), FolderError> {
    let folder = Folder::open(&options.folder, Limits::default())?.without(&options.state);
    let review = Review {
        folder: folder.name(),
        files: scan::files(&folder)?,
        languages: scan::languages(&folder)?,
        headings: scan::headings(&folder)?,
        notes: scan::notes(&folder)?,
        history: scan::history(&folder),
    };
    let found = findings::findings(&review);
    let diff = findings::diff(&[], &found);
    print!("{}", briefing::briefing(&review, &found, &diff, &Tickets::new()));
    Ok(())
}
