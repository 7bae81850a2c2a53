//! Calls that differ from the recorded ones, of planners that are asked for no model.

use agent_shell_core::evaluation::{Differs, Replay, ReplayReport, Tape};
use agent_shell_core::ports::{PlanView, Planned, Planner, PlannerError};
use agent_shell_core::{Call, Plan, Shell, ShellBuilder, Step, Tool, ToolError, from};
use async_trait::async_trait;
use serde_json::{Value, json};

/// Calls tools in order, each step named as it is here, and answers with the output of the last.
#[derive(Clone)]
struct Fixed(Vec<(&'static str, &'static str, Value)>);

#[async_trait]
impl Planner for Fixed {
    async fn plan(&self, _: PlanView) -> Result<Planned, PlannerError> {
        let mut steps = Vec::new();
        for (place, (step, tool, input)) in self.0.iter().enumerate() {
            let before = place.checked_sub(1).map(|before| self.0[before].0);
            steps.push(Step::tool(step, tool, input.clone()).after(before));
        }
        let answer = self.0.last().map_or("", |(step, ..)| step);
        Ok(Planned::Whole(Plan::builder().steps(steps).answer(from(answer, "")).build()?))
    }
}

fn echo(name: &str) -> Tool {
    Tool::idempotent(
        name,
        "Says what it is told",
        |what: Value, _: Call| async move { Ok::<_, ToolError>(what) },
    )
}

fn build(shell: ShellBuilder, planner: &Fixed) -> ShellBuilder {
    shell.limits(crate::support::limits()).tool(echo("one")).tool(echo("two")).planner(planner.clone())
}

fn recorded() -> Fixed {
    Fixed(vec![("a", "one", json!({ "n": 1, "s": "x" })), ("b", "two", json!({ "n": 2 }))])
}

async fn replayed(changed: impl Fn(ShellBuilder) -> ShellBuilder) -> ReplayReport {
    let shell = build(Shell::volatile(), &recorded()).open().await.unwrap();
    let session = shell.session("s").unwrap();
    session.submit("go").await.unwrap().outcome().await.unwrap();
    let tape = Tape::of_session(&shell, session.id().await.unwrap()).await.unwrap();
    Replay::new(tape).run(changed).await.unwrap()
}

async fn first(calls: &[(&'static str, &'static str, Value)]) -> (String, Differs, Vec<String>) {
    let planner = Fixed(calls.to_vec());
    let report = replayed(|shell| build(shell, &planner)).await;
    let found = report.divergence().unwrap_or_else(|| panic!("nothing differs: {report}"));
    let step = found.step.as_ref().map(|step| step.to_string()).unwrap_or_default();
    (step, found.what.clone(), found.differences.iter().map(|found| found.to_string()).collect())
}

#[tokio::test]
async fn a_call_that_differs_is_named_by_step_and_argument() {
    let a = ("a", "one", json!({ "n": 1, "s": "x" }));
    let b = ("b", "two", json!({ "n": 2 }));
    assert!(replayed(|shell| build(shell, &recorded())).await.is_same());
    // Steps may have other names.
    let renamed = Fixed(vec![("x", a.1, a.2.clone()), ("y", b.1, b.2.clone())]);
    assert!(replayed(|shell| build(shell, &renamed)).await.is_same());

    let other = first(&[a.clone(), ("b", "two", json!({ "n": 3 }))]).await;
    assert_eq!(other, ("b".into(), Differs::Call, vec!["/n: 2 -> 3".into()]));
    let tool = first(&[("a", "two", json!({ "n": 1, "s": "x" })), b.clone()]).await;
    assert_eq!(tool, ("a".into(), Differs::Call, vec!["/tool: \"one\" -> \"two\"".into()]));
    let more = first(&[a.clone(), b.clone(), ("c", "one", json!(7))]).await;
    let tool = |tool: &str| tool.to_owned();
    assert_eq!(
        more,
        ("c".into(), Differs::CallMore { tool: tool("one") }, vec!["all of it: nothing -> 7".into()])
    );
    let less = first(std::slice::from_ref(&a)).await;
    assert_eq!(
        less,
        ("b".into(), Differs::CallLess { tool: tool("two") }, vec!["all of it: {\"n\":2} -> nothing".into()])
    );
    let (step, what, differences) = first(&[b, a]).await;
    assert_eq!(
        (step.as_str(), what),
        ("", Differs::Outcome),
        "the same calls in another order end otherwise"
    );
    assert_eq!(differences, ["/answered/n: 2 -> 1", "/answered/s: nothing -> \"x\""]);
}

