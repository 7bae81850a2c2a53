//! `--html FILE`: one session as a page that works by itself, for whoever has to find out what happened.
//!
//! `reading` reads a journal, `turns` and `steps` make of its records what the page shows (`model`), `page` writes the
//! file. None of it knows what the quickstart does: it shows the journal of any program.

mod bounds;
mod graph;
mod line;
mod model;
mod page;
mod reading;
mod records;
mod steps;
mod turns;

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agent_shell_core::Shell;
use agent_shell_core::ports::Store;

use crate::args::Options;
use crate::embedding::session_name;
use crate::state::journal_in;
use crate::verify::{reading, store};
use crate::{Trouble, say};

use bounds::OTHER_SESSIONS;
use line::counted;
use model::Timeline;
use reading::Found;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TimelineError {
    #[error("the journal has no session yet")]
    Empty,
    #[error("there is no session of {} in the journal: it has {names}", wanted.display())]
    NotThere { wanted: PathBuf, names: String },
    #[error("the journal has several sessions: name the folder of one of {names}")]
    Several { names: String },
    #[error("{} can't be written: {source}", file.display())]
    Write { file: PathBuf, source: io::Error },
}

/// Writes the page of a session: of the folder that is named, or of the only one that there is.
pub(crate) async fn timeline(
    options: &Options,
    file: &Path,
    folder: Option<&Path>,
) -> Result<ExitCode, Trouble> {
    let journal = journal_in(&options.state)?;
    let (store, shell) = (store(&journal).await?, reading(&journal).await?);
    let read = read(&store, &shell, folder).await;
    shell.shutdown().await?;
    let timeline = read?;
    let html = page::html(&timeline).map_err(|error| Trouble::Unknown(error.to_string()))?;
    write_private(file, &html).map_err(|source| TimelineError::Write { file: file.to_owned(), source })?;
    let records = counted(timeline.records.len(), "record");
    say(&format!("Wrote {}: {records} of {}.", file.display(), timeline.session.title()))?;
    let chain = &timeline.chain;
    if let Some(unopened) = &chain.unopened {
        eprintln!("quickstart: from record {} on no body opens: {}", unopened.from, unopened.problem);
    }
    if let Some(broken) = &chain.broken {
        eprintln!("quickstart: the chain is broken: {}", broken.problem);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

async fn read(store: &Store, shell: &Shell, folder: Option<&Path>) -> Result<Timeline, Trouble> {
    let mut sessions = reading::sessions(shell).await?;
    let place = chosen(&sessions, folder)?;
    let found = sessions.swap_remove(place);
    let mut timeline = reading::read(store, shell, &found).await?;
    timeline.others = sessions.iter().map(Found::title).take(OTHER_SESSIONS).collect();
    timeline.others.sort();
    Ok(timeline)
}

/// The session of a folder, by its path or by what was given itself: a session's name, or its id.
fn chosen(sessions: &[Found], folder: Option<&Path>) -> Result<usize, TimelineError> {
    let names = || sessions.iter().map(Found::title).take(OTHER_SESSIONS).collect::<Vec<_>>().join(", ");
    match (folder, sessions) {
        (_, []) => Err(TimelineError::Empty),
        (None, [_]) => Ok(0),
        (None, _) => Err(TimelineError::Several { names: names() }),
        (Some(wanted), _) => {
            let given = wanted.to_string_lossy().into_owned();
            let path = std::fs::canonicalize(wanted).ok();
            let path = path.as_deref().and_then(Path::to_str).map(session_name);
            let is_wanted = |found: &Found| {
                let titles = [found.title(), found.entry.id.to_string()];
                titles.iter().any(|title| *title == given || Some(title) == path.as_ref())
            };
            let place = sessions.iter().position(is_wanted);
            place.ok_or_else(|| TimelineError::NotThere { wanted: wanted.to_owned(), names: names() })
        }
    }
}

/// Writes a file that its owner alone may read: what the journal seals stands in it in the clear.
fn write_private(file: &Path, text: &str) -> io::Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    draft.write_all(text.as_bytes())?;
    draft.persist(file)?;
    Ok(())
}
