//! The recent commits of the folder, where it lies in a git repository.

#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Folder, shorten};

const MAX_COMMITS: usize = 20;
const MAX_OUTPUT_BYTES: u64 = 128 * 1024;
const MAX_FIELD_CHARS: usize = 200;
const DEADLINE: Duration = Duration::from_secs(10);
/// Between the fields of a commit. The subject comes last, so that it may hold anything.
const SEPARATOR: char = '\u{1f}';

/// Recent commits that touch the folder, newest first, or why there are none to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum History {
    Commits(Vec<Commit>),
    Absent { reason: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Commit {
    pub(crate) id: String,
    pub(crate) author: String,
    /// The author's day, as `2026-01-31`.
    pub(crate) date: String,
    pub(crate) subject: String,
}

/// Asks `git log`. That there is no git, no repository or no answer is a result, not an error.
pub(crate) fn history(folder: &Folder) -> History {
    let mut command = git_log(folder);
    match run(&mut command, DEADLINE) {
        Ok(output) => read_log(&output),
        Err(reason) => History::Absent { reason },
    }
}

/// `git log` as a stranger's repository should be asked: nothing that its settings name is run,
/// and the surroundings of this process do not choose the repository.
fn git_log(folder: &Folder) -> Command {
    let mut command = Command::new("git");
    command
        .args(["-c", "core.fsmonitor=false", "-c", "log.showSignature=false"])
        .args(["--no-pager", "log", "--no-color", "--no-decorate", "--no-show-signature"])
        .arg(format!("--max-count={MAX_COMMITS}"))
        .arg("--format=%H%x1f%an%x1f%as%x1f%s")
        .args(["--", "."])
        .current_dir(folder.root())
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("LC_ALL", "C");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_NAMESPACE"] {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end or its deadline. `Err` says, for people, why there is no output.
fn run(command: &mut Command, deadline: Duration) -> Result<String, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "git is not installed".to_owned(),
        _ => format!("git can't be started: {error}"),
    })?;
    let output = read_within(&mut child, deadline);
    // Past its end this does nothing; before it, nobody waits for it any more.
    let _ = child.kill();
    let status = child.wait().map_err(|error| format!("git can't be waited for: {error}"))?;
    let (output, complaint) = output?;
    if status.success() || !output.is_empty() {
        return Ok(output);
    }
    if complaint.contains("not a git repository") {
        return Err("the folder is not in a git repository".to_owned());
    }
    let first_line = complaint.lines().next().unwrap_or("it gave no reason");
    Err(format!("git: {}", shorten(first_line, MAX_FIELD_CHARS)))
}

/// What the child writes to its two outputs until it closes them, each cut at the limit.
fn read_within(child: &mut Child, deadline: Duration) -> Result<(String, String), String> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (sender, receiver) = mpsc::channel();
    // A pipe can't be read with a deadline, so a thread reads and this one waits. It ends when the
    // child does.
    #[allow(clippy::disallowed_methods)]
    std::thread::spawn(move || {
        let output = stdout.map(read_start).unwrap_or_default();
        let complaint = stderr.map(read_start).unwrap_or_default();
        let _ = sender.send((output, complaint));
    });
    let seconds = deadline.as_secs();
    receiver.recv_timeout(deadline).map_err(|_| format!("git did not answer within {seconds} s"))
}

fn read_start(pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    // What came before an error is still an answer.
    let _ = pipe.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn read_log(output: &str) -> History {
    let commits: Vec<Commit> = output.lines().filter_map(read_commit).take(MAX_COMMITS).collect();
    if commits.is_empty() {
        return History::Absent { reason: "no commit touches this folder".to_owned() };
    }
    History::Commits(commits)
}

/// One line of the log. One that was cut lacks fields and is dropped.
fn read_commit(line: &str) -> Option<Commit> {
    let mut fields = line.splitn(4, SEPARATOR).map(|field| shorten(field, MAX_FIELD_CHARS));
    let (id, author, date) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Commit { id, author, date, subject: fields.next()? })
}
