//! The structure alone, without a crate: the keywords that models break. What it does not know it passes over, so it never
//! refuses what the schema allows, whichever draft of JSON Schema that is.

use serde_json::{Map, Value};

use super::place;

/// So many schemas are looked at for one value. Beyond that all passes: a small schema can ask for endless work.
const LOOKS: u32 = 100_000;
/// So deep may references and members lie within each other. Below that all passes.
const DEPTH: u32 = 100;

/// What is wrong with the value, the first problem found.
pub(super) fn problem(schema: &Value, value: &Value) -> Option<String> {
    let draft = schema.get("$schema").and_then(Value::as_str).unwrap_or_default();
    let is = |names: &[&str]| names.iter().any(|name| draft.contains(name));
    let mut check = Check {
        root: schema,
        reference_rules_alone: is(&["draft-03", "draft-04", "draft-06", "draft-07"]),
        has_const: !is(&["draft-03", "draft-04"]),
        looks: 0,
        depth: 0,
    };
    check.problem(schema, value, "")
}

struct Check<'a> {
    root: &'a Value,
    /// Before draft 2019-09 nothing counts beside a `$ref`.
    reference_rules_alone: bool,
    has_const: bool,
    looks: u32,
    depth: u32,
}

impl<'a> Check<'a> {
    fn problem(&mut self, schema: &'a Value, value: &Value, pointer: &str) -> Option<String> {
        self.looks += 1;
        if self.looks > LOOKS || self.depth >= DEPTH {
            return None;
        }
        self.depth += 1;
        let problem = match schema {
            Value::Bool(false) => Some(format!("{}: nothing is allowed here", place(pointer))),
            Value::Object(rules) if self.is_ours(schema) => self.rules(rules, value, pointer),
            _ => None,
        };
        self.depth -= 1;
        problem
    }

    /// Whether references in the schema start from the root: in a part with an id of its own they don't.
    fn is_ours(&self, schema: &Value) -> bool {
        let has_id = |name: &&str| schema.get(name).is_some_and(Value::is_string);
        std::ptr::eq(schema, self.root) || !["$id", "id"].iter().any(has_id)
    }

    fn rules(&mut self, rules: &'a Map<String, Value>, value: &Value, pointer: &str) -> Option<String> {
        if let Some(reference) = rules.get("$ref") {
            let target = reference.as_str().and_then(|reference| self.target(reference));
            let problem = target.and_then(|target| self.problem(target, value, pointer));
            if problem.is_some() || self.reference_rules_alone {
                return problem;
            }
        }
        if let Some(problem) = of_type(rules, value).or_else(|| self.of_value(rules, value)) {
            return Some(format!("{}: {problem}", place(pointer)));
        }
        let within = match value {
            Value::Object(members) => self.members(rules, members, pointer),
            Value::Array(items) => self.items(rules, items, pointer),
            _ => None,
        };
        within.or_else(|| self.combined(rules, value, pointer))
    }

