use serde_json::{Value, json};

use super::light;
use crate::data::{Answer, AnswerFormat, Said};

/// Whether the schema allows the value, and whether the light check knows.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Verdict {
    Allowed,
    /// Both checks refuse it.
    Refused,
    /// The full check refuses it, and the light one lets it pass.
    Overlooked,
}
use Verdict::{Allowed, Overlooked, Refused};

/// One object of a refund, as schemars writes it.
fn refund() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["order", "cents"],
        "properties": {
            "order": { "type": "string", "pattern": "^[A-Z]-" },
            "cents": { "type": "integer", "minimum": 0 },
            "why": { "anyOf": [{ "$ref": "#/$defs/Why" }, { "type": "null" }] },
            "parts": { "type": "array", "items": { "$ref": "#/$defs/Part" } },
        },
        "additionalProperties": false,
        "$defs": {
            "Why": { "enum": ["broken", "late"] },
            "Part": { "type": ["string", "number"] },
        },
    })
}

fn table() -> Vec<(Value, Value, Verdict)> {
    let one_of = json!({ "oneOf": [
        { "properties": { "kind": { "const": "a" } }, "required": ["kind"] },
        { "properties": { "kind": { "const": "b" }, "n": { "type": "number" } }, "required": ["kind"] },
    ] });
    let list = json!({
        "properties": { "next": { "$ref": "#" }, "n": { "type": "number" } }, "required": ["n"], "type": "object",
    });
    let draft_7 = |schema: Value| {
        let mut schema = schema;
        schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
        schema
    };
    let beside =
        json!({ "$ref": "#/definitions/a", "type": "null", "definitions": { "a": { "type": "string" } } });
    let other_id = json!({
        "properties": { "x": {
            "$id": "https://example.com/x", "$ref": "#/$defs/a", "$defs": { "a": { "type": "string" } },
        } },
        "$defs": { "a": { "type": "number" } },
    });
    vec![
        (refund(), json!({ "order": "A-1", "cents": 3 }), Allowed),
        (refund(), json!({ "order": "A-1", "cents": 3.0, "why": null, "parts": ["x", 1.5] }), Allowed),
        (refund(), json!({ "order": "A-1", "cents": 3, "why": "late", "parts": [] }), Allowed),
        (refund(), json!({ "order": "A-1" }), Refused),
        (refund(), json!({ "order": "A-1", "cents": "3" }), Refused),
        (refund(), json!({ "order": "A-1", "cents": 3.5 }), Refused),
        (refund(), json!({ "order": "A-1", "cents": 3, "why": "bored" }), Refused),
        (refund(), json!({ "order": "A-1", "cents": 3, "parts": [1, true] }), Refused),
        (refund(), json!({ "order": "A-1", "cents": 3, "more": 1 }), Refused),
        (refund(), json!(["A-1", 3]), Refused),
        (refund(), json!({ "order": "a-1", "cents": 3 }), Overlooked),
        (refund(), json!({ "order": "A-1", "cents": -3 }), Overlooked),
        (one_of.clone(), json!({ "kind": "a" }), Allowed),
        (one_of.clone(), json!({ "kind": "b", "n": 1 }), Allowed),
        (one_of.clone(), json!({ "kind": "b", "n": "1" }), Refused),
        (one_of.clone(), json!({ "kind": "c" }), Refused),
        (json!({ "oneOf": [{ "type": "number" }, { "type": "integer" }] }), json!(1), Overlooked),
        (json!({ "allOf": [{ "type": "number" }, { "type": "integer" }] }), json!(1), Allowed),
        (json!({ "allOf": [{ "type": "number" }, { "type": "integer" }] }), json!(1.5), Refused),
        (json!({ "anyOf": [{ "type": "number" }] }), json!("1"), Refused),
        (list.clone(), json!({ "n": 1, "next": { "n": 2, "next": { "n": 3 } } }), Allowed),
        (list.clone(), json!({ "n": 1, "next": { "n": 2, "next": { "n": "3" } } }), Refused),
        (json!({ "enum": [1, { "a": [2.0] }] }), json!(1.0), Allowed),
        (json!({ "enum": [1, { "a": [2.0] }] }), json!({ "a": [2] }), Allowed),
        (json!({ "enum": [1, { "a": [2.0] }] }), json!({ "a": [2], "b": 0 }), Refused),
        (json!({ "const": null }), json!(null), Allowed),
        (json!({ "const": null }), json!(0), Refused),
        (json!(true), json!(1), Allowed),
        (json!(false), json!(1), Refused),
        (json!({ "properties": { "a": false } }), json!({ "b": 1 }), Allowed),
        (json!({ "properties": { "a": false } }), json!({ "a": 1 }), Refused),
        // A rule of objects says nothing of what is none.
        (json!({ "required": ["a"], "properties": { "a": {} } }), json!("a"), Allowed),
        (json!({ "items": { "type": "number" } }), json!({ "0": "a" }), Allowed),
        (
            json!({ "patternProperties": { "^x-": {} }, "additionalProperties": false }),
            json!({ "x-a": 1 }),
            Allowed,
        ),
        (
            json!({ "patternProperties": { "^x-": {} }, "additionalProperties": false }),
            json!({ "a": 1 }),
            Overlooked,
        ),
        (
            json!({ "prefixItems": [{ "type": "string" }], "items": { "type": "number" } }),
            json!(["a", 1]),
            Allowed,
        ),
        (json!({ "prefixItems": [{ "type": "string" }], "items": false }), json!(["a", 1]), Overlooked),
        // In draft 7 what stands beside a reference does not count, and since 2019-09 it does.
        (draft_7(beside.clone()), json!("a"), Allowed),
        (draft_7(beside.clone()), json!(1), Refused),
        (beside, json!("a"), Refused),
        (draft_7(json!({ "items": [{ "type": "string" }] })), json!(["a", 1]), Allowed),
        (draft_7(json!({ "items": [{ "type": "string" }] })), json!([1]), Overlooked),
        // References in a part with its own id start there.
        (other_id.clone(), json!({ "x": "a" }), Allowed),
        (other_id, json!({ "x": 1 }), Overlooked),
        (json!({ "$ref": "#/$defs/a~1b", "$defs": { "a/b": { "type": "null" } } }), json!(1), Refused),
        (json!({ "$ref": "#/$defs/a%20b", "$defs": { "a b": { "type": "null" } } }), json!(1), Overlooked),
        (
            json!({ "$ref": "#here", "$defs": { "a": { "$anchor": "here", "type": "null" } } }),
            json!(1),
            Overlooked,
        ),
        (json!({ "format": "date", "type": "string" }), json!("tomorrow"), Allowed),
    ]
}

