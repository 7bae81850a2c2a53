//! Optimistic steps: what one has read still is so when its outcome is written, whatever ran beside it, and whenever the
//! process dies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent_shell_core::data::{Body, Payload, PlanError, Prompt, Retry};
use agent_shell_core::ports::GuardRequest;
use agent_shell_core::testing::{BoxError, Crash, Host, Life, Records, Target, TestKit};
use agent_shell_core::words::Clock;
use agent_shell_core::{
    Call, FailureCode, Guard, GuardError, Outcome, Plan, Reducer, Reply, Ruling, Scripted, Shell, Step,
    Template, Tool, ToolError, context,
};
use agent_shell_tests::random::Random;
use serde_json::{Value, json};

const GRAPHS: u64 = 300;

/// A `Pure` tool that gives its input back after the time that it names.
fn echo(clock: Arc<dyn Clock>) -> Tool {
    Tool::pure("echo", "Says what it is told, later", move |input: Value, _: Call| {
        let clock = clock.clone();
        async move {
            clock.sleep(Duration::from_millis(input["ms"].as_u64().unwrap_or(0))).await;
            Ok::<_, ToolError>(input)
        }
    })
}

fn kit() -> TestKit {
    TestKit::new(|life: &Life<Target>| life.shell().tool(echo(life.clock())))
}

/// Adds one to `sum` when it ends.
fn writer(id: &str, ms: u64) -> Step {
    Step::tool(id, "echo", json!({ "ms": ms, "n": 1 })).writes("sum", Reducer::Sum, "/n")
}

/// Reads both keys and adds one to `seen`.
fn reader(id: &str, ms: u64) -> Step {
    let input = Template::object([
        ("ms", Template::from(ms)),
        ("n", Template::from(1)),
        ("sum", context("sum")),
        ("seen", context("seen")),
    ]);
    Step::tool(id, "echo", input).optimistic().writes("seen", Reducer::Sum, "/n")
}

/// Checks each reader's outcome against the context as the records before it left it. Returns how often one was outdated.
fn outdated(journal: &Records) -> usize {
    let (mut values, mut times) = (BTreeMap::<String, Value>::new(), 0);
    for record in journal.all() {
        let Body::StepSucceeded { step, output: Payload::Inline(output), context, .. } = &record.entry.body
        else {
            times += usize::from(matches!(record.entry.body, Body::StepOutdated { .. }));
            continue;
        };
        for key in ["sum", "seen"].into_iter().filter(|_| step.as_str().starts_with('r')) {
            let is = values.get(key).unwrap_or(&Value::Null);
            assert_eq!(output.get(key), Some(is), "{step} stands beside another `{key}`");
        }
        values.extend(context.iter().map(|(key, value)| (key.to_string(), value.clone())));
    }
    times
}

async fn run(host: Host<Target>, plan: Plan) -> Result<Outcome, BoxError> {
    Ok(host.session("ada")?.submit(plan).dedupe("request-1").await?.outcome().await?)
}

fn drawn(seed: u64) -> Plan {
    let mut random = Random::new(seed);
    let mut steps: Vec<Step> = Vec::new();
    for place in 0..3 + random.below(8) {
        let ms = random.below(40);
        let id = |kind: &str| format!("{kind}{place}");
        let step = if random.percent(40) { reader(&id("r"), ms) } else { writer(&id("w"), ms) };
        let before: Vec<String> = steps.iter().map(|step| step.id.to_string()).collect();
        let after = random.pick(&before).cloned().filter(|_| random.percent(30));
        steps.push(step.after(after).retry(Retry { attempts: 1, base_ms: 1, max_ms: 1 }));
    }
    Plan::new(steps).unwrap()
}

#[test]
fn an_optimistic_steps_outcome_stands_beside_what_it_has_read() {
    let mut times = 0;
    for seed in 0..GRAPHS {
        let plan = drawn(seed);
        let mut kit = kit().seed(seed);
        if seed % 3 == 0 {
            kit = kit.crash_at(Crash::after_record(3 + (seed / 3 % 4) as usize));
        }
        let ran = kit.run(move |host| run(host, plan.clone()));
        let ran = ran.unwrap_or_else(|trouble| panic!("seed {seed}: {trouble}"));
        assert!(matches!(ran.outcome, Outcome::Answered(_)), "seed {seed}: {:?}", ran.outcome);
        times += outdated(&ran.journal);
    }
    assert!(times > GRAPHS as usize, "only {times} were outdated, which shows little");
}

