//! What differs between two recorded sessions, turn by turn: a fork and its parent, say.

use std::fmt;

use serde::Serialize;

use super::comparison::calls_changed;
use super::past::{CallEnd, PastCall, PastTurn, Spent};
use crate::data::{Body, FailureCode, Outcome};
use crate::runtime::Shell;
use crate::words::{Error, ErrorKind, Result, SessionId, TurnId};

/// What differs between the turns of two sessions, which are compared by their numbers. Shown as text it is a list, one turn a
/// line.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Differences {
    /// The turns that differ, in order.
    pub turns: Vec<TurnDifference>,
    /// How many turns went alike.
    pub alike: usize,
    /// How many turns of the first session have no turn in the second one.
    pub not_run: usize,
    /// How many turns of the second session have none in the first one.
    pub further: usize,
}

/// What differs between two turns.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TurnDifference {
    /// Their number in both sessions, from 1.
    pub number: usize,
    /// The turn of the first session.
    pub base: TurnId,
    /// The turn of the second one.
    pub now: TurnId,
    /// What differs: the input, how it ended, the answer, models, the number of questions, calls with their arguments and ends, and
    /// calls that were not made because effects are off. What was spent alone makes no difference.
    pub what: Vec<String>,
    /// What the answers of the first one used.
    pub base_spent: Spent,
    /// What the answers of the second one used.
    pub now_spent: Spent,
}

impl Differences {
    /// What differs between a fork and its parent, of the turns since the fork.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the session is no fork; else those of [`PastTurn::of_session`], for both.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn of_fork(shell: &Shell, fork: SessionId) -> Result<Self> {
        let first = shell.history(fork).await?.next(2).await?;
        let Some(Body::SessionForked { parent, state, .. }) =
            first.into_iter().nth(1).map(|entry| entry.body)
        else {
            let message = format!("session {fork} is no fork: use `Differences::between`");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        };
        let before = state.value()["turns"].as_u64().unwrap_or(0);
        let since = |turn: &PastTurn| turn.number as u64 > before;
        let base: Vec<_> = PastTurn::of_session(shell, parent).await?.into_iter().filter(since).collect();
        Ok(Self::between(&base, &PastTurn::of_session(shell, fork).await?))
    }

    /// What differs between two lists of turns, each in the order of their numbers.
    pub fn between(base: &[PastTurn], now: &[PastTurn]) -> Self {
        let mut found = Self::default();
        for turn in base {
            let Some(of_now) = now.iter().find(|now| now.number == turn.number) else {
                found.not_run += 1;
                continue;
            };
            let what = what_differs(turn, of_now);
            if what.is_empty() {
                found.alike += 1;
                continue;
            }
            found.turns.push(TurnDifference {
                number: turn.number,
                base: turn.turn,
                now: of_now.turn,
                what,
                base_spent: turn.spent(),
                now_spent: of_now.spent(),
            });
        }
        found.further = now.iter().filter(|now| base.iter().all(|base| base.number != now.number)).count();
        found
    }

    /// Whether nothing differs, in one turn at least, and both have the same turns.
    pub fn is_same(&self) -> bool {
        self.turns.is_empty() && self.not_run == 0 && self.further == 0 && self.alike > 0
    }
}

fn what_differs(base: &PastTurn, now: &PastTurn) -> Vec<String> {
    let mut what = Vec::new();
    if base.input != now.input {
        what.push("another input".to_owned());
    }
    let (before, after) = (end(base), end(now));
    if before != after {
        what.push(format!("{before} -> {after}"));
    } else if base.outcome != now.outcome {
        what.push("another answer".to_owned());
    }
    let models = |turn: &PastTurn| {
        let mut names: Vec<&str> = turn.questions.iter().map(|asked| asked.model.as_str()).collect();
        names.dedup();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    if models(base) != models(now) {
        what.push(format!("model {} -> {}", models(base), models(now)));
    }
    let (asked, asks) = (base.questions.len(), now.questions.len());
    if asked != asks {
        what.push(format!("questions {asked} -> {asks}"));
    }
    what.extend(calls_changed(&base.calls, &now.calls));
    let withheld = now.calls.iter().filter(|call| is_withheld(call)).count();
    if withheld > 0 {
        what.push(format!("calls not made, for effects are off: {withheld}"));
    }
    what
}

fn is_withheld(call: &PastCall) -> bool {
    matches!(&call.end, Some(CallEnd::Failed(failure)) if failure.code == FailureCode::EffectsOff)
}

fn end(turn: &PastTurn) -> String {
    match &turn.outcome {
        None => "no end".to_owned(),
        Some(Outcome::Answered(_)) => "answered".to_owned(),
        Some(Outcome::Failed(failure)) => {
            let code = serde_json::to_value(failure.code).unwrap_or_default();
            format!("failed ({})", code.as_str().unwrap_or_default())
        }
        Some(Outcome::Cancelled) => "cancelled".to_owned(),
        Some(Outcome::Expired) => "expired".to_owned(),
        Some(Outcome::Abandoned { .. }) => "abandoned".to_owned(),
        Some(Outcome::Purged) => "purged".to_owned(),
    }
}

fn known(number: Option<u64>) -> String {
    number.map_or_else(|| "?".to_owned(), |number| number.to_string())
}

impl fmt::Display for TurnDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "turn {}: {}", self.number, self.what.join("; "))?;
        let (base, now) = (&self.base_spent, &self.now_spent);
        write!(f, "; tokens {} -> {}", known(base.tokens()), known(now.tokens()))?;
        write!(f, "; nano_usd {} -> {}", known(base.cost_nano_usd), known(now.cost_nano_usd))
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.turns.iter().try_for_each(|turn| writeln!(f, "{turn}"))?;
        let Self { turns, alike, not_run, further } = self;
        writeln!(
            f,
            "{} turns differ, {alike} went alike, {not_run} were not run, {further} are further",
            turns.len()
        )
    }
}
