//! The turn that is being replayed: what of its record was used, and what differed.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::difference::{Difference, differences};
use super::divergence::{Differs, Divergence, of_requests};
use super::tape::TapedTurn;
use crate::data::{Answer, Outcome};
use crate::ports::ModelRequest;
use crate::words::{Error, Result, StepId};

/// What a question or a call is told once something differs; the record says nothing of what would follow.
const DIVERGED: &str = "the replay differs from its record here";

/// Where the turn that is being replayed stands.
#[derive(Default)]
pub(super) struct Stage {
    playing: Mutex<Option<Playing>>,
}

struct Playing {
    turn: TapedTurn,
    asked: Vec<bool>,
    called: Vec<bool>,
    unchecked: usize,
    /// With the places of their steps in the record: the first one counts, whichever came first.
    found: Vec<(usize, Divergence)>,
}

/// What came of a turn.
#[derive(Default)]
pub(super) struct Played {
    pub(super) questions: usize,
    pub(super) calls: usize,
    pub(super) unchecked: usize,
    pub(super) divergence: Option<Divergence>,
}

impl Stage {
    /// The next turn.
    pub(super) fn begin(&self, turn: &TapedTurn) {
        let (asked, called) = (vec![false; turn.questions.len()], vec![false; turn.calls.len()]);
        let playing = Playing { turn: turn.clone(), asked, called, unchecked: 0, found: Vec::new() };
        *self.playing.lock().unwrap_or_else(PoisonError::into_inner) = Some(playing);
    }

    /// The turn has ended so.
    pub(super) fn end(&self, outcome: Result<Outcome>) -> Played {
        let playing = self.playing.lock().unwrap_or_else(PoisonError::into_inner).take();
        playing.map(|playing| playing.end(outcome)).unwrap_or_default()
    }

    /// The recorded answer to a question, or why it was not answered.
    pub(super) fn question(
        &self,
        step: &StepId,
        now: &ModelRequest,
    ) -> std::result::Result<Arc<Answer>, String> {
        self.with(|playing| playing.question(step, now))
    }

    /// The recorded output of a call, or why it failed.
    pub(super) fn call(
        &self,
        step: &StepId,
        tool: &str,
        now: &Value,
    ) -> std::result::Result<Arc<Value>, String> {
        self.with(|playing| playing.call(step, tool, now))
    }

    /// A tool does not take an input.
    pub(super) fn refused(&self, tool: &str, input: &Value, problem: &str) {
        _ = self.with(|playing| {
            playing.refused(tool, input, problem);
            Ok(())
        });
    }

    fn with<T>(
        &self,
        play: impl FnOnce(&mut Playing) -> std::result::Result<T, String>,
    ) -> std::result::Result<T, String> {
        let mut playing = self.playing.lock().unwrap_or_else(PoisonError::into_inner);
        // What a turn left behind that did not end in its time has no record.
        playing.as_mut().map_or_else(|| Err(DIVERGED.to_owned()), play)
    }
}

impl Playing {
    fn question(&mut self, step: &StepId, now: &ModelRequest) -> std::result::Result<Arc<Answer>, String> {
        let questions = &self.turn.questions;
        let is_of_step = |place: &usize| questions[*place].step.as_ref() == Some(step);
        let is_same =
            |place: &usize| questions[*place].request.as_deref().is_none_or(|request| request == now);
        let is_free = |place: &usize| !self.asked[*place];
        let all = || 0..questions.len();
        // The same question of the same step; or under another name; or the one that it seems to have become.
        let found = (all().find(|place| is_of_step(place) && is_same(place)))
            .or_else(|| {
                all().find(|place| is_free(place) && questions[*place].request.is_some() && is_same(place))
            })
            .or_else(|| all().find(is_of_step))
            .or_else(|| all().find(is_free));
        let Some(place) = found else {
            let now = json!(now.messages.last());
            let more = Difference { pointer: "/messages".into(), recorded: None, now: Some(now) };
            return self.differ(usize::MAX, Some(step), Differs::QuestionMore, vec![more]);
        };
        let recorded = questions[place].clone();
        match recorded.request.as_deref().map(|recorded| of_requests(recorded, now)) {
            Some(Some((what, differences))) => {
                return self.differ(recorded.place, Some(step), what, differences);
            }
            None if !self.asked[place] => self.unchecked += 1,
            _ => {}
        }
        self.asked[place] = true;
        match recorded.answer {
            Some(answer) => answer,
            None => self.differ(recorded.place, Some(step), Differs::NotRecorded, Vec::new()),
        }
    }

