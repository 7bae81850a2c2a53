//! What came of an evaluation, and how its variants differ.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::past::PastCall;
use super::run::CaseRun;
use super::score::Score;

/// What came of an evaluation. Variants are in the order in which they were added, the base first; cases in that of the data set;
/// scorers by their names. Shown as text it is a table; [`to_json`](Self::to_json) has all of it.
///
/// It holds answers and arguments in the clear.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// What came of each variant; at least one.
    pub variants: Vec<VariantRuns>,
    /// The names of the scorers, in the order in which they were added.
    pub scorers: Vec<String>,
}

/// What came of one variant.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct VariantRuns {
    /// Its name.
    pub name: String,
    /// Each case.
    pub runs: Vec<CaseRun>,
}

/// Sums, means and medians of one variant.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// How many cases there are.
    pub cases: usize,
    /// How many were answered.
    pub answered: usize,
    /// How many calls were made.
    pub calls: usize,
    /// The mean of each scorer over the cases that it scored; none when it scored none.
    pub means: BTreeMap<String, Option<Score>>,
    /// Tokens of requests and answers of all cases; none when they are not known of one of them.
    pub tokens: Option<u64>,
    /// What the answers of all cases cost, in billionths of a US dollar; none when that is not known of one of them.
    pub cost_nano_usd: Option<u64>,
    /// The median of the latencies, in milliseconds; of two in the middle the greater one.
    pub median_latency_ms: u64,
}

/// A case that went otherwise than with the base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// The case.
    pub case: String,
    /// What differs: how it ended, the answer, scores, calls. Tokens, money and time alone make no change.
    pub what: Vec<String>,
}

/// A variant beside the base, over the cases of which both are known.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Paired {
    /// By scorer.
    pub scores: BTreeMap<String, PairedScore>,
    /// What all cases cost more than with the base, in billionths of a US dollar; negative when less. None when it is not known.
    pub cost_nano_usd: Option<i128>,
    /// The tokens that all cases took more; negative when fewer. None when they are not known.
    pub tokens: Option<i128>,
    /// The median of what each case took longer, in milliseconds; negative when it was faster.
    pub median_latency_ms: i128,
}

/// One scorer, of a variant beside the base.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PairedScore {
    /// The cases that were scored with both.
    pub pairs: usize,
    /// Of these, those with a better score.
    pub better: usize,
    /// Of these, those with a worse score.
    pub worse: usize,
    /// The cases that were scored with the base alone.
    pub lost: usize,
    /// The mean of what the scores of the pairs grew by, from -1 to 1; none without a pair.
    pub mean_growth: Option<f64>,
}

impl CaseRun {
    /// The score of a scorer, where it is known.
    pub fn score(&self, scorer: &str) -> Option<Score> {
        self.scores.get(scorer)?.score
    }
}

impl VariantRuns {
    /// Sums, means and medians.
    pub fn summary(&self) -> Summary {
        let scorers = self.runs.iter().flat_map(|run| run.scores.keys());
        let mean = |scorer: &String| {
            let scores: Vec<f64> =
                self.runs.iter().filter_map(|run| run.score(scorer)).map(Score::number).collect();
            mean(&scores).and_then(|mean| Score::new(mean.clamp(0.0, 1.0)))
        };
        let sum = |of: fn(&CaseRun) -> Option<u64>| {
            self.runs.iter().try_fold(0_u64, |sum, run| Some(sum.saturating_add(of(run)?)))
        };
        Summary {
            cases: self.runs.len(),
            answered: self.runs.iter().filter(|run| run.is_answered()).count(),
            calls: self.runs.iter().map(|run| run.calls.len()).sum(),
            means: scorers.map(|scorer| (scorer.clone(), mean(scorer))).collect(),
            tokens: sum(|run| run.spent.tokens()),
            cost_nano_usd: sum(|run| run.spent.cost_nano_usd),
            median_latency_ms: median(self.runs.iter().map(|run| run.latency_ms).collect())
                .unwrap_or_default(),
        }
    }
}

impl Comparison {
    /// The base: the variant that was added first.
    pub fn base(&self) -> &VariantRuns {
        &self.variants[0]
    }

    /// The variants that are compared with the base.
    pub fn candidates(&self) -> &[VariantRuns] {
        &self.variants[1..]
    }

    /// A variant by its name.
    pub fn variant(&self, name: &str) -> Option<&VariantRuns> {
        self.variants.iter().find(|variant| variant.name == name)
    }

