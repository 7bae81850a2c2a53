//! The last record of a purged session. It alone still opens: it says which acts were open, and holds no text.

use std::io::{self, Write};

use agent_shell_core::Shell;
use agent_shell_core::data::{Header, decode};
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::{Seq, SessionId};
use serde::Deserialize;
use serde_json::Value;

/// Opens the record with this header. An export does; nothing else opens a record of a session whose key is gone.
pub(super) async fn last_record(shell: &Shell, header: &Header) -> Option<HistoryEntry> {
    let mut wanted = Wanted { session: header.session, seq: header.seq, part: Vec::new(), body: None };
    // What was found is of use, also if the export ends early.
    let _ = shell.export(&mut wanted, true).await;
    let body = serde_json::to_vec(&wanted.body?).ok()?;
    let body = decode(header.kind.as_str(), header.version, &body).ok()?;
    Some(HistoryEntry { seq: header.seq, epoch: header.epoch, time: header.time, actor: header.actor, body })
}

/// A record as an export has it.
#[derive(Deserialize)]
struct Line {
    session: SessionId,
    seq: Seq,
    body: Option<Value>,
}

/// Takes an export, and keeps the body of one record.
struct Wanted {
    session: SessionId,
    seq: Seq,
    part: Vec<u8>,
    body: Option<Value>,
}

impl Write for Wanted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.extend_from_slice(bytes);
        while let Some(end) = memchr::memchr(b'\n', &self.part) {
            let line: Line = serde_json::from_slice(&self.part[..end])?;
            self.part.drain(..=end);
            if line.session == self.session && line.seq == self.seq {
                self.body = line.body;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