    /// What a reference into the document names; none where that is not certain: an anchor, an escaped pointer, another
    /// document, a part with an id of its own.
    fn target(&self, reference: &str) -> Option<&'a Value> {
        let pointer = reference.strip_prefix('#').filter(|pointer| !pointer.contains('%'))?;
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return None;
        }
        let mut target = self.root;
        for name in pointer.split('/').skip(1) {
            let name = name.replace("~1", "/").replace("~0", "~");
            target = match target {
                Value::Array(items) => items.get(name.parse::<usize>().ok()?)?,
                _ => target.get(&name)?,
            };
            if !self.is_ours(target) {
                return None;
            }
        }
        Some(target)
    }

    fn of_value(&self, rules: &Map<String, Value>, value: &Value) -> Option<String> {
        if let Some(constant) = rules.get("const").filter(|_| self.has_const)
            && !is_same(constant, value)
        {
            return Some(format!("it must be {}", short(constant)));
        }
        let choices = rules.get("enum").and_then(Value::as_array)?;
        if choices.iter().any(|choice| is_same(choice, value)) {
            return None;
        }
        let listed: Vec<_> = choices.iter().take(20).map(short).collect();
        let more = if choices.len() > listed.len() { " or others" } else { "" };
        Some(format!("it must be one of {}{more}", listed.join(", ")))
    }

    fn members(
        &mut self,
        rules: &'a Map<String, Value>,
        members: &Map<String, Value>,
        pointer: &str,
    ) -> Option<String> {
        let required = rules.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            if !members.contains_key(name) {
                return Some(format!("{}: the member `{name}` is missing", place(pointer)));
            }
        }
        let known = rules.get("properties").and_then(Value::as_object);
        for (name, rule) in known.into_iter().flatten() {
            if let Some(member) = members.get(name) {
                let below = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
                let problem = self.problem(rule, member, &below);
                if problem.is_some() {
                    return problem;
                }
            }
        }
        // Patterns of names need a crate, so where there are some all other members pass.
        let is_closed = rules.get("additionalProperties") == Some(&Value::Bool(false))
            && !rules.contains_key("patternProperties");
        let is_unknown = |name: &&String| !known.is_some_and(|known| known.contains_key(*name));
        let unknown = members.keys().filter(|_| is_closed).find(is_unknown)?;
        // It is the model's word, not the schema's: how it is called may be told, but not at length.
        let name: String = unknown.chars().take(64).collect();
        Some(format!("{}: the member `{name}` is not allowed", place(pointer)))
    }

    fn items(&mut self, rules: &'a Map<String, Value>, items: &[Value], pointer: &str) -> Option<String> {
        let rule = rules.get("items").filter(|rule| !rule.is_array())?;
        // Since draft 2020-12 `items` speaks of those after `prefixItems`; before, there was no such keyword.
        if rules.contains_key("prefixItems") {
            return None;
        }
        let mut items = items.iter().enumerate();
        items.find_map(|(index, item)| self.problem(rule, item, &format!("{pointer}/{index}")))
    }

    /// `oneOf` is taken for `anyOf`: whether more than one fits can't be said by who overlooks things.
    fn combined(&mut self, rules: &'a Map<String, Value>, value: &Value, pointer: &str) -> Option<String> {
        for name in ["anyOf", "oneOf"] {
            let Some(choices) = rules.get(name).and_then(Value::as_array) else { continue };
            let mut last = None;
            let fits = choices.iter().any(|choice| {
                last = self.problem(choice, value, pointer);
                last.is_none()
            });
            // Where there is one choice, or the last one is as good as any, its problem says more than that none fits.
            if let Some(problem) = last.filter(|_| !fits) {
                let place = place(pointer);
                return Some(if choices.len() == 1 {
                    problem
                } else {
                    format!("{place}: fits none of its forms")
                });
            }
        }
        let all = rules.get("allOf").and_then(Value::as_array).into_iter().flatten();
        all.into_iter().find_map(|rule| self.problem(rule, value, pointer))
    }
}

fn of_type(rules: &Map<String, Value>, value: &Value) -> Option<String> {
    let names: Vec<_> = match rules.get("type")? {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().map(Value::as_str).collect::<Option<_>>()?,
        _ => return None,
    };
    let is_of = |name: &&str| match *name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => is_integer(value),
        _ => true,
    };
    let fits = names.is_empty() || names.iter().any(is_of);
    (!fits).then(|| format!("it must be of type {}, and is of type {}", names.join(" or "), type_of(value)))
}

/// 1.0 is an integer too, since draft 6.
fn is_integer(value: &Value) -> bool {
    let whole = |double: f64| !double.is_finite() || double.fract() == 0.0;
    value.is_i64() || value.is_u64() || (value.is_number() && value.as_f64().is_none_or(whole))
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Equal as JSON Schema has it: 1 and 1.0 are the same number.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let same = |(name, member)| other.get(name).is_some_and(|other| is_same(member, other));
            one.len() == other.len() && one.iter().all(same)
        }
        _ => one == other,
    }
}

/// A value of the schema, for a message.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
