//! Asking the person at the terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use agent_shell_core::Actor;
use agent_shell_core::words::InvalidName;

use crate::args::Options;
use crate::progress::printable;

/// Lines of a text that are shown at once.
const FIRST_LINES: usize = 24;

/// Who answers, if anybody.
pub(crate) struct Operator {
    reached: Reached,
    actor: Actor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// `--yes` answers everything.
    Yes,
    Stdout,
    Stderr,
    Nobody,
}

/// A question, and what one must see to answer it.
pub(crate) struct Question {
    pub(crate) ask: &'static str,
    pub(crate) about: Vec<String>,
    /// A long text, of which the first lines are shown, and the rest when asked for.
    pub(crate) text: Option<String>,
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    No,
    Nobody,
}

impl Operator {
    pub(crate) fn of(options: &Options) -> Result<Self, InvalidName> {
        let can_answer = io::stdin().is_terminal();
        let reached = if options.yes {
            Reached::Yes
        } else if can_answer && !options.json && io::stdout().is_terminal() {
            Reached::Stdout
        } else if can_answer && io::stderr().is_terminal() {
            Reached::Stderr
        } else {
            Reached::Nobody
        };
        let user = std::env::var("USER").ok().filter(|user| !user.is_empty());
        let name =
            if options.yes { "--yes".to_owned() } else { user.unwrap_or_else(|| "operator".to_owned()) };
        Ok(Self { reached, actor: Actor::named(name)? })
    }

    /// Under whose name the answers are journaled.
    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Whether everything is answered with yes, and nobody is asked.
    pub(crate) fn is_yes(&self) -> bool {
        self.reached == Reached::Yes
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn answer(&self, question: Question) -> Answer {
        let reached = self.reached;
        match reached {
            Reached::Yes => return Answer::Yes,
            Reached::Nobody => return Answer::Nobody,
            Reached::Stdout | Reached::Stderr => {}
        }
        // A terminal is read by a thread that may block.
        #[allow(clippy::disallowed_methods)]
        let answer = tokio::task::spawn_blocking(move || {
            let input = io::stdin().lock();
            match reached {
                Reached::Stdout => ask(&question, input, io::stdout()),
                _ => ask(&question, input, io::stderr()),
            }
        });
        answer.await.ok().and_then(Result::ok).unwrap_or(Answer::Nobody)
    }
}

fn ask(question: &Question, mut input: impl BufRead, mut output: impl Write) -> io::Result<Answer> {
    let text = question.text.as_deref().unwrap_or_default();
    let hidden = text.lines().count().saturating_sub(FIRST_LINES);
    writeln!(output)?;
    for line in &question.about {
        writeln!(output, "{}", printable(line))?;
    }
    show(&mut output, text.lines().take(FIRST_LINES))?;
    let choices = if hidden > 0 {
        writeln!(output, "  | ... and {hidden} more lines")?;
        "yes, no, or show all"
    } else {
        "yes or no"
    };
    loop {
        write!(output, "{} ({choices}) ", question.ask)?;
        output.flush()?;
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            writeln!(output)?;
            return Ok(Answer::Nobody);
        }
        match line.trim().to_lowercase().as_str() {
            "y" | "yes" => return Ok(Answer::Yes),
            "n" | "no" => return Ok(Answer::No),
            "s" | "show" | "show all" | "a" | "all" => show(&mut output, text.lines())?,
            _ => {}
        }
    }
}

fn show<'a>(output: &mut impl Write, lines: impl Iterator<Item = &'a str>) -> io::Result<()> {
    for line in lines {
        writeln!(output, "  | {}", printable(line))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, typed: &str) -> (Answer, String) {
        let about = vec!["about \x1b[2J".to_owned()];
        let question = Question { ask: "Do it?", about, text: Some(text.to_owned()) };
        let mut output = Vec::new();
        let answer = ask(&question, typed.as_bytes(), &mut output).unwrap();
        (answer, String::from_utf8(output).unwrap())
    }

    #[test]
    fn nothing_but_a_clear_answer_counts() {
        assert_eq!(check("text", "y\n").0, Answer::Yes);
        assert_eq!(check("text", "perhaps\n\nNo\n").0, Answer::No);
        assert_eq!(check("text", "").0, Answer::Nobody);
        assert_eq!(check("text", "perhaps").0, Answer::Nobody);
        assert_eq!(check("text", "perhaps\ny").1.matches("Do it?").count(), 2);
    }

    #[test]
    fn a_long_text_is_shown_in_full_when_asked_for() {
        let text = "line\n".repeat(FIRST_LINES) + "the last\x1b[2J line\n";
        let (answer, shown) = check(&text, "n\n");
        assert_eq!(answer, Answer::No);
        assert!(!shown.contains("the last") && shown.contains("and 1 more lines"), "{shown}");
        let shown = check(&text, "show\nn\n").1;
        assert!(shown.contains("the last") && !shown.contains('\x1b'), "{shown}");
    }
}
