//! Canonical JSON: one value, one text, whatever order its members came in.
//!
//! The form is that of RFC 8785 (JSON Canonicalization Scheme) with one difference: an integer beyond 2^53 that
//! fits 64 bits is written with all its digits, where RFC 8785 would round it to a double. Rounded, two orders
//! with neighbouring numbers would share an idempotency key. The text does not depend on serde_json's features
//! `preserve_order` and `arbitrary_precision`, which any crate of a host's build may switch on.

use std::fmt::Write as _;

use serde_json::{Number, Value};

use crate::words::Digest;

/// A number that has no canonical form: not finite as a double.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a number in the JSON is too large for a double: write it as a string")]
pub struct NotCanonical;

/// The canonical text of `value`.
///
/// # Errors
/// [`NotCanonical`] for a number beyond the range of a double, which only serde_json's `arbitrary_precision` lets
/// through.
pub fn canonical(value: &Value) -> Result<String, NotCanonical> {
    let mut text = String::with_capacity(128);
    write_value(&mut text, value)?;
    Ok(text)
}

/// The SHA-256 digest of the canonical text of `value`.
///
/// # Errors
/// As [`canonical`].
pub fn canonical_digest(value: &Value) -> Result<Digest, NotCanonical> {
    Ok(Digest::of(canonical(value)?))
}

fn write_value(text: &mut String, value: &Value) -> Result<(), NotCanonical> {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => write_number(text, number)?,
        Value::String(string) => write_string(text, string),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_value(text, item)?;
            }
            text.push(']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            text.push('{');
            for (index, (name, member)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_string(text, name);
                text.push(':');
                write_value(text, member)?;
            }
            text.push('}');
        }
    }
    Ok(())
}

/// With `arbitrary_precision` a number is the text it was read from, so all forms go by way of their text.
fn write_number(text: &mut String, number: &Number) -> Result<(), NotCanonical> {
    if let Some(integer) = number.as_i64() {
        let _ = write!(text, "{integer}");
        return Ok(());
    }
    if let Some(integer) = number.as_u64() {
        let _ = write!(text, "{integer}");
        return Ok(());
    }
    let double: f64 = number.to_string().parse().map_err(|_| NotCanonical)?;
    if !double.is_finite() {
        return Err(NotCanonical);
    }
    text.push_str(ryu_js::Buffer::new().format_finite(double));
    Ok(())
}

/// RFC 8785 section 3.2.2.2: the short escapes, `\u00xx` for other controls, everything else as it is.
fn write_string(text: &mut String, string: &str) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\u{c}' => text.push_str("\\f"),
            '\r' => text.push_str("\\r"),
            control if control < ' ' => {
                let _ = write!(text, "\\u{:04x}", u32::from(control));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}
