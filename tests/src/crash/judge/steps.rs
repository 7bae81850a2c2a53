//! Steps: each ends once, in its order, and is repeated only as its class allows.

use std::collections::BTreeSet;

use agent_shell_core::data::{Body, GuardPlace, WaitEnd, WaitFor};
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::{Pseudonym, Seq, Timestamp};
use agent_shell_core::{FailureCode, Resolution};
use serde_json::Value;

use super::journal::TurnLog;
use super::{Rule, Verdict};
use crate::crash::scenario::{Act, Scenario, Source, StepSpec, ToolKind, output_of};
use crate::recorder::Class;

/// What is wrong with a step.
type Found = Vec<(Rule, String)>;

/// How a step ended.
pub(crate) enum StepEnd {
    Succeeded(Option<Value>),
    Failed,
}

impl TurnLog {
    /// The ends of a step with their places; one, if all is well.
    pub(crate) fn ends_of(&self, step: &str) -> Vec<(Seq, StepEnd)> {
        let entries = self.steps.get(step).map(Vec::as_slice).unwrap_or_default();
        entries.iter().filter_map(|entry| Some((entry.seq, self.end_in(step, entry)?))).collect()
    }

    fn end_in(&self, step: &str, entry: &HistoryEntry) -> Option<StepEnd> {
        match &entry.body {
            Body::StepSucceeded { output, .. } => Some(StepEnd::Succeeded(Some((*output.value()).clone()))),
            Body::StepResolved { resolution: Resolution::Applied(output), .. } => {
                Some(StepEnd::Succeeded(Some(output.clone())))
            }
            // The approval of a call is no end.
            Body::WaitEnded { end: WaitEnd::Approved, .. } if self.tools.contains_key(step) => None,
            Body::WaitEnded { .. } => Some(StepEnd::Succeeded(None)),
            Body::StepFailed { .. } => Some(StepEnd::Failed),
            _ => None,
        }
    }

    /// Where a step succeeded.
    pub(crate) fn success(&self, step: &str) -> Option<Seq> {
        self.ends_of(step).iter().find(|(_, end)| matches!(end, StepEnd::Succeeded(_))).map(|(seq, _)| *seq)
    }

    /// The step whose being given up came first.
    pub(crate) fn first_given_up(&self) -> Option<String> {
        let all = self.steps.values().flatten();
        let given_up = all.filter(|entry| {
            matches!(&entry.body, Body::StepFailed { failure, .. } if failure.code == FailureCode::ResolvedNotApplied)
        });
        let first = given_up.min_by_key(|entry| entry.seq)?;
        first.body.step().map(ToString::to_string)
    }
}

pub(crate) fn check(seed: u64, turn: &TurnLog, people: &BTreeSet<Pseudonym>, verdict: &mut Verdict) {
    let Some(key) = turn.key else { return };
    if key.talks() {
        return check_calls(turn, people, verdict);
    }
    let scenario = Scenario::draw(seed, key);
    for step in turn.steps.keys().filter(|step| scenario.place(step).is_none()) {
        verdict.say(Rule::Step, format!("{key} step {step}: the plan has no such step"));
    }
    for (place, spec) in scenario.steps.iter().enumerate() {
        let Some(entries) = turn.steps.get(&spec.id) else { continue };
        let mut found = Found::new();
        check_ends(&scenario, place, turn, &mut found);
        check_order(&scenario, spec, turn, entries, &mut found);
        if let Act::Tool(kind) = spec.act {
            check_attempts(kind.class(), kind.asks_first(), entries, &mut found);
        }
        check_people(entries, people, &mut found);
        count(spec, entries, turn, verdict);
        for (rule, problem) in found {
            verdict.say(rule, format!("{key} step {}: {problem}", spec.id));
        }
    }
    check_locks(&scenario, turn, verdict);
}

/// The calls of a turn that a model planned: each ends once, with what its tool makes of its input, and is repeated as its
/// class allows.
fn check_calls(turn: &TurnLog, people: &BTreeSet<Pseudonym>, verdict: &mut Verdict) {
    for (step, entries) in &turn.steps {
        let mut found = Found::new();
        let ends = turn.ends_of(step);
        if ends.len() > 1 {
            found.push((Rule::Step, format!("has {} ends", ends.len())));
        }
        if let Some(&kind) = turn.tools.get(step) {
            check_attempts(kind.class(), kind.asks_first(), entries, &mut found);
            count_calls(kind, entries, turn.success(step).is_some(), verdict);
        }
        check_people(entries, people, &mut found);
        for (rule, problem) in found {
            verdict.say(rule, format!("turn {} step {step}: {problem}", turn.id));
        }
    }
}

