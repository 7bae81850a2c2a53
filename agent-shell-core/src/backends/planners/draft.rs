//! A plan as a model writes it down. What is read here has the right shape; whether it is a plan, its steps say when they are
//! put together.

use serde_json::{Map, Value, json};

use crate::data::{Template, from, input};
use crate::words::{InvalidName, StepId};

/// How deep an input or an answer may be nested.
const MOST_LEVELS: usize = 32;
/// By which a value names an output.
const FROM: &str = "$from";
/// By which a value names the turn's input.
const INPUT: &str = "$input";

/// What the model wants to be done, and what is answered then.
#[derive(Debug, PartialEq)]
pub(super) struct Draft {
    pub(super) steps: Vec<Drafted>,
    pub(super) answer: Option<Template>,
}

/// A step of it.
#[derive(Debug, PartialEq)]
pub(super) struct Drafted {
    pub(super) id: StepId,
    pub(super) tool: String,
    pub(super) input: Template,
    pub(super) after: Vec<StepId>,
    pub(super) may_fail: bool,
}

/// The JSON Schema of a draft that may use these tools.
pub(super) fn schema(tools: &[&str]) -> Value {
    let tool = if tools.is_empty() { json!({ "type": "string" }) } else { json!({ "enum": tools }) };
    let step = json!({
        "type": "object",
        "properties": {
            "id": { "type": "string", "description": "Its name, which no other step of the turn has" },
            "tool": tool,
            "input": { "description": "What the tool is given; it may hold references" },
            "after": { "type": ["array", "null"], "items": { "type": "string" },
                       "description": "Further steps that must have succeeded before" },
            "may_fail": { "type": ["boolean", "null"], "description": "Whether to go on when it fails" },
        },
        "required": ["id", "tool", "input"],
        "additionalProperties": false,
    });
    json!({
        "type": "object",
        "properties": {
            "steps": { "type": ["array", "null"], "items": step },
            "answer": { "description": "What is answered; it may hold references" },
        },
        "additionalProperties": false,
    })
}

impl Draft {
    /// Reads a draft. A member that is null is as good as none.
    ///
    /// # Errors
    /// What is wrong, and where, for the model to mend.
    pub(super) fn read(value: &Value) -> Result<Self, String> {
        let members = object(value, "the plan", &["steps", "answer"])?;
        let steps = match member(members, "steps") {
            None => Vec::new(),
            Some(steps) => list(steps, "the member `steps`")?
                .iter()
                .enumerate()
                .map(|(place, step)| Drafted::read(step, place + 1))
                .collect::<Result<_, _>>()?,
        };
        // An answer may well be null.
        let answer = members.get("answer").filter(|answer| !answer.is_null() || steps.is_empty());
        let answer = answer.map(|answer| template(answer, "the answer")).transpose()?;
        if steps.is_empty() && answer.is_none() {
            return Err("the plan has neither steps nor an answer: give one of them".into());
        }
        Ok(Self { steps, answer })
    }
}

impl Drafted {
    fn read(value: &Value, place: usize) -> Result<Self, String> {
        let nth = format!("step number {place}");
        let members = object(value, &nth, &["id", "tool", "input", "after", "may_fail"])?;
        let id = step_id(needed(members, "id", &nth)?, &format!("the id of {nth}"))?;
        let what = format!("step `{id}`");
        let tool = text(needed(members, "tool", &what)?, &format!("the member `tool` of {what}"))?;
        let given = members.get("input").ok_or_else(|| format!("{what} has no member `input`"))?;
        let input = template(given, &format!("the input of {what}"))?;
        let place = format!("the member `after` of {what}");
        let after = member(members, "after").map(|after| {
            list(after, &place)?.iter().map(|step| step_id(step, &format!("an item of {place}"))).collect()
        });
        let may_fail = match member(members, "may_fail") {
            None => false,
            Some(Value::Bool(may_fail)) => *may_fail,
            Some(_) => return Err(format!("the member `may_fail` of {what} is neither true nor false")),
        };
        Ok(Self { id, tool: tool.to_owned(), input, after: after.transpose()?.unwrap_or_default(), may_fail })
    }
}

/// The value with its references: what has none is a value of its own.
fn template(value: &Value, what: &str) -> Result<Template, String> {
    let read = read(value, what, MOST_LEVELS)?;
    Ok(read.unwrap_or_else(|| Template::Value(value.clone())))
}

/// None for a value without references.
fn read(value: &Value, what: &str, levels: usize) -> Result<Option<Template>, String> {
    let deeper = || levels.checked_sub(1).ok_or(format!("{what} is nested deeper than {MOST_LEVELS} levels"));
    let whole = |value: &Value, template: Option<Template>| {
        template.unwrap_or_else(|| Template::Value(value.clone()))
    };
    Ok(match value {
        Value::Object(members) if members.contains_key(FROM) || members.contains_key(INPUT) => {
            Some(reference(members, what)?)
        }
        Value::Object(members) => {
            let levels = deeper()?;
            let read: Vec<_> = members
                .iter()
                .map(|(name, member)| Ok((name, member, read(member, what, levels)?)))
                .collect::<Result<_, String>>()?;
            let has_references = read.iter().any(|(.., template)| template.is_some());
            let parts =
                read.into_iter().map(|(name, member, template)| (name.clone(), whole(member, template)));
            has_references.then(|| Template::object(parts))
        }
        Value::Array(items) => {
            let levels = deeper()?;
            let read: Vec<_> = items
                .iter()
                .map(|item| Ok((item, read(item, what, levels)?)))
                .collect::<Result<_, String>>()?;
            let has_references = read.iter().any(|(_, template)| template.is_some());
            let parts = read.into_iter().map(|(item, template)| whole(item, template));
            has_references.then(|| Template::list(parts))
        }
        _ => None,
    })
}

