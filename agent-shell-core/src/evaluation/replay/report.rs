//! What came of a replay.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

use super::divergence::Divergence;
use crate::words::SessionId;

/// What came of a replay, session by session.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ReplayReport {
    /// The sessions, in the order of the tape.
    pub sessions: Vec<ReplayedSession>,
}

/// What came of the replay of one session.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ReplayedSession {
    /// The session; none where the record is a recorder's file.
    pub session: Option<SessionId>,
    /// The turns that went as recorded.
    pub turns: usize,
    /// The questions that were answered from the record.
    pub questions: usize,
    /// Of these, those whose request the record does not tell, so that it was not compared.
    pub unchecked: usize,
    /// The calls that were answered from the record.
    pub calls: usize,
    /// The first thing that differs.
    pub divergence: Option<Divergence>,
    /// Why the rest was not replayed.
    pub left_out: Option<String>,
    /// How many turns that is.
    pub turns_left_out: usize,
}

impl ReplayReport {
    /// The first thing that differs, in the first session in which something does.
    pub fn divergence(&self) -> Option<&Divergence> {
        self.sessions.iter().find_map(|session| session.divergence.as_ref())
    }

    /// Whether nothing differs, in one turn at least.
    pub fn is_same(&self) -> bool {
        self.divergence().is_none() && self.sessions.iter().any(|session| session.turns > 0)
    }

    /// What a program in CI ends with: 0 when [`is_same`](Self::is_same), else 1.
    pub fn exit_code(&self) -> ExitCode {
        if self.is_same() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, of) in self.sessions.iter().enumerate() {
            match of.session {
                Some(session) => write!(f, "session {session}: ")?,
                None => write!(f, "conversation {}: ", place + 1)?,
            }
            writeln!(f, "{} turns, {} questions and {} calls as recorded", of.turns, of.questions, of.calls)?;
            if of.unchecked > 0 {
                writeln!(f, "  {} questions could not be compared", of.unchecked)?;
            }
            if let Some(divergence) = &of.divergence {
                writeln!(f, "  {}", divergence.to_string().replace('\n', "\n  "))?;
            }
            if let Some(reason) = &of.left_out {
                writeln!(f, "  {} turns left out, from {reason}", of.turns_left_out)?;
            }
        }
        Ok(())
    }
}
