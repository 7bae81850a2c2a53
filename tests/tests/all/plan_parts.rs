//! Plans that are refused, and what is said of them.

use agent_shell_core::data::{PlanError, PlanPart};
use agent_shell_core::words::StepId;
use agent_shell_core::{Plan, Reducer, Step, Template, context, from, input, output};
use serde_json::json;

fn part(step: &str) -> PlanPart {
    PlanPart::Step(StepId::new(step).unwrap())
}

/// Every way in which a pointer comes into a plan: the error names the step, or the answer, and the pointer.
fn refusals(pointer: &str) -> Vec<Result<Plan, PlanError>> {
    let first = || Step::tool("first", "tool", json!({}));
    let second = |input| Plan::new([first(), Step::tool("second", "tool", input)]);
    let shown = Template::list([Template::object([("deep", from("first", pointer))])]);
    vec![
        second(input(pointer)),
        second(Template::object([("n", input(pointer))])),
        second(Template::list([from("first", pointer)])),
        Plan::new([first(), Step::approval("second", shown)]),
        Plan::new([first(), Step::signal("second", "paid").writes("sum", Reducer::Sum, pointer)]),
        Plan::builder().step(first()).answer(from("first", pointer)).build(),
        Plan::builder().step(first()).answer(Template::object([("n", input(pointer))])).build(),
    ]
}

#[test]
fn a_pointer_is_one_of_rfc_6901() {
    for wrong in ["x", "order/id", "~0", "/a~", "/a~2", "/~~0", " /a"] {
        let refusals = refusals(wrong);
        for (nth, refused) in refusals.iter().enumerate() {
            let part = if nth < 5 { part("second") } else { PlanPart::Answer };
            assert_eq!(*refused, Err(PlanError::Pointer { part, pointer: wrong.into() }), "{nth}");
        }
        let message = refusals[0].as_ref().unwrap_err().to_string();
        assert!(message.starts_with(&format!("step `second`: `{wrong}` is no pointer")), "{message}");
    }
    for right in ["", "/", "/x", "/order/id", "//", "/a~0b", "/~1", "/~01", "/0", "/\u{e9} \""] {
        for (nth, accepted) in refusals(right).into_iter().enumerate() {
            assert!(accepted.is_ok(), "`{right}` in {nth}: {accepted:?}");
        }
    }
}

#[test]
fn a_plan_that_is_read_back_is_checked_too() {
    let plan = Plan::new([Step::tool("first", "tool", input("/n"))]).unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    let refused = serde_json::from_str::<Plan>(&text.replace("/n", "n")).unwrap_err();
    assert!(refused.to_string().contains("step `first`: `n` is no pointer"), "{refused}");
}

#[test]
fn a_wrong_name_is_told_of_what_holds_it() {
    let fine = || Step::tool("fine", "tool", json!({}));
    let message = |plan: Result<Plan, PlanError>| plan.unwrap_err().to_string();
    // The step has no id by which it could be named. What else is wrong with it does not hide that.
    for step in [Step::tool("", "tool", json!({})), Step::tool("", "", json!({})).lock("").after([""])] {
        let refused = Plan::new([fine(), step]);
        assert!(matches!(&refused, Err(PlanError::Name { part: PlanPart::Nth(2), .. })), "{refused:?}");
        let told = message(refused);
        assert!(told.starts_with("step number 2 of the plan: the step's id is empty"), "{told}");
    }
    for step in [
        Step::tool("wrong", "", json!({})),
        Step::tool("wrong", "tool", output("a\nb")),
        Step::signal("wrong", "a\nb"),
        Step::signal("wrong", "paid").after([""]),
        Step::signal("wrong", "paid").lock("").lock("fine"),
        Step::signal("wrong", "paid").writes("", Reducer::Sum, ""),
        Step::approval("wrong", context("")),
    ] {
        let refused = Plan::new([fine(), step.clone()]);
        assert!(
            matches!(&refused, Err(PlanError::Name { part: named, .. }) if *named == part("wrong")),
            "{step:?}"
        );
    }
    let refused = Plan::builder().step(fine()).answer(Template::list([context("")])).build();
    assert_eq!(
        message(refused),
        "the plan's answer: the context key is empty: give it at least one character"
    );
}