fn reference(members: &Map<String, Value>, what: &str) -> Result<Template, String> {
    let form = || {
        format!(
            "{what} holds a reference that is none: write {{\"$from\": \"step\", \"pointer\": \"/member\"}} or \
             {{\"$input\": \"/member\"}} and nothing else in it"
        )
    };
    let only = |known: &[&str]| members.keys().all(|name| known.contains(&name.as_str()));
    let pointer = |name: &str| match members.get(name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(pointer)) => Ok(pointer.as_str()),
        Some(_) => Err(form()),
    };
    match members.get(FROM) {
        Some(Value::String(step)) if only(&[FROM, "pointer"]) => match from(step, pointer("pointer")?) {
            Template::Invalid(error) => Err(format!("{what}: {error}")),
            template => Ok(template),
        },
        None if only(&[INPUT]) => Ok(input(pointer(INPUT)?)),
        _ => Err(form()),
    }
}

fn object<'a>(value: &'a Value, what: &str, known: &[&str]) -> Result<&'a Map<String, Value>, String> {
    let members = value.as_object().ok_or_else(|| format!("{what} is no JSON object"))?;
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        // It is the model's word: it may be told, but not at length.
        Some(unknown) => {
            let name: String = unknown.chars().take(64).collect();
            Err(format!("{what} has a member `{name}`: there are {}", known.join(", ")))
        }
        None => Ok(members),
    }
}

fn member<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members.get(name).filter(|member| !member.is_null())
}

fn needed<'a>(members: &'a Map<String, Value>, name: &str, what: &str) -> Result<&'a Value, String> {
    member(members, name).ok_or_else(|| format!("{what} has no member `{name}`"))
}

fn list<'a>(value: &'a Value, what: &str) -> Result<&'a Vec<Value>, String> {
    value.as_array().ok_or_else(|| format!("{what} is no list"))
}

fn text<'a>(value: &'a Value, what: &str) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| format!("{what} is no text"))
}

fn step_id(value: &Value, what: &str) -> Result<StepId, String> {
    StepId::new(text(value, what)?).map_err(|error: InvalidName| format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_wherever_they_stand_and_the_rest_is_literal() {
        let draft = json!({ "steps": [{
            "id": "a", "tool": "t", "after": ["z"], "may_fail": true,
            "input": { "whole": { "$from": "b" }, "list": [1, { "$from": "b", "pointer": "/x" }], "own": { "$input": "/n" },
                       "plain": { "from": "b", "deep": [1] } },
        }], "answer": { "$input": "" } });
        let read = Draft::read(&draft).unwrap();
        let expected = Template::object([
            ("whole", from("b", "")),
            ("list", Template::list([json!(1).into(), from("b", "/x")])),
            ("own", input("/n")),
            ("plain", json!({ "from": "b", "deep": [1] }).into()),
        ]);
        let step = &read.steps[0];
        assert_eq!((step.id.as_str(), step.tool.as_str(), step.may_fail), ("a", "t", true));
        assert_eq!((&step.input, step.after.len()), (&expected, 1));
        assert_eq!(read.answer, Some(input("")));
        assert_eq!(Draft::read(&json!({ "answer": null })).unwrap().answer, Some(Value::Null.into()));
    }

    #[test]
    fn what_is_no_draft_is_told_with_its_place() {
        let step = |member: &str, value: Value| {
            let mut step = json!({ "id": "a", "tool": "t", "input": {} });
            step[member] = value;
            json!({ "steps": [step] })
        };
        let mut deep = json!(1);
        for _ in 0..40 {
            deep = json!([deep]);
        }
        let reference = "a reference that is none";
        for (draft, problem) in [
            (json!([]), "the plan is no JSON object"),
            (json!({}), "neither steps nor an answer"),
            (
                json!({ "steps": [], "answer": null, "why": 1 }),
                "the plan has a member `why`: there are steps, answer",
            ),
            (json!({ "steps": { "a": 1 } }), "the member `steps` is no list"),
            (json!({ "steps": [{ "tool": "t", "input": {} }] }), "step number 1 has no member `id`"),
            (json!({ "steps": [{ "id": "a", "tool": "t" }] }), "step `a` has no member `input`"),
            (step("id", json!("")), "the id of step number 1: "),
            (step("tool", Value::Null), "step `a` has no member `tool`"),
            (step("tool", json!(1)), "the member `tool` of step `a` is no text"),
            (step("after", json!("b")), "the member `after` of step `a` is no list"),
            (step("after", json!([1])), "an item of the member `after` of step `a` is no text"),
            (step("may_fail", json!("no")), "the member `may_fail` of step `a` is neither true nor false"),
            (step("depends", json!([])), "step number 1 has a member `depends`"),
            (step("input", json!({ "n": { "$from": 1 } })), reference),
            (step("input", json!({ "n": { "$from": "b", "path": "/n" } })), reference),
            (step("input", json!({ "n": { "$from": "b", "pointer": 1 } })), reference),
            (step("input", json!({ "$input": "/n", "$from": "b" })), reference),
            (step("input", json!({ "$from": "" })), "the input of step `a`: "),
            (step("input", deep), "the input of step `a` is nested deeper than 32 levels"),
        ] {
            let told = Draft::read(&draft).unwrap_err();
            assert!(told.contains(problem), "{draft}: {told}");
        }
    }
}