    fn call(&mut self, step: &StepId, tool: &str, now: &Value) -> std::result::Result<Arc<Value>, String> {
        let calls = &self.turn.calls;
        let is_of_step = |place: &usize| calls[*place].step.as_ref() == Some(step);
        let is_of_tool = |place: &usize| calls[*place].tool == tool;
        let is_same = |place: &usize| {
            is_of_tool(place) && calls[*place].input.as_deref().is_none_or(|input| input == now)
        };
        let is_free = |place: &usize| !self.called[*place];
        let all = || 0..calls.len();
        let found = (all().find(|place| is_of_step(place) && is_same(place)))
            .or_else(|| all().find(|place| is_free(place) && is_same(place)))
            .or_else(|| all().find(is_of_step))
            .or_else(|| all().find(|place| is_free(place) && is_of_tool(place)));
        let Some(place) = found else {
            let more = Difference { pointer: String::new(), recorded: None, now: Some(now.clone()) };
            return self.differ(
                usize::MAX,
                Some(step),
                Differs::CallMore { tool: tool.to_owned() },
                vec![more],
            );
        };
        let recorded = calls[place].clone();
        if recorded.tool != tool {
            let one = json!({ "tool": recorded.tool, "input": recorded.input });
            let other = json!({ "tool": tool, "input": now });
            return self.differ(recorded.place, Some(step), Differs::Call, differences(&one, &other));
        }
        if let Some(input) = recorded.input.as_deref().filter(|input| *input != now) {
            return self.differ(recorded.place, Some(step), Differs::Call, differences(input, now));
        }
        self.called[place] = true;
        match recorded.end {
            Some(end) => end,
            None => self.differ(recorded.place, Some(step), Differs::NotRecorded, Vec::new()),
        }
    }

    /// Arguments that a tool took once, and does not take now.
    fn refused(&mut self, tool: &str, input: &Value, problem: &str) {
        let is_it = |call: &&super::tape::TapedCall| {
            let was_taken = !matches!(&call.end, Some(Err(message)) if message == problem);
            call.tool == tool && call.input.as_deref() == Some(input) && was_taken
        };
        if let Some(call) = self.turn.calls.iter().find(is_it).cloned() {
            let what = Differs::Arguments { problem: problem.to_owned() };
            _ = self.differ::<()>(call.place, call.step.as_ref(), what, Vec::new());
        }
    }

    fn differ<T>(
        &mut self,
        place: usize,
        step: Option<&StepId>,
        what: Differs,
        differences: Vec<Difference>,
    ) -> std::result::Result<T, String> {
        let (number, turn, step) = (self.turn.number, self.turn.id, step.cloned());
        self.found.push((place, Divergence { number, turn, step, what, differences }));
        Err(DIVERGED.to_owned())
    }

    fn end(mut self, outcome: Result<Outcome>) -> Played {
        // Why a turn failed says more than what it therefore did not do; else what was not done says more than the answer.
        let fails = !matches!(outcome, Ok(Outcome::Answered(_)));
        if self.found.is_empty() && fails {
            self.compare(&outcome);
        }
        if self.found.is_empty() {
            self.look_for_less();
        }
        if self.found.is_empty() {
            self.compare(&outcome);
        }
        let count = |used: &[bool]| used.iter().filter(|used| **used).count();
        let (questions, calls) = (count(&self.asked), count(&self.called));
        let first = self
            .found
            .into_iter()
            .min_by(|(one, of_one), (other, of_other)| (one, &of_one.step).cmp(&(other, &of_other.step)));
        Played { questions, calls, unchecked: self.unchecked, divergence: first.map(|(_, first)| first) }
    }

    /// What is recorded and did not come, but for what was not begun then either.
    fn look_for_less(&mut self) {
        let turn = self.turn.clone();
        for (question, asked) in turn.questions.iter().zip(self.asked.clone()) {
            if question.was_begun && !asked {
                let (place, step) = (question.place, question.step.as_ref());
                _ = self.differ::<()>(place, step, Differs::QuestionLess, Vec::new());
            }
        }
        for (call, called) in turn.calls.iter().zip(self.called.clone()) {
            if call.was_begun && !called {
                let recorded = call.input.as_deref().cloned();
                let less = Difference { pointer: String::new(), recorded, now: None };
                let what = Differs::CallLess { tool: call.tool.clone() };
                _ = self.differ::<()>(call.place, call.step.as_ref(), what, vec![less]);
            }
        }
    }

    fn compare(&mut self, outcome: &Result<Outcome>) {
        match (outcome, self.turn.outcome.clone()) {
            (Err(error), _) => _ = self.differ::<()>(usize::MAX, None, no_outcome(error), Vec::new()),
            (Ok(now), Some(recorded)) => {
                let (recorded, now) = (end_of(&recorded), end_of(now));
                if recorded != now {
                    let differences = differences(&recorded, &now);
                    _ = self.differ::<()>(usize::MAX, None, Differs::Outcome, differences);
                }
            }
            (Ok(_), None) => {}
        }
    }
}

fn no_outcome(error: &Error) -> Differs {
    Differs::NoOutcome { problem: error.to_string() }
}

/// An outcome as it is compared: a stand-in fails with the recorded words, and not always with the recorded code.
fn end_of(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Failed(failure) => json!({ "failed": { "step": failure.step, "message": failure.message } }),
        other => json!(other),
    }
}
