//! What followers have seen: a line for each record, appended to a file that all of them share.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use agent_shell_core::words::{Seq, TurnId};

use super::CrashError;

/// A record that a follower of a turn was told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) seq: Seq,
    /// Whether it ended the turn.
    pub(super) is_end: bool,
}

impl Seen {
    pub(super) fn line(self, turn: TurnId) -> String {
        let end = if self.is_end { " end" } else { "" };
        format!("{turn} {}{end}\n", self.seq.number())
    }
}

/// The file, beside the journal.
pub(super) fn path(journal: &Path) -> PathBuf {
    journal.with_file_name("followed.log")
}

/// What was seen of each turn, in the order in which it was.
pub(super) fn read(file: &Path) -> Result<BTreeMap<TurnId, Vec<Seen>>, CrashError> {
    let text = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.map_err(CrashError::system(file.display().to_string()))?,
    };
    let mut seen: BTreeMap<TurnId, Vec<Seen>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let turn = words.next().and_then(|turn| turn.parse::<TurnId>().ok());
        let seq = words.next().and_then(|seq| seq.parse().ok()).map(Seq::new);
        let (Some(turn), Some(seq)) = (turn, seq) else {
            let what = format!("`{line}` in {}", file.display());
            return Err(CrashError::system(what)(io::ErrorKind::InvalidData.into()));
        };
        seen.entry(turn).or_default().push(Seen { seq, is_end: words.next() == Some("end") });
    }
    Ok(seen)
}
