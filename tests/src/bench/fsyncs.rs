//! Counts syncs with strace, in a run of its own: tracing slows every sync down, so nothing else is
//! measured in it. What the setup syncs is counted in another run, and taken off.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::BenchError;

/// Enough that a checkpoint now and then shows, and still over in seconds where each step is synced.
fn steps(sessions: usize) -> u64 {
    (200 * sessions as u64).max(2000)
}

/// Whether strace is there and may trace.
pub(super) fn can_count() -> bool {
    let probe = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    probe.is_ok_and(|status| status.success())
}

/// Syncs per step of the system with this label. `program` is this program, and `folder` is where its
/// runs put their files.
pub(super) fn per_step(
    program: &Path,
    label: &str,
    sessions: usize,
    folder: &Path,
) -> Result<f64, BenchError> {
    let steps = steps(sessions);
    let setup = count(program, label, sessions, 0, folder)?;
    let total = count(program, label, sessions, steps, folder)?;
    Ok(total.saturating_sub(setup) as f64 / steps as f64)
}

fn count(program: &Path, label: &str, sessions: usize, steps: u64, folder: &Path) -> Result<u64, BenchError> {
    let summary = tempfile::NamedTempFile::new_in(folder)?;
    let status = Command::new("strace")
        .args(["-f", "-c", "-e", "trace=fsync,fdatasync,sync_file_range", "-o"])
        .arg(summary.path())
        .arg(program)
        .args([
            "once",
            "--only",
            label,
            "--sessions",
            &sessions.to_string(),
            "--steps",
            &steps.to_string(),
            "--dir",
        ])
        .arg(folder)
        .stdout(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(BenchError::system(format!("{label} under strace: {status}")));
    }
    Ok(calls(&fs::read_to_string(summary.path())?))
}

/// The calls in a summary of `strace -c`: `% time, seconds, usecs/call, calls, [errors,] syscall`.
pub(super) fn calls(summary: &str) -> u64 {
    let calls_of = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let is_sync = matches!(columns.last(), Some(&("fsync" | "fdatasync" | "sync_file_range")));
        if is_sync { columns.get(3)?.parse::<u64>().ok() } else { None }
    };
    summary.lines().filter_map(calls_of).sum()
}