#[tokio::test]
async fn arguments_that_are_not_taken_any_more_are_named() {
    #[derive(serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
    struct Strict {
        n: String,
    }
    let report = replayed(|shell| {
        let two = Tool::idempotent("two", "Takes words", |told: Strict, _: Call| async move {
            Ok::<_, ToolError>(told)
        });
        shell.tool(echo("one")).tool(two).planner(recorded())
    });
    let report = report.await;
    let found = report.divergence().unwrap();
    assert_eq!(found.step.as_ref().unwrap().as_str(), "b");
    let Differs::Arguments { problem } = &found.what else { panic!("{report}") };
    assert!(problem.contains("expected a string"), "{problem}");
}

#[tokio::test]
async fn an_agent_that_lacks_the_planner_is_told_so() {
    let report = replayed(|shell| shell.tool(echo("one")).tool(echo("two"))).await;
    let found = report.divergence().unwrap();
    assert!(matches!(&found.what, Differs::NoOutcome { problem } if problem.contains("planner")), "{report}");
}

#[tokio::test]
async fn a_turn_that_fails_now_says_why_and_a_failed_call_that_is_not_made_is_missed() {
    struct Fails;
    #[async_trait]
    impl Planner for Fails {
        async fn plan(&self, _: PlanView) -> Result<Planned, PlannerError> {
            Err(PlannerError::new("I can't plan this"))
        }
    }
    let report = replayed(|shell| shell.tool(echo("one")).tool(echo("two")).planner(Fails)).await;
    let found = report.divergence().unwrap();
    assert_eq!(found.what, Differs::Outcome);
    assert!(report.to_string().contains("I can't plan this"), "{report}");

    // Of two steps that may fail, one failed and one had an input that could not be made.
    let plan = |all: bool| {
        let refuse = Step::tool("refuse", "refuse", json!(1)).may_fail();
        let unmade = Step::tool("unmade", "one", from("ok", "/nowhere")).may_fail();
        let ok = Step::tool("ok", "two", json!({ "n": 2 }));
        let steps = [ok, unmade].into_iter().chain(all.then_some(refuse));
        Plan::builder().steps(steps).answer(from("ok", "")).build().unwrap()
    };
    struct Ready(Plan);
    #[async_trait]
    impl Planner for Ready {
        async fn plan(&self, _: PlanView) -> Result<Planned, PlannerError> {
            Ok(Planned::Whole(self.0.clone()))
        }
    }
    let build = |shell: ShellBuilder, all: bool| {
        let no = |_: Value, _: Call| async { Err::<Value, _>(ToolError::refused("no")) };
        let refuse = Tool::idempotent("refuse", "Refuses", no);
        shell.tool(echo("one")).tool(echo("two")).tool(refuse).planner(Ready(plan(all)))
    };
    let shell = build(Shell::volatile(), true).open().await.unwrap();
    let session = shell.session("s").unwrap();
    session.submit("go").await.unwrap().outcome().await.unwrap();
    let tape = Tape::of_session(&shell, session.id().await.unwrap()).await.unwrap();
    let same = Replay::new(tape.clone()).run(|shell| build(shell, true)).await.unwrap();
    assert!(same.is_same(), "{same}");
    let less = Replay::new(tape).run(|shell| build(shell, false)).await.unwrap();
    let found = less.divergence().unwrap_or_else(|| panic!("nothing differs: {less}"));
    assert_eq!(found.what, Differs::CallLess { tool: "refuse".into() });
}

#[tokio::test]
async fn of_calls_beside_each_other_the_first_of_the_plan_is_named() {
    struct Beside(i64);
    #[async_trait]
    impl Planner for Beside {
        async fn plan(&self, _: PlanView) -> Result<Planned, PlannerError> {
            let step = |name: &'static str| Step::tool(name, "one", json!({ "n": self.0, "of": name }));
            Ok(Planned::Whole(Plan::new(["a", "b", "c"].map(step))?))
        }
    }
    let shell = Shell::volatile().tool(echo("one")).planner(Beside(1)).open().await.unwrap();
    let session = shell.session("s").unwrap();
    session.submit("go").await.unwrap().outcome().await.unwrap();
    let tape = Tape::of_session(&shell, session.id().await.unwrap()).await.unwrap();
    let report = Replay::new(tape).run(|shell| shell.tool(echo("one")).planner(Beside(2))).await.unwrap();
    let found = report.divergence().unwrap();
    assert_eq!((found.step.as_ref().unwrap().as_str(), &found.what), ("a", &Differs::Call));
    let differences: Vec<String> = found.differences.iter().map(|found| found.to_string()).collect();
    assert_eq!(differences, ["/n: 1 -> 2"]);
}
