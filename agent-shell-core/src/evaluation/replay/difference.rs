//! How two JSON values differ, in a few places.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// So many differences are named at most.
const MOST: usize = 20;

/// So many characters of a value are shown, from a little before the first one that differs.
const SHOWN: usize = 60;

/// How many characters before the first one that differs are shown.
const BEFORE: usize = 15;

/// One place at which two values differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The place, as RFC 6901 writes it; tools stand under their names: `/prompt/tools/refund/description`.
    pub pointer: String,
    /// What is recorded there; none where there is nothing.
    pub recorded: Option<Value>,
    /// What is there now; none where there is nothing.
    pub now: Option<Value>,
}

/// The places at which two values differ, members in the order of their names; the first twenty.
pub(super) fn differences(recorded: &Value, now: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", Some(recorded), Some(now), &mut found);
    found
}

fn compare(pointer: &str, recorded: Option<&Value>, now: Option<&Value>, found: &mut Vec<Difference>) {
    if recorded == now || found.len() >= MOST {
        return;
    }
    match (recorded, now) {
        (Some(Value::Object(recorded)), Some(Value::Object(now))) => {
            let names: BTreeSet<&String> = recorded.keys().chain(now.keys()).collect();
            for name in names {
                let at = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
                compare(&at, recorded.get(name), now.get(name), found);
            }
        }
        (Some(Value::Array(recorded)), Some(Value::Array(now))) => {
            for index in 0..recorded.len().max(now.len()) {
                compare(&format!("{pointer}/{index}"), recorded.get(index), now.get(index), found);
            }
        }
        _ => found.push(Difference {
            pointer: pointer.to_owned(),
            recorded: recorded.cloned(),
            now: now.cloned(),
        }),
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<Value>| value.as_ref().map(Value::to_string);
        let (recorded, now) = (text(&self.recorded), text(&self.now));
        let same = match (&recorded, &now) {
            (Some(one), Some(other)) => {
                one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count()
            }
            _ => 0,
        };
        let from = same.saturating_sub(BEFORE);
        let pointer = if self.pointer.is_empty() { "all of it" } else { &self.pointer };
        write!(f, "{pointer}: {} -> {}", shown(recorded.as_deref(), from), shown(now.as_deref(), from))
    }
}

fn shown(text: Option<&str>, from: usize) -> String {
    let Some(text) = text else { return "nothing".to_owned() };
    let rest: String = text.chars().skip(from).take(SHOWN).collect();
    let before = if from > 0 { "..." } else { "" };
    let after = if text.chars().count() > from + SHOWN { "..." } else { "" };
    format!("{before}{rest}{after}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_named_by_pointer_in_order_and_shown_around_their_beginning() {
        let long = "a".repeat(100);
        let recorded = json!({ "b/c": [1, 2], "a": format!("{long}x"), "same": true });
        let now = json!({ "b/c": [1, 3, 4], "a": format!("{long}y"), "same": true, "new": null });
        let found = differences(&recorded, &now);
        let pointers: Vec<&str> = found.iter().map(|found| found.pointer.as_str()).collect();
        assert_eq!(pointers, ["/a", "/b~1c/1", "/b~1c/2", "/new"]);
        let a = "a".repeat(14);
        assert_eq!(found[0].to_string(), format!("/a: ...a{a}x\" -> ...a{a}y\""));
        assert_eq!(found[2].to_string(), "/b~1c/2: nothing -> 4");
        assert_eq!(found[3].to_string(), "/new: nothing -> null");
    }
}
