//! How good a case went, and who says so.

use std::fmt;

use async_trait::async_trait;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::data_set::Case;
use super::run::CaseRun;
use crate::data::Outcome;

/// From 0, the worst, to 1, the best.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Score(f64);

impl Score {
    /// The worst.
    pub const FAIL: Self = Self(0.0);
    /// The best.
    pub const PASS: Self = Self(1.0);

    /// A score, if it is one: a number from 0 to 1.
    pub fn new(score: f64) -> Option<Self> {
        (0.0..=1.0).contains(&score).then_some(Self(score))
    }

    /// So many hundredths; more than a hundred are a hundred.
    pub fn percent(hundredths: u8) -> Self {
        Self(f64::from(hundredths.min(100)) / 100.0)
    }

    /// `part` of `whole`, at most 1; of nothing, all is reached.
    pub fn share(part: u64, whole: u64) -> Self {
        if part >= whole { Self::PASS } else { Self(part as f64 / whole as f64) }
    }

    /// The best, or the worst.
    pub fn passed(passed: bool) -> Self {
        if passed { Self::PASS } else { Self::FAIL }
    }

    /// As a number.
    pub fn number(self) -> f64 {
        self.0
    }
}

impl Serialize for Score {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", self.0)
    }
}

/// What a scorer says of a case.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Scored {
    /// The score; none when it can't be said.
    pub score: Option<Score>,
    /// Why, in a sentence.
    pub reason: String,
}

impl Scored {
    /// A score and why.
    pub fn new(score: Score, reason: impl Into<String>) -> Self {
        Self { score: Some(score), reason: reason.into() }
    }

    /// It can't be said, and why.
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self { score: None, reason: reason.into() }
    }
}

/// What a scorer looks at.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Seen<'a> {
    /// The case.
    pub case: &'a Case,
    /// How it went. It holds no scores yet.
    pub run: &'a CaseRun,
}

impl<'a> Seen<'a> {
    pub(super) fn new(case: &'a Case, run: &'a CaseRun) -> Self {
        Self { case, run }
    }

    /// The answer.
    ///
    /// # Errors
    /// That there is none, as a score: the worst, and why.
    pub fn answer(&self) -> Result<&'a Value, Scored> {
        match &self.run.outcome {
            Some(Outcome::Answered(answer)) => Ok(answer),
            _ => Err(Scored::new(Score::FAIL, format!("there is no answer: {}", self.run.how_it_ended()))),
        }
    }

    /// The answer as JSON: a text that is JSON is read.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub fn json(&self) -> Result<Value, Scored> {
        Ok(read(self.answer()?))
    }

    /// What is expected.
    ///
    /// # Errors
    /// That nothing is, as a score that is not known.
    pub fn expected(&self) -> Result<&'a Value, Scored> {
        self.case
            .expected
            .as_ref()
            .ok_or_else(|| Scored::unknown("the case expects nothing: give it `expected`"))
    }
}

/// A text that is JSON as what it says, and everything else as it is.
pub(super) fn read(value: &Value) -> Value {
    let json = value.as_str().and_then(|text| serde_json::from_str(text.trim()).ok());
    json.unwrap_or_else(|| value.clone())
}

/// Says how good a case went.
///
/// It must give the same score for the same run, as far as it can, and change nothing in the world. When it panics, the score is
/// not known.
#[async_trait]
pub trait Scorer: Send + Sync + 'static {
    /// What it is called in results; unique within an evaluation.
    fn name(&self) -> &str;

    /// The score of a case.
    ///
    /// # Cancel safety
    /// It may be dropped at any await.
    async fn score(&self, seen: Seen<'_>) -> Scored;

    /// The same scorer under another name.
    fn named(self, name: impl Into<String>) -> Named<Self>
    where
        Self: Sized,
    {
        Named { name: name.into(), scorer: self }
    }
}

/// A scorer under a name that a host gave it: [`Scorer::named`].
#[derive(Debug, Clone)]
pub struct Named<S> {
    name: String,
    scorer: S,
}

#[async_trait]
impl<S: Scorer> Scorer for Named<S> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn score(&self, seen: Seen<'_>) -> Scored {
        self.scorer.score(seen).await
    }
}
