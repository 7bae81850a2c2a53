//! Filling in templates from a turn.

use serde_json::Value;

use super::state::TurnState;
use crate::data::{MOST_LEVELS, Template, is_deeper};

/// What an RFC 6901 pointer names in a value; the whole for an empty one.
pub(super) fn pointed<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    if pointer.is_empty() { Some(value) } else { value.pointer(pointer) }
}

/// The value that a template makes now, of at most about so many bytes of JSON: a template can name a large output many
/// times.
///
/// # Errors
/// What is missing, or that it is too large.
pub(super) fn resolve(template: &Template, turn: &TurnState, most_bytes: usize) -> Result<Value, String> {
    make(template, turn, &mut { most_bytes })
}

fn make(template: &Template, turn: &TurnState, room: &mut usize) -> Result<Value, String> {
    let value = match template {
        Template::Object(members) => {
            return members
                .iter()
                .map(|(name, member)| Ok((name.clone(), make(member, turn, room)?)))
                .collect();
        }
        Template::List(items) => return items.iter().map(|item| make(item, turn, room)).collect(),
        Template::Value(value) => value,
        Template::Output { step, pointer } => {
            let output = turn.output(step).ok_or_else(|| format!("step `{step}` has no output"))?;
            named(output, pointer, || format!("the output of step `{step}`"))?
        }
        Template::Input { pointer } => named(&turn.input, pointer, || "the turn's input".into())?,
        Template::Context { key } => turn.context.values.get(key).unwrap_or(&Value::Null),
        Template::Invalid(error) => return Err(error.to_string()),
    };
    let bytes = json_bytes(value);
    *room = room.checked_sub(bytes).ok_or("what the template makes is larger than the limits allow")?;
    Ok(value.clone())
}

fn named<'a>(value: &'a Value, pointer: &str, what: impl Fn() -> String) -> Result<&'a Value, String> {
    pointed(value, pointer).ok_or_else(|| format!("{} has nothing at `{pointer}`", what()))
}

/// How many bytes a value's JSON has at most, without writing it. Only numbers with a fraction may have fewer.
pub(crate) fn json_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => digits(number),
            (_, Some(number)) => 1 + digits(number.unsigned_abs()),
            _ => 25,
        },
        Value::String(text) => text_bytes(text),
        Value::Array(items) => 2 + items.iter().map(|item| json_bytes(item) + 1).sum::<usize>(),
        Value::Object(members) => {
            2 + members.iter().map(|(name, member)| text_bytes(name) + 2 + json_bytes(member)).sum::<usize>()
        }
    }
}

fn digits(number: u64) -> usize {
    1 + number.checked_ilog10().unwrap_or(0) as usize
}

/// A text in quotes, with what must be escaped.
fn text_bytes(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 1,
        0..0x20 => 5,
        _ => 0,
    };
    // Most text needs no escapes, and whole chunks are looked at faster than bytes.
    let is_plain = |chunk: &[u8]| {
        chunk.iter().fold(true, |plain, byte| plain & (*byte >= 0x20) & (*byte != b'"') & (*byte != b'\\'))
    };
    let in_chunk =
        |chunk: &[u8]| if is_plain(chunk) { 0 } else { chunk.iter().copied().map(escaped).sum::<usize>() };
    2 + text.len() + text.as_bytes().chunks(64).map(in_chunk).sum::<usize>()
}

/// Why a value can't be stored, if it can't: what it has, and what is allowed.
pub(crate) fn too_large(value: &Value, most_bytes: usize) -> Option<String> {
    let bytes = json_bytes(value);
    if bytes > most_bytes {
        return Some(format!("has about {bytes} bytes of JSON: at most {most_bytes} are allowed"));
    }
    is_deeper(value, MOST_LEVELS).then(|| format!("is nested deeper than {MOST_LEVELS} levels"))
}

/// How deep a plan's JSON may be nested: templates as deep as a value, and the levels of the plan around them.
pub(crate) const MOST_LEVELS_OF_A_PLAN: usize = MOST_LEVELS + 32;
