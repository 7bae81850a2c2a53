//! The command line.

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// The most kills that `--crash` takes.
const MAX_CRASHES: u32 = 1000;

pub(crate) const HELP: &str = "\
Reviews a folder, files what it finds as tickets, and publishes a briefing.
Killed at any instant, it goes on where it was when it is started again.

Usage: quickstart [FOLDER] [OPTIONS]

  FOLDER       The folder to review. (This repository under `cargo run`, else the current folder)

Options:
  --yes        Publish without asking
  --model auto Let a model plan, which calls the tools. (auto: a scripted stand-in, because no
               provider is built yet)
  --fail publish
               Let the ledger refuse the publication, after the approval: the run fails, and what
               it did is undone in the reverse order: tickets that it closed are opened again,
               then those that it opened are withdrawn
  --crash N    Kill itself with SIGKILL N times at random instants, and start again
  --json       Print the closing summary as one JSON object; progress goes to standard error
  --state DIR  Where the journal and the tickets are kept. (.agent-shell in the current folder)
  --history    Print what the journal holds, and do nothing else
  --html FILE  Write what the journal holds of FOLDER, or of the one session that it has, as a page
               that works offline, and do nothing else. It shows in the clear what the journal seals
  --verify     Check the journal's chain, and do nothing else; fails when it is broken
  -h, --help   Print this

The summary's tickets and calls are the ledger's own count, over all runs in the state folder.
Ends with 0 when the briefing is published, 1 when something failed or the chain is broken,
2 when the command line is wrong, 3 when the run is parked until somebody answers, 4 when the run
failed and nothing of what it did is left, because it is undone.
";

/// What the program was asked to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arguments {
    Help,
    /// The ledger program, for the quickstart's own use.
    Ledger {
        file: PathBuf,
        refuses_publications: bool,
    },
    Run(Options),
}

/// How to run the quickstart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) folder: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) mode: Mode,
    /// Approve without asking.
    pub(crate) yes: bool,
    pub(crate) json: bool,
    /// A model plans, and not the program.
    pub(crate) model: bool,
    /// The ledger is to refuse the publication.
    pub(crate) fail_publish: bool,
    /// How often the program is to kill itself.
    pub(crate) crashes: u32,
    /// Set in a process that `--crash` started: how many were killed before it.
    pub(crate) worker: Option<u32>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    Review,
    History,
    Verify,
    /// Write a page about the session of a folder; when none was named, about the only one.
    Html {
        file: PathBuf,
        folder: Option<PathBuf>,
    },
}

/// What is wrong with a command line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArgumentError {
    #[error("there is no option {0}: see --help")]
    Unknown(String),
    #[error("{option} needs {what} after it")]
    ValueMissing { option: &'static str, what: &'static str },
    #[error("{option} takes {what}, not {given:?}")]
    BadValue { option: &'static str, what: &'static str, given: String },
    #[error("{0} takes no value")]
    NeedlessValue(String),
    #[error("there is one folder to review, but {first:?} and {second:?} were given")]
    TwoFolders { first: PathBuf, second: PathBuf },
    #[error("{0} and {1} can't go together")]
    Conflict(&'static str, &'static str),
}

impl Options {
    /// The command line of a worker that does these options' work, after `kills` before it.
    pub(crate) fn worker_arguments(&self, kills: u32) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["--worker".into(), kills.to_string().into()];
        arguments.extend(["--crash".into(), self.crashes.to_string().into()]);
        arguments.extend(["--state".into(), self.state.clone().into_os_string()]);
        arguments.extend(self.yes.then(|| "--yes".into()));
        arguments.extend(self.json.then(|| "--json".into()));
        arguments.extend(self.model.then(|| "--model=auto".into()));
        arguments.extend(self.fail_publish.then(|| "--fail=publish".into()));
        // A folder's name may look like an option.
        arguments.extend(["--".into(), self.folder.clone().into_os_string()]);
        arguments
    }
}

/// The folder to review when none is named: the repository when cargo runs the program, which is
/// known from cargo's `CARGO_MANIFEST_DIR`, else the current folder.
pub(crate) fn default_folder(manifest_dir: Option<&OsStr>) -> PathBuf {
    let workspace = manifest_dir.map(PathBuf::from).and_then(|package| Some(package.parent()?.to_owned()));
    workspace.unwrap_or_else(|| PathBuf::from("."))
}

/// Reads a command line, without the program's name.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    default_folder: PathBuf,
) -> Result<Arguments, ArgumentError> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let [command, option, file, rest @ ..] = arguments.as_slice()
        && command == "ledger"
        && option == "--file"
        && (rest.is_empty() || rest == ["--refuse", "publish"])
    {
        return Ok(Arguments::Ledger { file: file.into(), refuses_publications: !rest.is_empty() });
    }
    let mut parser = Parser::default();
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let is_option = argument.as_encoded_bytes().starts_with(b"-") && !parser.only_folders;
        if !is_option {
            parser.folder(argument.into())?;
        } else if argument == "-h" || argument == "--help" {
            return Ok(Arguments::Help);
        } else {
            parser.option(&argument, &mut rest)?;
        }
    }
    parser.finish(default_folder).map(Arguments::Run)
}