/// One writer after another ends while it runs: none of that is a failed attempt, and it ends with the last.
#[test]
fn being_made_again_uses_up_no_retry() {
    let plan = || {
        let writers = (1..=6).map(|nth| writer(&format!("w{nth}"), nth * 10));
        let once = Retry { attempts: 1, base_ms: 1, max_ms: 1 };
        Plan::new(writers.chain([reader("r", 15).retry(once)])).unwrap()
    };
    let ran = kit().run(move |host| run(host, plan())).unwrap();
    assert!(matches!(ran.outcome, Outcome::Answered(_)), "{:?}", ran.outcome);
    assert!(outdated(&ran.journal) >= 3, "{:?}", ran.journal.kinds());
    let reader = ran.journal.calls("echo").into_iter().find(|call| call.step.as_str() == "r").unwrap();
    assert!(reader.attempts > 3, "{reader:?}");
}

#[test]
fn it_is_made_again_wherever_the_process_dies() {
    let plan = || Plan::new([writer("w1", 5), reader("r1", 8), writer("w2", 12), reader("r2", 9)]).unwrap();
    let sweep = kit().each_crash(move |host| run(host, plan())).unwrap();
    assert!(sweep.crashes() > 5, "{}", sweep.crashes());
    for ran in sweep.runs() {
        outdated(&ran.journal);
    }
}

/// A failure that follows from what was read counts for nothing either.
#[test]
fn a_failure_of_what_has_changed_is_no_failure() {
    let kit = TestKit::new(|life: &Life<Target>| {
        let clock = life.clock();
        let strict = Tool::pure("strict", "Wants a sum", move |input: Value, _: Call| {
            let clock = clock.clone();
            async move {
                clock.sleep(Duration::from_millis(20)).await;
                input["sum"].as_u64().ok_or_else(|| ToolError::refused("there is no sum yet"))
            }
        });
        life.shell().tool(echo(life.clock())).tool(strict)
    });
    let plan = || {
        let input = Template::object([("sum", context("sum"))]);
        Plan::new([writer("w", 10), Step::tool("strict", "strict", input).optimistic()]).unwrap()
    };
    let ran = kit.run(move |host| run(host, plan())).unwrap();
    assert!(matches!(ran.outcome, Outcome::Answered(_)), "{:?}", ran.outcome);
    assert_eq!(outdated(&ran.journal), 1);
}

/// Looks at what is shown to it for a while, rewrites the inputs of readers, and writes down what it is asked.
struct Slow(Arc<dyn Clock>, Arc<Target>);

#[async_trait::async_trait]
impl Guard for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    async fn rule(&self, request: &GuardRequest) -> Result<Ruling, GuardError> {
        use agent_shell_core::data::GuardPlace::BeforeTool;
        if request.value.get("sum").is_none() {
            return Ok(Ruling::Allow);
        }
        self.0.sleep(Duration::from_millis(7)).await;
        let place = format!("{:?}", request.place);
        self.1.apply(&place, format!("{place} {}", self.1.calls(&place)), (*request.value).clone());
        if request.place != BeforeTool || request.value.get("by").is_some() {
            return Ok(Ruling::Allow);
        }
        let mut rewritten = (*request.value).clone();
        rewritten["by"] = json!("a guard");
        Ok(Ruling::rewrite(rewritten))
    }
}

