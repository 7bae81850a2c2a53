//! Whether a change may go in.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

use super::comparison::{Comparison, VariantRuns};
use super::score::Score;

/// Rules that every candidate must keep to, beside the base. What a rule can't judge, because scores or costs are not known,
/// breaks it. Without a rule, everything may pass.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
enum Rule {
    MeanMayDrop { scorer: String, by: Score },
    MeanAtLeast { scorer: String, least: Score },
    NoNewFailure { scorer: String, passes_from: Score },
    AllAnswered,
    CostMayGrow { percent: u32 },
}

/// What a gate says: which rules are broken, by whom, in the order of variants and rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verdict {
    /// Why not; empty when everything may pass.
    pub reasons: Vec<String>,
}

/// Two means that differ by less are the same: numbers are rounded when they are added.
const ROUNDING: f64 = 1e-9;

impl Gate {
    /// Without a rule.
    pub fn new() -> Self {
        Self::default()
    }

    /// The mean of a scorer, over the cases that were scored with both, is not lower than the base's by more than this.
    #[must_use]
    pub fn mean_may_drop(mut self, scorer: impl Into<String>, by: Score) -> Self {
        self.rules.push(Rule::MeanMayDrop { scorer: scorer.into(), by });
        self
    }

    /// The mean of a scorer is not lower than this; every case must be scored.
    #[must_use]
    pub fn mean_at_least(mut self, scorer: impl Into<String>, least: Score) -> Self {
        self.rules.push(Rule::MeanAtLeast { scorer: scorer.into(), least });
        self
    }

    /// No case that passed with the base, with this score or a better one, has a lower one now.
    #[must_use]
    pub fn no_new_failure(mut self, scorer: impl Into<String>, passes_from: Score) -> Self {
        self.rules.push(Rule::NoNewFailure { scorer: scorer.into(), passes_from });
        self
    }

    /// Every case that was answered with the base is answered now.
    #[must_use]
    pub fn no_answer_lost(mut self) -> Self {
        self.rules.push(Rule::AllAnswered);
        self
    }

    /// All cases together cost at most so many hundredths more than with the base.
    #[must_use]
    pub fn cost_may_grow(mut self, percent: u32) -> Self {
        self.rules.push(Rule::CostMayGrow { percent });
        self
    }

    /// Whether every candidate keeps to every rule. Where there is no candidate, nothing is compared, and that does not pass.
    pub fn judge(&self, comparison: &Comparison) -> Verdict {
        let mut reasons = Vec::new();
        if comparison.candidates().is_empty() {
            reasons.push("there is nothing to compare the base with: add a second variant".to_owned());
        }
        for candidate in comparison.candidates() {
            let broken = self.rules.iter().flat_map(|rule| rule.broken(comparison, candidate));
            reasons.extend(broken.map(|reason| format!("`{}`: {reason}", candidate.name)));
        }
        Verdict { reasons }
    }
}

impl Rule {
    fn broken(&self, comparison: &Comparison, candidate: &VariantRuns) -> Vec<String> {
        match self {
            Self::MeanMayDrop { scorer, by } => {
                mean_dropped(comparison, candidate, scorer, *by).into_iter().collect()
            }
            Self::MeanAtLeast { scorer, least } => {
                mean_too_low(candidate, scorer, *least).into_iter().collect()
            }
            Self::NoNewFailure { scorer, passes_from } => {
                let passed = |score: Option<Score>| score.is_some_and(|score| score >= *passes_from);
                if !comparison.scorers.contains(scorer) {
                    return vec![no_scorer(scorer)];
                }
                let pairs = comparison.pairs(candidate);
                let new =
                    pairs.filter(|(base, now)| passed(base.score(scorer)) && !passed(now.score(scorer)));
                new.map(|(_, now)| match now.scores.get(scorer) {
                    Some(scored) => {
                        format!("case `{}` passed `{scorer}`, and now does not: {}", now.case, scored.reason)
                    }
                    None => format!("case `{}` passed `{scorer}`, and now does not", now.case),
                })
                .collect()
            }
            Self::AllAnswered => {
                let lost = comparison
                    .pairs(candidate)
                    .filter(|(base, now)| base.is_answered() && !now.is_answered());
                lost.map(|(_, now)| {
                    format!("case `{}` was answered, and now is not: {}", now.case, now.how_it_ended())
                })
                .collect()
            }
            Self::CostMayGrow { percent } => cost_grew(comparison, candidate, *percent).into_iter().collect(),
        }
    }
}

fn no_scorer(scorer: &str) -> String {
    format!("there is no scorer `{scorer}`: add it to the evaluation")
}

fn mean_dropped(comparison: &Comparison, candidate: &VariantRuns, scorer: &str, by: Score) -> Option<String> {
    let paired = comparison.paired(candidate);
    let Some(paired) = paired.scores.get(scorer) else { return Some(no_scorer(scorer)) };
    if paired.lost > 0 {
        return Some(format!("`{scorer}` scored {} cases of the base, and does not now", paired.lost));
    }
    let Some(growth) = paired.mean_growth else {
        return Some(format!("`{scorer}` scored no case, so nothing is known"));
    };
    let (fell, worse, pairs) = (-growth, paired.worse, paired.pairs);
    (fell > by.number() + ROUNDING).then(|| {
        format!("the mean of `{scorer}` is lower by {fell:.3}, and {by} is allowed ({worse} of {pairs} cases are worse)")
    })
}

fn mean_too_low(candidate: &VariantRuns, scorer: &str, least: Score) -> Option<String> {
    let scored = candidate.runs.iter().filter(|run| run.score(scorer).is_some()).count();
    let summary = candidate.summary();
    let Some(mean) = summary.means.get(scorer) else { return Some(no_scorer(scorer)) };
    match mean {
        Some(_) if scored < summary.cases => Some(format!(
            "`{scorer}` scored {scored} of {} cases, so the mean says too little",
            summary.cases
        )),
        Some(mean) if mean.number() + ROUNDING < least.number() => {
            Some(format!("the mean of `{scorer}` is {mean}, and must be {least} at least"))
        }
        Some(_) => None,
        None => Some(format!("`{scorer}` scored no case, so nothing is known")),
    }
}

fn cost_grew(comparison: &Comparison, candidate: &VariantRuns, percent: u32) -> Option<String> {
    let (base, now) = (comparison.base().summary().cost_nano_usd, candidate.summary().cost_nano_usd);
    let (Some(base), Some(now)) = (base, now) else {
        return Some("what it costs is not known: give the models their prices".to_owned());
    };
    let allowed = u128::from(base) * (100 + u128::from(percent)) / 100;
    (u128::from(now) > allowed).then(|| {
        format!("it costs {now} nano-USD, the base {base}, and {percent} of a hundred more are allowed")
    })
}

impl Verdict {
    /// Whether everything may pass.
    pub fn passes(&self) -> bool {
        self.reasons.is_empty()
    }

    /// What a program in CI ends with: 0 when everything may pass, else 1.
    pub fn exit_code(&self) -> ExitCode {
        if self.passes() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.passes() {
            return f.write_str("the gate is passed");
        }
        f.write_str("the gate is not passed")?;
        self.reasons.iter().try_for_each(|reason| write!(f, "\n  {reason}"))
    }
}
