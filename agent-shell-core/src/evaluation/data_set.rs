//! What an agent is evaluated with: cases, from a file or from what sessions recorded.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::past::PastTurn;
use crate::ports::SessionFilter;
use crate::runtime::Shell;
use crate::words::{ErrorKind, Result};

/// Sessions listed at once.
const PAGE: usize = 256;

/// Of so many bad lines an error tells.
const BAD_LINES_TOLD: usize = 10;

/// One input, and what is expected of it.
///
/// As a line of a file it is one JSON object: `{"name":"refund","input":"Please refund A-17","expected":"refunded","tags":["money"]}`.
/// `name` and `input` must be there, and no other members than these five.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Case {
    /// By which it is found again in results; unique within its data set.
    pub name: String,
    /// The inputs of the turns before it in its session, the oldest first: they are run, and nothing of them is measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Value>,
    /// The turn's input.
    pub input: Value,
    /// What scorers compare with; none where nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Value>,
    /// For choosing cases, and for reading results.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
}

impl Case {
    /// A case of which nothing is expected.
    pub fn new(name: impl Into<String>, input: impl Into<Value>) -> Self {
        let (before, expected, tags) = (Vec::new(), None, BTreeSet::new());
        Self { name: name.into(), before, input: input.into(), expected, tags }
    }

    /// What is expected.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<Value>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// One tag more.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.insert(tag.into());
        self
    }

    /// One turn more that is run before it, in the same session.
    #[must_use]
    pub fn after(mut self, input: impl Into<Value>) -> Self {
        self.before.push(input.into());
        self
    }
}

/// Cases, each with a name of its own, in the order in which they were added.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DataSet {
    cases: Vec<Case>,
}

/// A line that is no case.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadLine {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it, and what to do. It quotes no value of the line but a doubled name.
    pub problem: String,
}

/// Why a data set can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataSetError {
    /// The file can't be read.
    #[error("the data set can't be read: {0}")]
    Io(#[from] std::io::Error),
    /// Some lines are no cases: all of these, in their order.
    #[error("{}", told(.0))]
    Lines(Vec<BadLine>),
}

fn told(lines: &[BadLine]) -> String {
    let mut text = format!("{} lines of the data set are no cases", lines.len());
    for BadLine { line, problem } in lines.iter().take(BAD_LINES_TOLD) {
        text.push_str(&format!("\nline {line}: {problem}"));
    }
    if lines.len() > BAD_LINES_TOLD {
        text.push_str(&format!("\nand {} more", lines.len() - BAD_LINES_TOLD));
    }
    text
}

impl DataSet {
    /// No cases.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads JSON Lines: one [`Case`] a line; empty lines are passed over. It is read to the end, so that all that is wrong is
    /// told at once.
    ///
    /// # Errors
    /// [`DataSetError::Lines`].
    pub fn read(text: &str) -> std::result::Result<Self, DataSetError> {
        let (mut set, mut bad) = (Self::new(), Vec::new());
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let problem = match serde_json::from_str::<Case>(line) {
                Err(error) if error.is_data() => {
                    format!(
                        "{}: write an object with `name`, `input`, and if need be `expected`, `tags` and `before`",
                        what(&error)
                    )
                }
                Err(error) => {
                    format!(
                        "it is no JSON from column {} on: write one whole object on one line",
                        error.column()
                    )
                }
                Ok(case) => match set.add(case) {
                    Ok(()) => continue,
                    Err(case) => format!("another case is called `{}`: give each its own name", case.name),
                },
            };
            bad.push(BadLine { line: index + 1, problem });
        }
        if bad.is_empty() { Ok(set) } else { Err(DataSetError::Lines(bad)) }
    }

    /// Reads a file as [`read`](Self::read) does. It blocks while it does.
    ///
    /// # Errors
    /// [`DataSetError`].
    pub fn open(path: impl AsRef<Path>) -> std::result::Result<Self, DataSetError> {
        Self::read(&std::fs::read_to_string(path)?)
    }

    /// Makes cases of the turns that sessions of a shell recorded: of each turn of each session that the filter lets through, the
    /// oldest session first, the case that `choose` makes of it, if it does. [`PastTurn::case`] makes one that expects the
    /// recorded answer. A case with a name that is there already is passed over, and so are sessions that were purged or
    /// archived.
    ///
    /// The cases hold what users said, in the clear: mind where they are kept.
    ///
    /// # Errors
    /// What the store or the key store says.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn of_sessions(
        shell: &Shell,
        filter: SessionFilter,
        mut choose: impl FnMut(&PastTurn) -> Option<Case>,
    ) -> Result<Self> {
        let (mut set, mut after) = (Self::new(), None);
        loop {
            let page = shell.sessions(filter.clone(), after, PAGE).await?;
            for entry in &page {
                let turns = match PastTurn::of_session(shell, entry.id).await {
                    Err(error) if matches!(error.kind(), ErrorKind::Purged | ErrorKind::Archived) => continue,
                    turns => turns?,
                };
                for case in turns.iter().filter_map(&mut choose) {
                    // Which of two is meant, nobody can say later: the first stays.
                    _ = set.add(case);
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.id),
                _ => return Ok(set),
            }
        }
    }

    /// Adds a case.
    ///
    /// # Errors
    /// Gives the case back when there is one of its name.
    #[expect(clippy::result_large_err, reason = "it is the caller's own case, and rare")]
    pub fn add(&mut self, case: Case) -> std::result::Result<(), Case> {
        if self.cases.iter().any(|there| there.name == case.name) {
            return Err(case);
        }
        self.cases.push(case);
        Ok(())
    }

    /// The cases, in their order.
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// Only the cases that have this tag.
    #[must_use]
    pub fn tagged(mut self, tag: &str) -> Self {
        self.cases.retain(|case| case.tags.contains(tag));
        self
    }

    /// Each case so many times, for models that answer otherwise each time: `refund`, `refund (2)`, `refund (3)`.
    #[must_use]
    pub fn repeated(&self, times: usize) -> Self {
        let named = |case: &Case, time: usize| match time {
            1 => case.clone(),
            _ => Case { name: format!("{} ({time})", case.name), ..case.clone() },
        };
        let cases = self.cases.iter().flat_map(|case| (1..=times.max(1)).map(move |time| named(case, time)));
        Self { cases: cases.collect() }
    }

    /// The cases as JSON Lines, as [`read`](Self::read) reads them.
    pub fn to_lines(&self) -> String {
        let line = |case: &Case| format!("{}\n", serde_json::json!(case));
        self.cases.iter().map(line).collect()
    }
}

/// What serde says, without the place: a line is one value, and its number is told already.
fn what(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}
