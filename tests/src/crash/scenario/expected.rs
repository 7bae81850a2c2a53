//! What must come of a turn, worked out from the drawing alone.

use std::collections::BTreeMap;

use agent_shell_core::{FailureCode, Reducer};
use serde_json::{Map, Value, json};

use super::{Act, Fate, Scenario, Source, Work, number_of};

/// How a turn must end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expected {
    Answer(Value),
    /// By the failure of this step.
    Failure {
        step: String,
        code: FailureCode,
    },
}

impl Scenario {
    /// How the turn must end, when no operator gives a step up.
    pub(crate) fn expected(&self) -> Expected {
        match self.steps.iter().find(|step| step.fate != Fate::Succeeds) {
            Some(step) if step.fate == Fate::Denied => {
                Expected::Failure { step: step.id.clone(), code: FailureCode::Denied }
            }
            Some(step) => Expected::Failure { step: step.id.clone(), code: FailureCode::NotApplied },
            None => Expected::Answer(self.answer()),
        }
    }

    /// What the tool of a step is given; none for a step that waits.
    pub(crate) fn work_of(&self, place: usize) -> Option<Work> {
        matches!(self.steps[place].act, Act::Tool(_)).then(|| self.work_with(place, &self.numbers(place)))
    }

    /// The numbers of the steps before `end`.
    fn numbers(&self, end: usize) -> Vec<Option<u64>> {
        let mut numbers = Vec::with_capacity(end);
        for place in 0..end {
            let number = match self.steps[place].act {
                Act::Tool(kind) => Some(number_of(kind, &self.work_with(place, &numbers))),
                Act::Signal => Some(self.signal_number(place)),
                Act::Timer { .. } | Act::Approval => None,
            };
            numbers.push(number);
        }
        numbers
    }

    fn work_with(&self, place: usize, numbers: &[Option<u64>]) -> Work {
        let spec = &self.steps[place];
        let of = spec.of.iter().filter_map(|source| match *source {
            Source::Step(place) => numbers.get(place).copied().flatten(),
            Source::Sum => Some(self.writers("sum").filter_map(|writer| *numbers.get(writer)?).sum()),
        });
        Work { own: spec.own, of: of.collect(), refuse: spec.fate == Fate::Refused }
    }

    fn writers<'a>(&'a self, key: &'a str) -> impl Iterator<Item = usize> + 'a {
        let writes =
            move |place: &usize| self.steps[*place].writes.iter().any(|(written, ..)| *written == key);
        (0..self.steps.len()).filter(writes)
    }

    fn answer(&self) -> Value {
        let numbers = self.numbers(self.steps.len());
        let named: Map<String, Value> = self
            .steps
            .iter()
            .zip(&numbers)
            .filter_map(|(step, number)| Some((step.id.clone(), json!((*number)?))))
            .collect();
        let mut answer = json!({ "numbers": named });
        for (key, reducer) in [
            ("sum", Reducer::Sum),
            ("max", Reducer::Max),
            ("min", Reducer::Min),
            ("set", Reducer::Union),
            ("trail", Reducer::Append),
        ] {
            let written: Vec<u64> = self.writers(key).filter_map(|place| numbers[place]).collect();
            answer[key] = merged(reducer, &written);
        }
        answer
    }
}

/// What a key holds in the end, after `written` in the order of the plan.
fn merged(reducer: Reducer, written: &[u64]) -> Value {
    if written.is_empty() {
        return Value::Null;
    }
    match reducer {
        Reducer::Sum => json!(written.iter().sum::<u64>()),
        Reducer::Max => json!(written.iter().max()),
        Reducer::Min => json!(written.iter().min()),
        Reducer::Append => json!(written),
        // A union is sorted by its items' text.
        _ => {
            let by_text: BTreeMap<String, u64> =
                written.iter().map(|number| number % 30).map(|item| (item.to_string(), item)).collect();
            json!(by_text.into_values().collect::<Vec<_>>())
        }
    }
}
