//! Printing what the journal holds, for people.

use std::io::{self, Write};
use std::process::ExitCode;

use agent_shell_core::runtime::ExportError;
use agent_shell_core::words::{Pseudonym, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::Trouble;
use crate::args::Options;
use crate::progress::printable;
use crate::state::journal_in;
use crate::verify::reading;

/// Prints every record of every session.
pub(crate) async fn history(options: &Options) -> Result<ExitCode, Trouble> {
    let shell = reading(&journal_in(&options.state)?).await?;
    let mut lines = Lines { part: Vec::new(), output: io::stdout() };
    let exported = shell.export(&mut lines, true).await;
    shell.shutdown().await?;
    match exported {
        // Who reads has read enough.
        Err(ExportError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
        other => drop(other?),
    }
    Ok(ExitCode::SUCCESS)
}

/// A record as an export has it.
#[derive(Deserialize)]
struct Line {
    time_ms: Timestamp,
    seq: u64,
    kind: String,
    actor: String,
    #[serde(default)]
    body: Value,
}

/// Takes an export, and prints a line for each record.
struct Lines<W> {
    part: Vec<u8>,
    output: W,
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.extend_from_slice(bytes);
        while let Some(end) = memchr::memchr(b'\n', &self.part) {
            let line: Line = serde_json::from_slice(&self.part[..end])?;
            self.part.drain(..=end);
            writeln!(self.output, "{}", printable(&line.readable()))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

impl Line {
    fn readable(&self) -> String {
        let Self { time_ms, seq, kind, .. } = self;
        let actor = match &self.actor {
            host if *host == Pseudonym::HOST.to_string() => "host",
            runtime if *runtime == Pseudonym::RUNTIME.to_string() => "runtime",
            // The name is sealed under its own key; this is what stands in the chain.
            named => &format!("named {}", named.get(..8).unwrap_or(named)),
        };
        format!("{time_ms} {seq:>5}  {kind:<15} {actor:<14} {}", self.about()).trim_end().to_owned()
    }

    /// What the record is about: its step, or its session's name, and how it ended.
    fn about(&self) -> String {
        let text = |pointer: &str| self.body.pointer(pointer).and_then(Value::as_str);
        let mut about = text("/step").or(text("/name")).unwrap_or_default().to_owned();
        let attempt = self.body.pointer("/attempt").and_then(Value::as_u64).filter(|attempt| *attempt > 1);
        if let Some(attempt) = attempt {
            about.push_str(&format!(", attempt {attempt}"));
        }
        if let Some(undone) = self.body.pointer("/steps").and_then(Value::as_object) {
            about.push_str(&format!("steps that undo others: {}", undone.len()));
        }
        let why = text("/reason").or(text("/failure/message")).or(text("/outcome/failed/message"));
        if let Some(why) = why {
            about.push_str(&format!(": {why}"));
        }
        about
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_line_however_it_arrives() {
        let record = r#"{"time_ms":1000,"seq":7,"kind":"step.started","actor":"686f73742e2e2e2e2e2e2e2e2e2e2e2e","body":{"step":"a\u0007","attempt":2}}"#;
        let mut lines = Lines { part: Vec::new(), output: Vec::new() };
        for part in format!("{record}\n").as_bytes().chunks(5) {
            lines.write_all(part).unwrap();
        }
        let printed = String::from_utf8(lines.output).unwrap();
        assert_eq!(
            printed,
            "1970-01-01T00:00:01.000Z     7  step.started    host           a\u{fffd}, attempt 2\n"
        );
    }
}
