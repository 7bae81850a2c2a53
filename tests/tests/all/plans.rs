//! A plan that exists is valid: what is none is refused when it is made and when it is read back, each mistake with an
//! error that names the step.

use std::time::Duration;

use agent_shell_core::data::PlanError;
use agent_shell_core::{Plan, Reducer, Step, Template, context, from, output};
use serde_json::{Value, json};

fn step(id: &str) -> Step {
    Step::tool(id, "tool", json!({}))
}

fn takes(id: &str, from: &str) -> Step {
    Step::tool(id, "tool", output(from))
}

fn replaces(id: &str) -> Step {
    step(id).writes("key", Reducer::Replace, "")
}

fn reads(id: &str) -> Step {
    Step::tool(id, "tool", Template::object([("key", context("key"))]))
}

/// Steps that are no plan, the variant of the error, and what its message must name.
type Mistake = (Vec<Step>, fn(&PlanError) -> bool, &'static [&'static str]);

fn mistakes() -> Vec<Mistake> {
    vec![
        (vec![], |error| matches!(error, PlanError::Empty), &[]),
        (
            (0..=Plan::MAX_STEPS).map(|nth| step(&format!("s{nth}"))).collect(),
            |error| matches!(error, PlanError::TooManySteps { .. }),
            &["4097", "4096"],
        ),
        (vec![step("")], |error| matches!(error, PlanError::Name { .. }), &["id", "empty"]),
        (
            vec![Step::tool("act", "a\ntool", json!({}))],
            |error| matches!(error, PlanError::Name { .. }),
            &["`act`", "tool", "control character"],
        ),
        (
            vec![takes("act", "not\0a name")],
            |error| matches!(error, PlanError::Name { .. }),
            &["`act`", "control character"],
        ),
        (
            vec![step("a"), step("b"), step("a")],
            |error| matches!(error, PlanError::Duplicate { .. }),
            &["`a`"],
        ),
        (vec![takes("a", "gone")], |error| matches!(error, PlanError::Unknown { .. }), &["`a`", "`gone`"]),
        (
            vec![step("a").after(["gone"])],
            |error| matches!(error, PlanError::Unknown { .. }),
            &["`a`", "`gone`"],
        ),
        (vec![takes("a", "a")], |error| matches!(error, PlanError::Cycle { .. }), &["`a`"]),
        (
            vec![step("first"), takes("a", "c"), takes("b", "a"), step("c").after(["b"])],
            |error| matches!(error, PlanError::Cycle { .. }),
            &["cycle"],
        ),
        (
            vec![step("last").held(), takes("b", "last")],
            |error| matches!(error, PlanError::DependsOnHeld { .. }),
            &["`b`", "`last`"],
        ),
        (
            vec![replaces("a"), replaces("b")],
            |error| matches!(error, PlanError::OrderMatters { .. }),
            &["`a`", "`b`", "`key`"],
        ),
        (
            vec![step("a").writes("key", Reducer::Sum, "/n"), reads("b")],
            |error| matches!(error, PlanError::OrderMatters { .. }),
            &["`a`", "`b`", "`key`"],
        ),
        (
            vec![step("a").writes("key", Reducer::Sum, "/n"), step("b").writes("key", Reducer::Max, "/n")],
            |error| matches!(error, PlanError::OrderMatters { .. }),
            &["`a`", "`b`", "`key`"],
        ),
    ]
}

#[test]
fn what_is_no_plan_is_refused_by_name() {
    let mut wrong = Vec::new();
    for (steps, is_it, named) in mistakes() {
        let shown: Vec<_> = steps.iter().take(4).map(|step| step.id.to_string()).collect();
        match Plan::new(steps) {
            Ok(_) => wrong.push(format!("{shown:?} is taken for a plan")),
            Err(error) if !is_it(&error) => wrong.push(format!("{shown:?}: {error:?}")),
            Err(error) => {
                let message = error.to_string();
                let missing = named.iter().filter(|name| !message.contains(**name));
                wrong.extend(missing.map(|name| format!("{shown:?}: `{message}` does not say {name}")));
            }
        }
    }
    let answer = Plan::builder().step(step("a")).answer(output("gone")).build();
    assert!(
        matches!(&answer, Err(PlanError::Unknown { .. })),
        "an answer may only use what there is: {answer:?}"
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The nearest plans that are valid, so that nothing is refused for another reason.
#[test]
fn what_is_a_plan_is_taken() {
    let plans: Vec<Vec<Step>> = vec![
        vec![step("a")],
        (0..Plan::MAX_STEPS).map(|nth| step(&format!("s{nth}"))).collect(),
        vec![takes("b", "a"), step("a")],
        vec![step("a"), takes("b", "a"), takes("c", "a"), step("d").after(["b", "c"])],
        vec![step("last").held(), takes("b", "c"), step("c")],
        vec![replaces("a"), replaces("b").after(["a"])],
        vec![replaces("a"), takes("b", "a"), reads("c").after(["b"])],
        vec![step("a").writes("key", Reducer::Sum, "/n"), step("b").writes("key", Reducer::Sum, "/n")],
        vec![step("a").writes("key", Reducer::Sum, "/n").lock("l"), reads("b").lock("l")],
        vec![Step::timer("nap", Duration::ZERO), Step::signal("go", "go"), Step::approval("ask", json!("?"))],
    ];
    for steps in plans {
        let shown: Vec<_> = steps.iter().take(4).map(|step| step.id.to_string()).collect();
        let plan = Plan::new(steps).unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        let read: Plan =
            serde_json::from_value(json!(plan)).unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        assert_eq!(read, plan);
    }
    let held = Plan::builder().step(step("last").held()).answer(from("last", "/id")).build();
    assert!(held.is_ok(), "the answer may use a held step: {held:?}");
}

/// An invalid plan can't be smuggled in through what is stored.
#[test]
fn what_is_no_plan_is_refused_when_it_is_read_back() {
    let valid = json!(Plan::new([step("a"), takes("b", "a")]).unwrap());
    let read = |change: fn(&mut Value)| {
        let mut plan = valid.clone();
        change(&mut plan);
        assert_ne!(plan, valid);
        serde_json::from_value::<Plan>(plan)
    };
    assert!(serde_json::from_value::<Plan>(valid.clone()).is_ok());
    for (nth, change) in [
        (|plan| plan["steps"] = json!([])) as fn(&mut Value),
        |plan| plan["steps"][1]["id"] = json!("a"),
        |plan| plan["steps"][0]["after"] = json!(["b"]),
        |plan| plan["steps"][0]["after"] = json!(["gone"]),
        |plan| plan["steps"][0]["held"] = json!(true),
        |plan| plan["answer"] = json!({ "output": { "step": "gone", "pointer": "" } }),
    ]
    .into_iter()
    .enumerate()
    {
        let plan = read(change);
        assert!(plan.is_err(), "change {nth}: {plan:?}");
    }
}
