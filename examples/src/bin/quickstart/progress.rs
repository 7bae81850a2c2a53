//! Tells how the work goes: a few lines redrawn in a terminal, plain lines in a pipe.
//!
//! It knows nothing of the runtime, and never fails the work: what can't be shown is not shown.

#[cfg(test)]
mod tests;

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

/// Lines that are redrawn. When there are more steps, those that ended first are left out.
const MAX_LINES: usize = 12;
const DEFAULT_COLUMNS: usize = 80;

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Waiting,
    /// At work; the text says how far ("57 of 200"), and may be empty.
    Running(String),
    /// Ended well; the text says with what, and may be empty.
    Done(String),
    /// Stopped until a person acts; the text says what is asked.
    Held(String),
    Failed(String),
}

/// A display that many tasks may tell their state.
pub(crate) struct Progress {
    display: Mutex<Display>,
}

struct Display {
    output: Box<dyn Write + Send>,
    /// The width that lines are cut to, when they are redrawn. `None` for plain lines.
    columns: Option<usize>,
    /// In the order in which they were first named.
    steps: Vec<(String, State)>,
    /// Lines that the next drawing writes over.
    drawn: usize,
}

impl Progress {
    /// Shows progress on standard output.
    pub(crate) fn on_stdout() -> Self {
        let columns = std::io::stdout().is_terminal().then(columns);
        Self::new(Box::new(std::io::stdout()), columns)
    }

    /// Shows progress on standard error, where standard output is for something else.
    pub(crate) fn on_stderr() -> Self {
        let columns = std::io::stderr().is_terminal().then(columns);
        Self::new(Box::new(std::io::stderr()), columns)
    }

    fn new(output: Box<dyn Write + Send>, columns: Option<usize>) -> Self {
        Self { display: Mutex::new(Display { output, columns, steps: Vec::new(), drawn: 0 }) }
    }

    /// Says how far a step is. In a pipe only a change of the kind of state is a line, so that a
    /// count that goes up is not hundreds of them.
    pub(crate) fn step(&self, name: &str, state: State) {
        let mut display = self.display.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = display.set(name, state.clone());
        if display.columns.is_some() {
            display.draw();
        } else if changed && state != State::Waiting {
            let line = line(name, &state);
            let _ = writeln!(display.output, "{line}");
            let _ = display.output.flush();
        }
    }

    /// Prints a line that stays, above the steps.
    pub(crate) fn note(&self, text: &str) {
        let mut display = self.display.lock().unwrap_or_else(PoisonError::into_inner);
        display.erase();
        let _ = writeln!(display.output, "{}", printable(text));
        if display.columns.is_some() {
            display.draw();
        }
        let _ = display.output.flush();
    }

    /// Leaves what is drawn where it is, and forgets the steps: what follows, a question say, is
    /// printed below.
    pub(crate) fn rest(&self) {
        let mut display = self.display.lock().unwrap_or_else(PoisonError::into_inner);
        display.drawn = 0;
        display.steps.clear();
        let _ = display.output.flush();
    }
}

impl Display {
    /// Remembers a state, and says whether it is of another kind than before.
    fn set(&mut self, name: &str, state: State) -> bool {
        match self.steps.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => {
                let changed = std::mem::discriminant(known) != std::mem::discriminant(&state);
                *known = state;
                changed
            }
            None => {
                self.steps.push((name.to_owned(), state));
                true
            }
        }
    }

    fn draw(&mut self) {
        let columns = self.columns.unwrap_or(DEFAULT_COLUMNS);
        self.erase();
        let mut surplus = self.steps.len().saturating_sub(MAX_LINES);
        let mut lines = Vec::new();
        for (name, state) in &self.steps {
            if surplus > 0 && matches!(state, State::Done(_)) {
                surplus -= 1;
                continue;
            }
            lines.push(line(name, state));
        }
        lines.truncate(MAX_LINES);
        for line in &lines {
            // A line that wraps would be two lines, and the next drawing would miss one.
            let line: String = line.chars().take(columns.saturating_sub(1)).collect();
            let _ = writeln!(self.output, "{line}");
        }
        self.drawn = lines.len();
        let _ = self.output.flush();
    }

    /// Goes back over what was drawn and clears it.
    fn erase(&mut self) {
        if self.drawn > 0 {
            let _ = write!(self.output, "\x1b[{}A\x1b[J", self.drawn);
            self.drawn = 0;
        }
    }
}

fn line(name: &str, state: &State) -> String {
    let (mark, text) = match state {
        State::Waiting => ("waiting", ""),
        State::Running(text) => ("running", text.as_str()),
        State::Done(text) => ("done", text.as_str()),
        State::Held(text) => ("held", text.as_str()),
        State::Failed(text) => ("failed", text.as_str()),
    };
    let colon = if text.is_empty() { "" } else { ": " };
    printable(&format!("{mark:<8} {name}{colon}{text}"))
}

/// A name from a folder must not drive the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

/// The terminal's width, as the shell tells it.
fn columns() -> usize {
    let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    told.filter(|columns| *columns >= 20).unwrap_or(DEFAULT_COLUMNS)
}
