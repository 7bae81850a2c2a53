//! Filling in templates from a turn.

use serde_json::Value;

use super::state::TurnState;
use crate::data::Template;

/// What an RFC 6901 pointer names in a value; the whole for an empty one.
pub(super) fn pointed<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    if pointer.is_empty() { Some(value) } else { value.pointer(pointer) }
}

/// The value that a template makes now.
///
/// # Errors
/// What is missing.
pub(super) fn resolve(template: &Template, turn: &TurnState) -> Result<Value, String> {
    match template {
        Template::Value(value) => Ok(value.clone()),
        Template::Object(members) => {
            members.iter().map(|(name, member)| Ok((name.clone(), resolve(member, turn)?))).collect()
        }
        Template::List(items) => items.iter().map(|item| resolve(item, turn)).collect(),
        Template::Output { step, pointer } => turn
            .output(step)
            .ok_or_else(|| format!("step `{step}` has no output"))
            .and_then(|output| named(output, pointer, || format!("the output of step `{step}`"))),
        Template::Input { pointer } => named(&turn.input, pointer, || "the turn's input".into()),
        Template::Context { key } => Ok(turn.context.values.get(key).cloned().unwrap_or(Value::Null)),
        Template::Invalid(error) => Err(error.to_string()),
    }
}

fn named(value: &Value, pointer: &str, what: impl Fn() -> String) -> Result<Value, String> {
    pointed(value, pointer).cloned().ok_or_else(|| format!("{} has nothing at `{pointer}`", what()))
}

/// About how many bytes a value's JSON has, without writing it.
pub(crate) fn json_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 12,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| json_bytes(item) + 1).sum::<usize>(),
        Value::Object(members) => {
            2 + members.iter().map(|(name, member)| name.len() + 4 + json_bytes(member)).sum::<usize>()
        }
    }
}