#[test]
fn what_guards_ruled_on_counts_for_what_they_were_shown() {
    let kit = || {
        TestKit::new(|life: &Life<Target>| {
            life.shell().tool(echo(life.clock())).guard(Slow(life.clock(), life.world()))
        })
    };
    let mut times = 0;
    for seed in 0..GRAPHS / 3 {
        let plan = drawn(seed);
        let ran = kit().seed(seed).run(move |host| run(host, plan.clone()));
        let ran = ran.unwrap_or_else(|trouble| panic!("seed {seed}: {trouble}"));
        assert!(matches!(ran.outcome, Outcome::Answered(_)), "seed {seed}: {:?}", ran.outcome);
        times += outdated(&ran.journal);
        let by_guard = |record: &&agent_shell_core::testing::Written| matches!(&record.entry.body, Body::StepSucceeded { step, output: Payload::Inline(output), .. } if step.as_str().starts_with('r') && output.get("by").is_none());
        assert_eq!(ran.journal.all().iter().find(by_guard), None, "seed {seed}: past its guard");
    }
    assert!(times > GRAPHS as usize / 3, "only {times} were outdated, which shows little");
}

/// Who approved the call approved what it says: another one is asked about anew.
#[test]
fn an_approval_counts_for_what_was_shown() {
    let kit = TestKit::new(|life: &Life<Target>| {
        let clock = life.clock();
        let asked = Tool::pure("asked", "Asks first", move |input: Value, _: Call| {
            let clock = clock.clone();
            async move {
                clock.sleep(Duration::from_millis(50)).await;
                Ok::<_, ToolError>(input)
            }
        });
        life.shell().tool(echo(life.clock())).tool(asked.ask_first())
    });
    let host = |host: Host<Target>| async move {
        let input = Template::object([("sum", context("sum"))]);
        let asked = Step::tool("r", "asked", input).optimistic();
        let plan = Plan::new([writer("w", 30), asked]).unwrap();
        let turn = host.session("ada")?.submit(plan).await?;
        let mut shown = Vec::new();
        let mut approvals = turn.approvals_stream();
        while let Some(approval) = approvals.next().await? {
            shown.push((*approval.shown).clone());
            approval.approve(&agent_shell_core::Actor::named("ada")?).await?;
        }
        Ok((turn.outcome().await?, shown))
    };
    let ran = kit.run(host).unwrap();
    assert_eq!(ran.outcome.1, [json!({ "sum": null }), json!({ "sum": 1 })]);
    assert!(matches!(ran.outcome.0, Outcome::Answered(_)), "{:?}", ran.outcome.0);
}

#[test]
fn a_question_that_has_read_what_changed_is_asked_again() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    let kit = TestKit::new(move |life: &Life<Target>| {
        let count = count.clone();
        let model = Scripted::with(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            Reply::text("seen").after(Duration::from_millis(20))
        });
        life.shell().tool(echo(life.clock())).model(model.clock(life.clock()))
    });
    let ran = kit
        .run(|host| {
            let question = Step::ask("ask", "default", Prompt::new("Say."), context("sum")).optimistic();
            run(host, Plan::new([writer("w", 10), question]).unwrap())
        })
        .unwrap();
    assert!(matches!(ran.outcome, Outcome::Answered(_)), "{:?}", ran.outcome);
    assert_eq!((outdated(&ran.journal), asked.load(Ordering::Relaxed)), (1, 2));
}

/// What can't be made again is refused with its plan, or when its class is known.
#[tokio::test]
async fn what_is_not_pure_is_never_optimistic() {
    let refused = |step: Step| matches!(Plan::new([step.optimistic()]), Err(PlanError::Optimistic { .. }));
    assert!(refused(Step::timer("nap", Duration::ZERO)));
    assert!(refused(Step::approval("ask", json!("?"))));
    assert!(refused(Step::signal("go", "go")));
    assert!(!refused(writer("w", 1)));
    // Without it the order of the two would matter.
    let mut plain = reader("r", 1);
    plain.optimistic = false;
    assert!(matches!(Plan::new([writer("w", 1), plain]), Err(PlanError::OrderMatters { .. })));

    let tool = Tool::idempotent("send", "Sends", |_: Value, _: Call| async { Ok::<_, ToolError>(()) });
    let shell = Shell::volatile().tool(tool).open().await.unwrap();
    let plan = Plan::new([Step::tool("send", "send", context("sum")).optimistic()]).unwrap();
    let outcome = shell.session("ada").unwrap().submit(plan).await.unwrap().outcome().await.unwrap();
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.code, FailureCode::Planner);
    assert!(failure.message.contains("optimistic"), "{failure:?}");
}