#[derive(Default)]
struct Parser {
    folder: Option<PathBuf>,
    state: Option<PathBuf>,
    crashes: Option<u32>,
    worker: Option<u32>,
    yes: bool,
    json: bool,
    model: bool,
    fail_publish: bool,
    history: bool,
    verify: bool,
    html: Option<PathBuf>,
    /// `--` was seen.
    only_folders: bool,
}

impl Parser {
    fn folder(&mut self, second: PathBuf) -> Result<(), ArgumentError> {
        match self.folder.take() {
            None => self.folder = Some(second),
            Some(first) => return Err(ArgumentError::TwoFolders { first, second }),
        }
        Ok(())
    }

    fn option(
        &mut self,
        argument: &OsStr,
        rest: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), ArgumentError> {
        // `--state=DIR` is `--state DIR`. A name that is not UTF-8 can only be in the second form.
        let shown = argument.to_string_lossy();
        let (name, inline) = match shown.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (&*shown, None),
        };
        let has_value = inline.is_some();
        let mut value = || inline.clone().or_else(|| rest.next()).filter(|value| !value.is_empty());
        match name {
            "--state" => {
                let missing = ArgumentError::ValueMissing { option: "--state", what: "a folder" };
                self.state = Some(value().ok_or(missing)?.into());
            }
            "--html" => {
                let missing = ArgumentError::ValueMissing { option: "--html", what: "a file" };
                self.html = Some(value().ok_or(missing)?.into());
            }
            "--model" => self.model = is_the_one("--model", "auto", value())?,
            "--fail" => self.fail_publish = is_the_one("--fail", "publish", value())?,
            "--crash" => self.crashes = Some(number("--crash", value())?),
            "--worker" => self.worker = Some(number("--worker", value())?),
            _ if has_value => return self.needless_value(name),
            _ => *self.flag(name)? = true,
        }
        Ok(())
    }

    fn flag(&mut self, name: &str) -> Result<&mut bool, ArgumentError> {
        match name {
            "--yes" | "-y" => Ok(&mut self.yes),
            "--json" => Ok(&mut self.json),
            "--history" => Ok(&mut self.history),
            "--verify" => Ok(&mut self.verify),
            "--" => Ok(&mut self.only_folders),
            _ => Err(ArgumentError::Unknown(name.to_owned())),
        }
    }

    fn needless_value(&mut self, name: &str) -> Result<(), ArgumentError> {
        self.flag(name)?;
        Err(ArgumentError::NeedlessValue(name.to_owned()))
    }

    fn finish(self, default_folder: PathBuf) -> Result<Options, ArgumentError> {
        let crashes = self.crashes.unwrap_or(0);
        let asked = [
            ("--crash", crashes > 0),
            ("--history", self.history),
            ("--html", self.html.is_some()),
            ("--verify", self.verify),
        ];
        let mut asked = asked.into_iter().filter_map(|(option, is_asked)| is_asked.then_some(option));
        let asked_first = asked.next();
        if let (Some(first), Some(second)) = (asked_first, asked.next()) {
            return Err(ArgumentError::Conflict(first, second));
        }
        // A run may kill itself and fail; who only looks does neither.
        if let (Some(looks), true) = (asked_first.filter(|first| *first != "--crash"), self.fail_publish) {
            return Err(ArgumentError::Conflict("--fail", looks));
        }
        let mode = match self.html {
            Some(file) => Mode::Html { file, folder: self.folder.clone() },
            None if self.history => Mode::History,
            None if self.verify => Mode::Verify,
            None => Mode::Review,
        };
        Ok(Options {
            folder: self.folder.unwrap_or(default_folder),
            state: self.state.unwrap_or_else(|| ".agent-shell".into()),
            mode,
            yes: self.yes,
            json: self.json,
            model: self.model,
            fail_publish: self.fail_publish,
            crashes,
            worker: self.worker,
        })
    }
}

/// Whether an option has the one value that it takes so far.
fn is_the_one(
    option: &'static str,
    what: &'static str,
    value: Option<OsString>,
) -> Result<bool, ArgumentError> {
    let given = value.ok_or(ArgumentError::ValueMissing { option, what })?.to_string_lossy().into_owned();
    if given == what { Ok(true) } else { Err(ArgumentError::BadValue { option, what, given }) }
}

fn number(option: &'static str, value: Option<OsString>) -> Result<u32, ArgumentError> {
    let what = "a number from 0 to 1000";
    let given = value.ok_or(ArgumentError::ValueMissing { option, what })?.to_string_lossy().into_owned();
    let number = given.parse().ok().filter(|number| *number <= MAX_CRASHES);
    number.ok_or(ArgumentError::BadValue { option, what, given })
}