    /// Each case with the base and with a candidate.
    pub(super) fn pairs<'a>(
        &'a self,
        candidate: &'a VariantRuns,
    ) -> impl Iterator<Item = (&'a CaseRun, &'a CaseRun)> + Clone {
        self.base().runs.iter().zip(&candidate.runs)
    }

    /// The cases that went otherwise with a candidate than with the base.
    pub fn changes(&self, candidate: &VariantRuns) -> Vec<Change> {
        let pairs = self.pairs(candidate);
        let changes =
            pairs.map(|(base, now)| Change { case: base.case.clone(), what: self.what_changed(base, now) });
        changes.filter(|change| !change.what.is_empty()).collect()
    }

    fn what_changed(&self, base: &CaseRun, now: &CaseRun) -> Vec<String> {
        let mut what = Vec::new();
        if base.how_it_ended() != now.how_it_ended() {
            what.push(format!("{} -> {}", base.how_it_ended(), now.how_it_ended()));
        } else if base.outcome != now.outcome {
            what.push("another answer".to_owned());
        }
        for scorer in &self.scorers {
            let shown = |run: &CaseRun| shown(run.score(scorer));
            if base.score(scorer) != now.score(scorer) {
                what.push(format!("{scorer} {} -> {}", shown(base), shown(now)));
            }
        }
        what.extend(calls_changed(&base.calls, &now.calls));
        what
    }

    /// A candidate beside the base.
    pub fn paired(&self, candidate: &VariantRuns) -> Paired {
        let score = |scorer: &String| {
            let scores = self.pairs(candidate).map(|(base, now)| (base.score(scorer), now.score(scorer)));
            let both = scores.clone().filter_map(|(base, now)| Some(now?.number() - base?.number()));
            let growth: Vec<f64> = both.collect();
            let paired = PairedScore {
                pairs: growth.len(),
                better: growth.iter().filter(|growth| **growth > 0.0).count(),
                worse: growth.iter().filter(|growth| **growth < 0.0).count(),
                lost: scores.filter(|(base, now)| base.is_some() && now.is_none()).count(),
                mean_growth: mean(&growth),
            };
            (scorer.clone(), paired)
        };
        let (base, now) = (self.base().summary(), candidate.summary());
        let more = |base: Option<u64>, now: Option<u64>| Some(i128::from(now?) - i128::from(base?));
        let longer =
            |(base, now): (&CaseRun, &CaseRun)| i128::from(now.latency_ms) - i128::from(base.latency_ms);
        Paired {
            scores: self.scorers.iter().map(score).collect(),
            cost_nano_usd: more(base.cost_nano_usd, now.cost_nano_usd),
            tokens: more(base.tokens, now.tokens),
            median_latency_ms: median(self.pairs(candidate).map(longer).collect()).unwrap_or_default(),
        }
    }

    /// All of it: `variants`, each with `name`, `runs` and `summary`, and of those after the first `changes` and `paired`.
    pub fn to_json(&self) -> Value {
        let variant = |(place, variant): (usize, &VariantRuns)| {
            let mut shown =
                json!({ "name": variant.name, "runs": variant.runs, "summary": variant.summary() });
            if place > 0 {
                shown["changes"] = json!(self.changes(variant));
                shown["paired"] = json!(self.paired(variant));
            }
            shown
        };
        json!({ "variants": self.variants.iter().enumerate().map(variant).collect::<Vec<_>>() })
    }
}

/// How calls differ, if they do.
pub(super) fn calls_changed(base: &[PastCall], now: &[PastCall]) -> Option<String> {
    let whole = |calls: &[PastCall]| calls.iter().map(called).collect::<Vec<_>>();
    if whole(base) == whole(now) {
        return None;
    }
    let names = |calls: &[PastCall]| {
        let names: Vec<&str> = calls.iter().map(|call| call.tool.as_str()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let (before, after) = (names(base), names(now));
    Some(match before == after {
        true => format!("calls {before}, with other arguments or ends"),
        false => format!("calls {before} -> {after}"),
    })
}

/// What of a call counts when two are compared.
fn called(call: &PastCall) -> Value {
    json!({ "tool": call.tool, "input": call.input, "end": call.end })
}

/// A score as it is shown: `?` when it is not known.
pub(super) fn shown(score: Option<Score>) -> String {
    score.map_or_else(|| "?".to_owned(), |score| score.to_string())
}

fn mean(numbers: &[f64]) -> Option<f64> {
    (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

/// Of two in the middle the greater one.
fn median<T: Ord + Copy>(mut numbers: Vec<T>) -> Option<T> {
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied()
}
