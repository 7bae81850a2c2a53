//! A scorer that looks at the calls that were made.

use async_trait::async_trait;
use serde_json::Value;

use super::super::past::tools_called;
use super::super::score::{Score, Scored, Scorer, Seen};

/// Which tools were called, and with what: the score is the share of its rules that hold.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
enum Rule {
    Made { tool: String, with: Value },
    Never { tool: String },
    Only { tools: Vec<String> },
    AtMost { calls: usize },
}

impl Calls {
    /// The scorer `calls`, without a rule.
    pub fn new() -> Self {
        Self::default()
    }

    /// This tool is called, with whatever.
    #[must_use]
    pub fn made(self, tool: impl Into<String>) -> Self {
        self.made_with(tool, serde_json::json!({}))
    }

    /// This tool is called with these arguments: an object's members may be some of those that the call has, and everything
    /// else is the same.
    #[must_use]
    pub fn made_with(mut self, tool: impl Into<String>, with: impl Into<Value>) -> Self {
        self.rules.push(Rule::Made { tool: tool.into(), with: with.into() });
        self
    }

    /// This tool is not called.
    #[must_use]
    pub fn never(mut self, tool: impl Into<String>) -> Self {
        self.rules.push(Rule::Never { tool: tool.into() });
        self
    }

    /// No other tools than these are called.
    #[must_use]
    pub fn only<S: Into<String>>(mut self, tools: impl IntoIterator<Item = S>) -> Self {
        self.rules.push(Rule::Only { tools: tools.into_iter().map(Into::into).collect() });
        self
    }

    /// So many calls are made at most.
    #[must_use]
    pub fn at_most(mut self, calls: usize) -> Self {
        self.rules.push(Rule::AtMost { calls });
        self
    }
}

impl Rule {
    /// What is wrong, if anything. It names tools, and quotes no arguments.
    fn problem(&self, seen: &Seen<'_>) -> Option<String> {
        let calls = &seen.run.calls;
        match self {
            Self::Made { tool, with } => {
                let of_tool = || calls.iter().filter(|call| call.tool.as_str() == tool);
                let is_made =
                    of_tool().any(|call| call.input.as_deref().is_some_and(|input| holds(input, with)));
                let how =
                    if of_tool().next().is_none() { "not called" } else { "called with other arguments" };
                (!is_made).then(|| format!("`{tool}` is {how}"))
            }
            Self::Never { tool } => {
                tools_called(calls).contains(tool.as_str()).then(|| format!("`{tool}` is called"))
            }
            Self::Only { tools } => {
                let other =
                    tools_called(calls).into_iter().find(|called| !tools.iter().any(|tool| tool == called));
                other.map(|tool| format!("`{tool}` is called"))
            }
            Self::AtMost { calls: most } => {
                (calls.len() > *most).then(|| format!("{} calls are made, and {most} may be", calls.len()))
            }
        }
    }
}

/// Whether a value is another one, or an object with all members of it.
fn holds(value: &Value, wanted: &Value) -> bool {
    match (value, wanted) {
        (Value::Object(value), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| value.get(name).is_some_and(|value| holds(value, wanted)))
        }
        // Without members, whatever the arguments are will do.
        (_, Value::Object(wanted)) => wanted.is_empty(),
        _ => value == wanted,
    }
}

#[async_trait]
impl Scorer for Calls {
    fn name(&self) -> &str {
        "calls"
    }

    async fn score(&self, seen: Seen<'_>) -> Scored {
        let problems: Vec<String> = self.rules.iter().filter_map(|rule| rule.problem(&seen)).collect();
        let held = self.rules.len() - problems.len();
        let reason = if problems.is_empty() { "as the rules say".to_owned() } else { problems.join("; ") };
        Scored::new(Score::share(held as u64, self.rules.len() as u64), reason)
    }
}