/// The rows that a check judges otherwise than it should.
fn misjudged(
    check: impl Fn(&Value, &Value) -> Option<String>,
    refuses: impl Fn(Verdict) -> bool,
) -> Vec<String> {
    let judge = |(schema, value, verdict)| {
        let problem = check(&schema, &value);
        (problem.is_some() != refuses(verdict)).then(|| format!("{schema} of {value}: {problem:?}"))
    };
    table().into_iter().filter_map(judge).collect()
}

#[test]
fn the_light_check_refuses_nothing_that_a_schema_allows() {
    assert_eq!(misjudged(light::problem, |verdict| verdict == Refused), [""; 0]);
}

#[cfg(feature = "json-schema")]
#[test]
fn the_full_check_knows_the_whole_of_json_schema() {
    assert_eq!(misjudged(super::full::problem, |verdict| verdict != Allowed), [""; 0]);
    let problem = super::problem(&json!({ "type": "strin" }), &json!("a")).unwrap();
    assert!(problem.starts_with("the form itself is no JSON Schema: "), "{problem}");
    let elsewhere = json!({ "$ref": "https://example.com/elsewhere" });
    assert!(super::problem(&elsewhere, &json!("a")).is_some(), "nothing is fetched");
}

#[test]
fn what_is_no_schema_refuses_nothing_in_the_light_check() {
    for schema in [json!(1), json!({ "type": "strin" }), json!({ "type": [1] }), json!({ "required": true })]
    {
        assert_eq!(light::problem(&schema, &json!({ "a": 1 })), None, "{schema}");
    }
    for reference in ["https://example.com/elsewhere", "#/not/there", "other.json#/a"] {
        assert_eq!(light::problem(&json!({ "$ref": reference }), &json!(1)), None, "{reference}");
    }
}

#[test]
fn a_schema_that_asks_for_endless_work_ends() {
    let endless = [
        json!({ "$ref": "#" }),
        json!({ "allOf": [{ "$ref": "#" }, { "$ref": "#" }] }),
        json!({ "$ref": "#/$defs/a", "$defs": { "a": { "allOf": [{ "$ref": "#" }, { "$ref": "#" }] } } }),
    ];
    for schema in endless {
        assert_eq!(light::problem(&schema, &json!(1)), None, "{schema}");
    }
}

#[test]
fn a_problem_names_the_place_and_nothing_of_the_value() {
    let format = AnswerFormat { name: "refund".into(), schema: refund() };
    let secret = json!({ "order": "A-1", "cents": 3, "parts": [1, ["my-secret"]] });
    let problem = format.problem_with(&secret).unwrap();
    assert!(problem.contains("/parts/1") && !problem.contains("my-secret"), "{problem}");
    let missing = format.problem_with(&json!({ "order": "my-secret" })).unwrap();
    assert!(missing.contains("cents") && !missing.contains("my-secret"), "{missing}");
    assert_eq!(format.problem_with(&json!({ "order": "A-1", "cents": 3 })), None);
}

#[test]
fn an_answer_is_read_as_json_with_one_fence_around_it() {
    let json = |text: &str| Answer::new(vec![Said::text(text)]).json();
    let read = [
        r#"{"a": 1}"#,
        " {\"a\": 1}\n",
        "```json\n{\"a\": 1}\n```",
        "\n```\n{\"a\": 1}\n```\n",
        "````JSON\n{\"a\":\n1}\n````",
    ];
    for text in read {
        assert_eq!(json(text).unwrap(), json!({ "a": 1 }), "{text}");
    }
    assert_eq!(json("```\n\"```\"\n```").unwrap(), json!("```"));
    let refused = [
        "",
        "Here you are: {\"a\": 1}",
        "```json\n{\"a\": 1}",
        "```json\n```json\n{\"a\": 1}\n```\n```",
        "```json {\"a\": 1} ```",
        "```",
        "``````",
    ];
    for text in refused {
        let why = json(text).unwrap_err();
        assert!(why.starts_with("the answer is no JSON: "), "{text}: {why}");
    }
    let split = Answer::new(vec![Said::text("{\"a\""), Said::text(": 1}")]);
    assert_eq!(split.json().unwrap(), json!({ "a": 1 }));
}
