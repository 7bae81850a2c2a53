//! How large and how deep a value's JSON is, found by writing it to nowhere.

use std::io;

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::Formatter;

/// How deep JSON may be nested. What is read back may be nested 127 deep at most, and records add some levels.
pub(crate) const MOST_LEVELS: usize = 64;

/// Whether a value is nested deeper than so many levels.
pub(crate) fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| is_deeper(item, levels - 1)),
        Value::Object(members) => levels == 0 || members.values().any(|member| is_deeper(member, levels - 1)),
        _ => false,
    }
}

/// The measures of a value's JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Bytes of the text.
    pub(crate) bytes: usize,
    /// Lists and objects inside one another: none in a plain value, one in a list of plain values.
    pub(crate) levels: usize,
}

/// Measures a value; none when it is no JSON.
pub(crate) fn extent(value: &impl Serialize) -> Option<Extent> {
    let mut extent = Extent::default();
    let levels = Levels { now: 0, most: &mut extent.levels };
    value.serialize(&mut serde_json::Serializer::with_formatter(Bytes(&mut extent.bytes), levels)).ok()?;
    Some(extent)
}

struct Bytes<'a>(&'a mut usize);

impl io::Write for Bytes<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        *self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Levels<'a> {
    now: usize,
    most: &'a mut usize,
}

impl Levels<'_> {
    fn enter(&mut self) {
        self.now += 1;
        *self.most = self.now.max(*self.most);
    }
}

impl Formatter for Levels<'_> {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.enter();
        writer.write_all(b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.now -= 1;
        writer.write_all(b"]")
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.enter();
        writer.write_all(b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.now -= 1;
        writer.write_all(b"}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_measures_are_those_of_the_text() {
        for (value, levels) in [
            (json!(null), 0),
            (json!("a \"quoted\"\n \u{1f600} text"), 0),
            (json!([]), 1),
            (json!({ "a": [1, 2.5, true], "b": { "c": [{}] } }), 4),
            (json!([[[]], [[[]]], 7]), 4),
            (json!([[[{ "a": [] }]], [7]]), 5),
        ] {
            assert_eq!(extent(&value), Some(Extent { bytes: value.to_string().len(), levels }), "{value}");
        }
        let keyed_by_a_list = std::collections::BTreeMap::from([(vec![1], Value::Null)]);
        assert_eq!(extent(&keyed_by_a_list), None);
    }
}
