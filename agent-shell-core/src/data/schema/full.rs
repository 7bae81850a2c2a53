//! The whole of JSON Schema, as the crate `jsonschema` reads it.

use serde_json::Value;

use super::place;

/// So many problems are told of at most.
const PROBLEMS: usize = 5;

/// What is wrong with the value, the first few problems of it.
pub(super) fn problem(schema: &Value, value: &Value) -> Option<String> {
    let validator = match jsonschema::validator_for(schema) {
        Ok(validator) => validator,
        Err(error) => return Some(format!("the form itself is no JSON Schema: {error}")),
    };
    // Masked, because an answer is not to stand in messages.
    let tell = |error: jsonschema::ValidationError<'_>| {
        format!("{}: {}", place(error.instance_path().as_str()), error.masked())
    };
    let problems: Vec<_> = validator.iter_errors(value).take(PROBLEMS).map(tell).collect();
    (!problems.is_empty()).then(|| problems.join("; "))
}
