//! Which budgets apply, and which are refused.

use agent_shell_core::data::PlanError;
use agent_shell_core::{Delegate, ErrorKind, Limits, Shell};

use super::*;

#[test]
fn without_budgets_nothing_is_told() {
    let steps = [Step::tool("slow", "act", json!(20_000)), Step::tool("look", "look", json!(20_000))];
    let plan = Plan::new(steps).unwrap();
    let run = kit(LatencyBudgets::NONE).run(move |host| run_plan(host, plan.clone())).unwrap();
    assert_eq!(breaches(&run.journal), []);
    let started = &run.journal.all()[1].entry.body;
    assert!(matches!(started, Body::TurnStarted { latency: None, .. }), "{started:?}");
    assert!(!serde_json::to_string(started).unwrap().contains("latency"));
}

#[test]
fn a_step_may_have_a_budget_of_its_own() {
    let steps = |own: u64| {
        Plan::new([
            Step::tool("own", "act", json!(60)).latency_budget(ms(own)),
            Step::tool("other", "act", json!(60)),
        ])
        .unwrap()
    };
    let own = |budget| breach(LatencyStage::Tool, Some("own"), budget, 60);
    // Without any of the shell's.
    assert_eq!(told_of_plan(LatencyBudgets::NONE, steps(59)), [own(59)]);
    assert_eq!(told_of_plan(LatencyBudgets::NONE, steps(60)), []);
    // In the place of the shell's.
    let other = breach(LatencyStage::Tool, Some("other"), 50, 60);
    assert_eq!(told_of_plan(only(LatencyStage::Tool, 50), steps(100)), [other]);
    assert_eq!(told_of_plan(only(LatencyStage::Tool, 100), steps(59)), [own(59)]);
}

#[test]
fn of_one_stage_of_one_step_it_is_told_once() {
    let plan = Plan::new([Step::tool("fail", "fail", json!(60))]).unwrap();
    let run = kit(only(LatencyStage::Tool, 59)).run(move |host| run_plan(host, plan.clone())).unwrap();
    assert_eq!(run.journal.calls("fail")[0].attempts, 3);
    assert_eq!(breaches(&run.journal), [breach(LatencyStage::Tool, Some("fail"), 59, 60)]);
    run.journal.assert_order(["attempt.failed", "latency.breached", "step.succeeded"]);
}

#[test]
fn of_one_turn_it_is_told_so_often_and_of_the_turn_itself_always() {
    let names = ["a", "b", "c", "d", "e"];
    for (most, expected) in [(0, 1), (2, 3), (5, 6), (64, 6)] {
        let kit = TestKit::new(move |life| {
            let mut limits = Limits::default();
            limits.latency_breaches = most;
            let budgets = only(LatencyStage::Tool, 10).with(LatencyStage::Turn, ms(10));
            shell(life).limits(limits).latency(budgets)
        });
        let plan = Plan::new(names.map(|name| Step::tool(name, "act", json!(20)))).unwrap();
        let told = breaches(&kit.run(move |host| run_plan(host, plan.clone())).unwrap().journal);
        assert_eq!(told.len(), expected, "{told:?}");
        assert_eq!(told[expected - 1].stage, LatencyStage::Turn);
    }
}

/// Of a shell that bounds nothing, a step's own budget is bounded by the same.
#[test]
fn a_step_of_its_own_budget_is_bounded_too() {
    let kit = TestKit::new(move |life| {
        let mut limits = Limits::default();
        limits.latency_breaches = 0;
        shell(life).limits(limits)
    });
    let plan = Plan::new([Step::tool("own", "act", json!(60)).latency_budget(ms(1))]).unwrap();
    assert_eq!(breaches(&kit.run(move |host| run_plan(host, plan.clone())).unwrap().journal), []);
}

#[test]
fn a_child_has_the_budgets_of_the_shell_that_starts_it() {
    let child = Delegate::to_plan(Plan::new([Step::tool("call", "act", json!(60))]).unwrap(), json!(null))
        .tools(["act"]);
    let plan = Plan::new([Step::child("kid", child)]).unwrap();
    let told = told_of_plan(only(LatencyStage::Tool, 59).with(LatencyStage::Turn, ms(50)), plan);
    let stages: Vec<_> = told.iter().map(|breach| (breach.stage, breach.step.as_deref())).collect();
    let turn = (LatencyStage::Turn, None);
    // The child's call and turn, and the turn that waited for it.
    assert_eq!(stages, [(LatencyStage::Tool, Some("call")), turn, turn]);
}

#[tokio::test]
async fn a_budget_of_nothing_is_refused() {
    for stage in LatencyStage::ALL {
        let budgets = LatencyBudgets::NONE.with(stage, Duration::from_micros(999));
        let error = Shell::volatile().latency(budgets).open().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&format!("`{stage}`")), "{error}");
    }
    let of_step = |step: Step| Plan::new([step]).unwrap_err();
    let expected = PlanError::Latency { step: "s".try_into().unwrap() };
    let call = Step::tool("s", "act", json!(1));
    assert_eq!(of_step(call.clone().latency_budget(Duration::from_micros(999))), expected);
    // Nothing of these could take too long.
    assert_eq!(of_step(Step::timer("s", ms(1)).latency_budget(ms(1))), expected);
    assert_eq!(of_step(Step::signal("s", "go").latency_budget(ms(1))), expected);
    Plan::new([call.latency_budget(ms(1))]).unwrap();
}

#[test]
fn budgets_are_plain_data() {
    let budgets = only(LatencyStage::Append, 20).with(LatencyStage::Turn, ms(1_000));
    let text = r#"{"append_ms":20,"turn_ms":1000}"#;
    assert_eq!(serde_json::to_string(&budgets).unwrap(), text);
    assert_eq!(serde_json::from_str::<LatencyBudgets>(text).unwrap(), budgets);
    for stage in LatencyStage::ALL {
        assert_eq!(only(stage, 7).of(stage), Some(7));
        assert_eq!(json!(stage), json!(stage.name()));
        let member = format!("{stage}_ms");
        assert_eq!(json!(only(stage, 7)), json!({ member: 7 }));
    }
}
