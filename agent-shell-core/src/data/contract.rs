//! What a tool promises: its name, its input, and what may happen when it is called twice.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::canonical::canonical_digest;
use crate::words::{Digest, ToolName};

/// What may be done again after a crash, a timeout or an ambiguous error. A tool's constructor fixes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EffectClass {
    /// Changes nothing. It is run again at will; nothing is written before it.
    Pure,
    /// The target recognises a repeated key and applies it once. It is repeated under the same key, as long as
    /// the target remembers keys.
    Idempotent,
    /// The target can be asked whether a key was applied, and refuses a used one. After the attempt's deadline it
    /// is asked; nothing is repeated before.
    Probed,
    /// Neither. When it is not known what happened, the turn stops and a person decides.
    Irreversible,
}

impl EffectClass {
    /// Whether a record must be durable before the act.
    pub fn has_intent(self) -> bool {
        self != Self::Pure
    }
}

/// How often and how fast a failed attempt is repeated. By default four attempts altogether, with pauses from 100 ms to
/// 10 s; [`Retry::ONCE`] for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts altogether, the first included; at least 1.
    pub attempts: u32,
    /// The pause before the second attempt, in milliseconds; it doubles for each further one. Half of each pause is
    /// random.
    pub base_ms: u64,
    /// The longest pause, in milliseconds.
    pub max_ms: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 4, base_ms: 100, max_ms: 10_000 }
    }
}

impl Retry {
    /// How a question is asked again that a model did not answer: five attempts altogether, with pauses from 500 ms to 30 s.
    pub const QUESTIONS: Self = Self { attempts: 5, base_ms: 500, max_ms: 30_000 };

    /// No second attempt.
    pub const ONCE: Self = Self { attempts: 1, base_ms: 0, max_ms: 0 };

    /// The longest pause before the attempt that follows `attempt`.
    pub fn pause_ms(&self, attempt: u32) -> u64 {
        let doubled = self.base_ms.saturating_mul(1 << attempt.saturating_sub(1).min(20));
        doubled.min(self.max_ms)
    }
}

/// What a tool declares. The part that a session depends on (name, version, class, input) is its
/// [requirement](ToolContract::requirement).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolContract {
    /// Unique within a shell.
    pub name: ToolName,
    /// Raised by the author when the meaning of an input changes.
    pub version: u32,
    /// For models and people.
    pub description: String,
    /// What may be done again.
    pub class: EffectClass,
    /// The JSON Schema of the input.
    pub input_schema: Value,
    /// Whether every call waits for an approval.
    pub ask_first: bool,
    /// How long an approval may be given, in milliseconds; without it, for ever.
    pub approval_ms: Option<u64>,
    /// Whether a call waits until all else in its turn has succeeded.
    pub held: bool,
    /// How long one attempt may take, in milliseconds; without it, the shell's default.
    pub attempt_ms: Option<u64>,
    /// How long the target remembers a key, in milliseconds, for `Idempotent` tools.
    pub remembers_keys_ms: u64,
    /// How failed attempts are repeated.
    pub retry: Retry,
    /// What a call costs at most, in billionths of a US dollar.
    #[serde(default)]
    pub cost_nano_usd: u64,
    /// The tool that undoes this one.
    pub compensation: Option<ToolName>,
    /// Whether its output is content from outside, which nobody vouches for: a web page, a mail, a file that somebody sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untrusted: bool,
    /// Whether a call can carry data out of the host: a mail, a request to an address that the arguments name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outbound: bool,
}

impl ToolContract {
    /// Twenty-four hours, which is what common payment interfaces promise at least.
    pub const REMEMBERS_KEYS_MS: u64 = 24 * 60 * 60 * 1000;

    /// A contract with the defaults of its class.
    pub fn new(
        name: ToolName,
        description: impl Into<String>,
        class: EffectClass,
        input_schema: Value,
    ) -> Self {
        Self {
            name,
            version: 1,
            description: description.into(),
            class,
            input_schema,
            ask_first: false,
            approval_ms: None,
            held: false,
            attempt_ms: None,
            remembers_keys_ms: Self::REMEMBERS_KEYS_MS,
            retry: Retry::default(),
            cost_nano_usd: 0,
            compensation: None,
            untrusted: false,
            outbound: false,
        }
    }

    /// What a session that uses this tool requires of its owner: a digest of name, version, class and input schema,
    /// never of code or description: titles and descriptions inside the schema, which come from the names and the
    /// comments of types, do not count.
    pub fn requirement(&self) -> RequirementId {
        let required = json!({
            "name": self.name, "version": self.version, "class": self.class,
            "input": without_annotations(&self.input_schema),
            "compensation": self.compensation,
        });
        RequirementId(canonical_digest(&required).unwrap_or(Digest::ZERO))
    }
}

/// A JSON Schema without what only describes: `title`, `description`, `$comment` and `examples`. A property may well
/// be called so; in the maps that name schemas nothing is left out.
fn without_annotations(schema: &Value) -> Value {
    const NAMES_SCHEMAS: [&str; 5] =
        ["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"];
    const DESCRIBES: [&str; 4] = ["title", "description", "$comment", "examples"];
    const HOLDS_VALUES: [&str; 3] = ["enum", "const", "default"];
    match schema {
        Value::Array(schemas) => schemas.iter().map(without_annotations).collect(),
        Value::Object(members) => {
            let kept = members.iter().filter(|(name, _)| !DESCRIBES.contains(&name.as_str()));
            let stripped = kept.map(|(name, member)| {
                let member = match member {
                    member if HOLDS_VALUES.contains(&name.as_str()) => member.clone(),
                    Value::Object(schemas) if NAMES_SCHEMAS.contains(&name.as_str()) => schemas
                        .iter()
                        .map(|(name, schema)| (name.clone(), without_annotations(schema)))
                        .collect(),
                    member => without_annotations(member),
                };
                (name.clone(), member)
            });
            stripped.collect()
        }
        other => other.clone(),
    }
}

/// What a session requires of whoever owns it: the digest of a tool's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequirementId(pub Digest);

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;

    use super::*;

    #[allow(dead_code, reason = "only its schema is looked at")]
    mod first {
        #[derive(schemars::JsonSchema)]
        pub(super) struct Order {
            /// What it is called.
            pub(super) title: String,
            /// How many.
            pub(super) count: u8,
        }
    }

    #[allow(dead_code, reason = "only its schema is looked at")]
    mod second {
        #[derive(schemars::JsonSchema)]
        #[schemars(rename = "Purchase")]
        pub(super) struct Order {
            /// Another comment.
            pub(super) title: String,
            pub(super) count: u8,
        }

        #[derive(schemars::JsonSchema)]
        pub(super) struct Untitled {
            pub(super) count: u8,
        }
    }

    fn requirement<T: JsonSchema>() -> RequirementId {
        let name = ToolName::new("order").unwrap();
        ToolContract::new(name, "", EffectClass::Pure, schemars::schema_for!(T).to_value()).requirement()
    }

    #[test]
    fn comments_and_type_names_are_not_required() {
        assert_eq!(requirement::<first::Order>(), requirement::<second::Order>());
        assert_ne!(requirement::<first::Order>(), requirement::<second::Untitled>(), "a property counts");
    }
}