fn count_calls(kind: ToolKind, entries: &[HistoryEntry], succeeded: bool, verdict: &mut Verdict) {
    let intents = entries.iter().filter(|entry| matches!(entry.body, Body::StepStarted { .. })).count();
    let refused = |entry: &&HistoryEntry| matches!(&entry.body, Body::StepFailed { failure, .. } if failure.code == FailureCode::Budget);
    verdict.counts.refused += entries.iter().filter(refused).count() as u64;
    let of_class = &mut verdict.classes[kind.class() as usize];
    of_class.steps += u64::from(succeeded);
    of_class.attempts += intents as u64;
}

fn check_ends(scenario: &Scenario, place: usize, turn: &TurnLog, found: &mut Found) {
    let spec = &scenario.steps[place];
    let ends = turn.ends_of(&spec.id);
    if ends.len() > 1 {
        let places: Vec<Seq> = ends.iter().map(|(seq, _)| *seq).collect();
        found.push((Rule::Step, format!("has {} ends, at {places:?}", ends.len())));
    }
    if let (Act::Tool(kind), Some(work)) = (spec.act, scenario.work_of(place)) {
        let expected = output_of(kind, &work);
        for (_, end) in &ends {
            if let StepEnd::Succeeded(Some(output)) = end
                && *output != expected
            {
                found.push((Rule::Step, format!("has the output {output}, not {expected}")));
            }
        }
    }
}

/// Nothing of a step comes before what it depends on has succeeded.
fn check_order(
    scenario: &Scenario,
    spec: &StepSpec,
    turn: &TurnLog,
    entries: &[HistoryEntry],
    found: &mut Found,
) {
    let Some(first) = entries.first().map(|entry| entry.seq) else { return };
    let gives = spec.of.iter().filter_map(|source| match source {
        Source::Step(place) => Some(*place),
        Source::Sum => None,
    });
    let mut before: BTreeSet<usize> = gives.chain(spec.after.iter().copied()).collect();
    if matches!(spec.act, Act::Tool(kind) if kind.is_held()) {
        let free = |step: &StepSpec| !matches!(step.act, Act::Tool(kind) if kind.is_held());
        before.extend((0..scenario.steps.len()).filter(|&place| free(&scenario.steps[place])));
    }
    for needed in before.into_iter().map(|place| &scenario.steps[place].id) {
        if turn.success(needed).is_none_or(|success| success > first) {
            found.push((Rule::Order, format!("began at record {first}, before step {needed} had succeeded")));
        }
    }
}

/// One key, counted attempts, and no repeat that the class does not allow.
pub(super) fn check_attempts(class: Class, asks_first: bool, entries: &[HistoryEntry], found: &mut Found) {
    let (mut last, mut first_key, mut approved, mut settled) = (0, None, !asks_first, true);
    for entry in entries {
        match &entry.body {
            Body::StepStarted { attempt, key, .. } => {
                if *attempt != last + 1 {
                    found.push((Rule::Repeat, format!("attempt {attempt} follows attempt {last}")));
                }
                if first_key.get_or_insert(key) != &key {
                    found.push((Rule::Key, format!("attempt {attempt} has another key")));
                }
                if !approved {
                    found.push((Rule::Person, "began before it was approved".into()));
                }
                if !settled && matches!(class, Class::Probed | Class::Irreversible) {
                    let problem =
                        format!("attempt {attempt} began while nobody knew what became of attempt {last}");
                    found.push((Rule::Repeat, problem));
                }
                (last, settled) = (*attempt, false);
            }
            Body::WaitEnded { end: WaitEnd::Approved, .. } => approved = true,
            Body::AttemptFailed { not_applied, .. } => settled |= not_applied,
            Body::StepResolved { resolution: Resolution::Retry, .. } => settled = true,
            Body::StepSucceeded { attempt, .. } if class != Class::Pure && *attempt != last => {
                found.push((
                    Rule::Intent,
                    format!("attempt {attempt} succeeded, and the journal knows {last} attempts"),
                ));
            }
            _ => {}
        }
    }
}

