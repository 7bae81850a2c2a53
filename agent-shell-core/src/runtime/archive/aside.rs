//! The files of sessions that expire. They are set aside before the journal lets a session go and removed after, so
//! that no file goes that the journal still names, and none stays that it names no more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::file;
use crate::words::{Error, ErrorKind, Result, SessionId};

/// What is added to the name of a file that is set aside.
const ASIDE: &str = ".expired";

/// The files of some sessions by their session: also those of before it was restored once, and what a crash left half
/// written.
pub(super) fn of(folder: &Path, sessions: &BTreeSet<SessionId>) -> Result<BTreeMap<SessionId, Vec<PathBuf>>> {
    let mut files = BTreeMap::<_, Vec<_>>::new();
    for (session, path) in find(folder, &[".jsonl", ".part"], |session| sessions.contains(session))? {
        files.entry(session).or_default().push(path);
    }
    files.values_mut().for_each(|files| files.sort());
    Ok(files)
}

/// The files that another call set aside and did not get to remove, by the name that they had.
pub(super) fn left(folder: &Path) -> Result<BTreeMap<SessionId, Vec<PathBuf>>> {
    let mut files = BTreeMap::<_, Vec<_>>::new();
    for (session, mut path) in find(folder, &[ASIDE], |_| true)? {
        path.set_extension("");
        files.entry(session).or_default().push(path);
    }
    Ok(files)
}

/// The files with these ends, of these sessions: a folder may hold far more than can be kept in memory.
fn find(
    folder: &Path,
    ends: &[&str],
    is_wanted: impl Fn(&SessionId) -> bool,
) -> Result<Vec<(SessionId, PathBuf)>> {
    let failed = |error| not_removed(folder, &error);
    let mut files = Vec::new();
    for found in fs::read_dir(folder).map_err(failed)? {
        let path = found.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let session = name.split_once('-').and_then(|(session, _)| session.parse().ok());
        if let Some(session) =
            session.filter(|of| ends.iter().any(|end| name.ends_with(end)) && is_wanted(of))
        {
            files.push((session, path));
        }
    }
    Ok(files)
}

/// Sets files aside, durably.
pub(super) fn set_aside(folder: &Path, files: &[PathBuf]) -> Result<()> {
    each(folder, files, |path| fs::rename(path, aside(path)))
}

/// Gives files their names back.
pub(super) fn put_back(folder: &Path, files: &[PathBuf]) -> Result<()> {
    each(folder, files, |path| fs::rename(aside(path), path))
}

/// Removes files, whether they are still set aside or another call has put them back.
pub(super) fn remove(folder: &Path, files: &[PathBuf]) -> Result<()> {
    each(folder, files, |path| there(fs::remove_file(aside(path))).and_then(|()| fs::remove_file(path)))
}

fn each(folder: &Path, files: &[PathBuf], act: impl Fn(&Path) -> io::Result<()>) -> Result<()> {
    for path in files {
        there(act(path)).map_err(|error| not_removed(path, &error))?;
    }
    match files {
        [] => Ok(()),
        _ => file::sync_folder(folder).map_err(|error| not_removed(folder, &error)),
    }
}

/// What is not there is done with.
fn there(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ASIDE);
    name.into()
}

fn not_removed(path: &Path, error: &io::Error) -> Error {
    let message =
        format!("`{}` can't be read or removed; repeat the call when it can: {error}", path.display());
    Error::new(ErrorKind::Unavailable, message)
}
