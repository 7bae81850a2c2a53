//! Whether a value has the form that a JSON Schema describes.

#[cfg(feature = "json-schema")]
mod full;
#[cfg(any(test, not(feature = "json-schema")))]
mod light;
#[cfg(test)]
mod tests;

use serde_json::Value;

/// What is wrong with the value; none when it has the form.
pub(super) fn problem(schema: &Value, value: &Value) -> Option<String> {
    #[cfg(feature = "json-schema")]
    return full::problem(schema, value);
    #[cfg(not(feature = "json-schema"))]
    return light::problem(schema, value);
}

/// How a message names a place: by its JSON Pointer.
fn place(pointer: &str) -> &str {
    if pointer.is_empty() { "the whole answer" } else { pointer }
}