/// Who approves or resolves is a person whose name the journal keeps, and nobody says "not applied" too early.
pub(super) fn check_people(entries: &[HistoryEntry], people: &BTreeSet<Pseudonym>, found: &mut Found) {
    let mut not_applied_from = Timestamp::default();
    let mut due = Timestamp::default();
    for entry in entries {
        let (by_person, denies) = match &entry.body {
            Body::WaitOpened { wait: WaitFor::Timer { due: at }, .. } => {
                due = *at;
                continue;
            }
            Body::WaitEnded { end: WaitEnd::Fired { .. }, .. } => {
                if entry.time < due {
                    found.push((Rule::Order, format!("fired at {}, due at {due}", entry.time)));
                }
                continue;
            }
            Body::StepInDoubt { not_applied_from: from, .. } => {
                not_applied_from = *from;
                continue;
            }
            Body::WaitEnded { end: WaitEnd::Approved, .. } => (true, false),
            Body::StepResolved { resolution, .. } => (true, !matches!(resolution, Resolution::Applied(_))),
            Body::StepFailed { failure, .. } => {
                let given_up = failure.code == FailureCode::ResolvedNotApplied;
                (given_up || failure.code == FailureCode::Denied, given_up)
            }
            _ => continue,
        };
        if by_person && !people.contains(&entry.actor) {
            found.push((
                Rule::Person,
                format!("`{}` at record {} by nobody who is known", entry.body.kind(), entry.seq),
            ));
        }
        if denies && entry.time < not_applied_from {
            found.push((
                Rule::Person,
                format!("resolved as not applied at {}, before {not_applied_from}", entry.time),
            ));
        }
    }
}

/// Steps that share a lock don't overlap, as far as records tell.
fn check_locks(scenario: &Scenario, turn: &TurnLog, verdict: &mut Verdict) {
    let mut spans: Vec<(&str, Seq, Seq, &str)> = Vec::new();
    for spec in &scenario.steps {
        let (Some(lock), Some(entries)) = (spec.lock, turn.steps.get(&spec.id)) else { continue };
        // Guards rule on a call before it takes its locks.
        let is_ruling = |entry: &&HistoryEntry| {
            matches!(entry.body, Body::GuardRuled { place: GuardPlace::BeforeTool, .. })
        };
        if let (Some(first), Some(last)) = (entries.iter().find(|entry| !is_ruling(entry)), entries.last()) {
            spans.push((lock, first.seq, last.seq, &spec.id));
        }
    }
    spans.sort_unstable();
    for pair in spans.windows(2) {
        let ((lock, _, end, first), (other, begin, _, second)) = (pair[0], pair[1]);
        if lock == other && begin < end {
            let key = scenario.key;
            verdict.say(Rule::Order, format!("{key} steps {first} and {second} overlap under lock `{lock}`"));
        }
    }
}

fn count(spec: &StepSpec, entries: &[HistoryEntry], turn: &TurnLog, verdict: &mut Verdict) {
    let Verdict { counts, classes, .. } = verdict;
    if let Act::Tool(kind) = spec.act {
        let of_class = &mut classes[kind.class() as usize];
        of_class.steps += u64::from(turn.success(&spec.id).is_some());
    }
    for entry in entries {
        match &entry.body {
            Body::StepStarted { .. } => {
                if let Act::Tool(kind) = spec.act {
                    classes[kind.class() as usize].attempts += 1;
                }
            }
            Body::StepInDoubt { .. } => counts.in_doubt += 1,
            Body::StepResolved { resolution: Resolution::Applied(_), .. } => counts.resolved_applied += 1,
            Body::StepResolved { .. } => counts.resolved_retry += 1,
            Body::StepFailed { failure, .. } if failure.code == FailureCode::ResolvedNotApplied => {
                counts.given_up += 1
            }
            Body::StepFailed { failure, .. } if failure.code == FailureCode::Denied => counts.denied += 1,
            Body::WaitEnded { end: WaitEnd::Approved, .. } => counts.approved += 1,
            Body::WaitEnded { end: WaitEnd::Signalled(_), .. } => counts.signals += 1,
            Body::WaitEnded { end: WaitEnd::Fired { late_ms }, .. } => {
                counts.timers += 1;
                counts.timer_late_max_ms = counts.timer_late_max_ms.max(*late_ms);
            }
            _ => {}
        }
    }
}
