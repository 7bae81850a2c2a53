//! Scorers that look at the answer.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde_json::Value;

use super::super::score::{Score, Scored, Scorer, Seen, read};
use crate::data::AnswerFormat;

/// Whether the answer is what the case expects: the same JSON value, and of text every character.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Exact;

/// Whether the answer, as text, holds a text, whatever its letters' case.
#[derive(Debug, Clone, Default)]
pub struct Contains {
    text: Option<String>,
}

/// Whether one place of the answer is what the case expects there. A text that is JSON is read as JSON, of both.
#[derive(Debug, Clone)]
pub struct PointerEquals {
    name: String,
    pointer: String,
}

/// Whether the answer has a form, as far as [`AnswerFormat::problem_with`] checks it. A text that is JSON is read.
#[derive(Debug, Clone)]
pub struct MatchesSchema {
    format: AnswerFormat,
}

impl Exact {
    /// The scorer `exact`.
    pub fn new() -> Self {
        Self
    }
}

impl Contains {
    /// The scorer `contains`: the text that each case expects.
    pub fn expected() -> Self {
        Self::default()
    }

    /// The scorer `contains`: this text, in every case.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()) }
    }
}

impl PointerEquals {
    /// The scorer `equals POINTER`; the pointer is one of RFC 6901: `/order/cents`.
    pub fn new(pointer: impl Into<String>) -> Self {
        let pointer = pointer.into();
        Self { name: format!("equals {pointer}"), pointer }
    }
}

impl MatchesSchema {
    /// The scorer `schema`: this JSON Schema.
    pub fn new(schema: Value) -> Self {
        Self { format: AnswerFormat::new("answer", schema) }
    }

    /// The scorer `schema`: that of a type.
    pub fn of<T: JsonSchema>() -> Self {
        Self::new(schemars::schema_for!(T).to_value())
    }
}

/// A score, or the one that was found on the way to it.
fn either(score: Result<Scored, Scored>) -> Scored {
    score.unwrap_or_else(|score| score)
}

#[async_trait]
impl Scorer for Exact {
    fn name(&self) -> &str {
        "exact"
    }

    async fn score(&self, seen: Seen<'_>) -> Scored {
        let score = || {
            let same = seen.expected()? == seen.answer()?;
            let reason = if same { "it is what is expected" } else { "it is not what is expected" };
            Ok(Scored::new(Score::passed(same), reason))
        };
        either(score())
    }
}

#[async_trait]
impl Scorer for Contains {
    fn name(&self) -> &str {
        "contains"
    }

    async fn score(&self, seen: Seen<'_>) -> Scored {
        let text =
            |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned).to_lowercase();
        let score = || {
            let wanted = match &self.text {
                Some(text) => text.to_lowercase(),
                None => text(seen.expected()?),
            };
            let has = text(seen.answer()?).contains(&wanted);
            let reason = if has { "the text is in it" } else { "the text is not in it" };
            Ok(Scored::new(Score::passed(has), reason))
        };
        either(score())
    }
}

#[async_trait]
impl Scorer for PointerEquals {
    fn name(&self) -> &str {
        &self.name
    }

    async fn score(&self, seen: Seen<'_>) -> Scored {
        let score = || {
            let expected = read(seen.expected()?);
            let Some(expected) = expected.pointer(&self.pointer) else {
                return Err(Scored::unknown(format!("the case expects nothing at `{}`", self.pointer)));
            };
            let answer = seen.json()?;
            let reason = match answer.pointer(&self.pointer) {
                Some(there) if there == expected => "it is what is expected",
                Some(_) => "it is not what is expected",
                None => "the answer has nothing there",
            };
            Ok(Scored::new(Score::passed(answer.pointer(&self.pointer) == Some(expected)), reason))
        };
        either(score())
    }
}

#[async_trait]
impl Scorer for MatchesSchema {
    fn name(&self) -> &str {
        "schema"
    }

    async fn score(&self, seen: Seen<'_>) -> Scored {
        let score = || {
            Ok(match self.format.problem_with(&seen.json()?) {
                None => Scored::new(Score::PASS, "it has the form"),
                Some(problem) => Scored::new(Score::FAIL, problem),
            })
        };
        either(score())
    }
}
