//! Each stage: what it counts, and where its budget ends.

use agent_shell_core::data::Prompt;
use agent_shell_core::{Actor, Outcome, Reply, Request, Scripted};

use super::*;

#[test]
fn a_call_is_timed_from_its_begin_to_its_end() {
    for tool in ["look", "act"] {
        let plan = |took: u64| Plan::new([Step::tool("call", tool, json!(took))]).unwrap();
        let budgets = only(LatencyStage::Tool, 100);
        assert_eq!(told_of_plan(budgets, plan(100)), []);
        assert_eq!(told_of_plan(budgets, plan(101)), [breach(LatencyStage::Tool, Some("call"), 100, 101)]);
    }
}

#[test]
fn a_question_is_timed_from_its_begin_to_its_end() {
    let run = |took| {
        let kit = TestKit::new(move |life: &Life<Target>| {
            let model = Scripted::by_answers([Reply::text("yes").after(ms(took))]).clock(life.clock());
            shell(life).model(model).latency(only(LatencyStage::Model, 100))
        });
        let plan = Plan::new([Step::ask("q", "default", Prompt::default(), json!("is it so?"))]).unwrap();
        breaches(&kit.run(move |host| run_plan(host, plan.clone())).unwrap().journal)
    };
    assert_eq!(run(100), []);
    assert_eq!(run(101), [breach(LatencyStage::Model, Some("q"), 100, 101)]);
}

async fn planned(host: Host<Target>, took: u64) -> Result<(), BoxError> {
    let turn =
        host.session("ada")?.submit(Request::new(json!(took)).planner("slow")).dedupe("request-1").await?;
    turn.outcome().await?;
    Ok(())
}

#[test]
fn a_planner_is_timed_from_the_question_to_its_answer() {
    let told = |took| told(only(LatencyStage::Plan, 100), move |host| planned(host, took));
    assert_eq!(told(100), []);
    // Two rounds take too long, and it is told once.
    assert_eq!(told(101), [breach(LatencyStage::Plan, None, 100, 101)]);
}

/// Both want one lock.
async fn one_after_another(host: Host<Target>) -> Result<(), BoxError> {
    let steps = [Step::tool("one", "look", json!(50)), Step::tool("two", "look", json!(0))];
    run_plan(host, Plan::new(steps.map(|step| step.lock("desk")))?).await
}

#[test]
fn a_step_that_is_ready_and_does_not_begin_is_late() {
    let took = has_an_edge((LatencyStage::Schedule, Some("two")), one_after_another);
    assert!((50..80).contains(&took), "{took}");
    let told = told(only(LatencyStage::Schedule, 49), one_after_another);
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn a_call_with_an_intent_is_ready_until_that_is_recorded() {
    let host = |host| {
        let steps = [Step::tool("one", "act", json!(50)), Step::tool("two", "act", json!(0))];
        run_plan(host, Plan::new(steps.map(|step| step.lock("desk"))).unwrap())
    };
    let took = has_an_edge((LatencyStage::Schedule, Some("two")), host);
    let run = kit(only(LatencyStage::Schedule, took - 1)).run(host).unwrap();
    let all = run.journal.all();
    let told = all.iter().position(|record| Breach::of(&record.entry.body).is_some()).unwrap();
    let of_two = |body: &Body| matches!(body, Body::StepStarted { step, .. } if step.as_str() == "two");
    assert!(of_two(&all[told - 1].entry.body), "{:?}", run.journal.kinds());
}

#[test]
fn what_a_step_waits_for_by_itself_is_no_lateness() {
    // A pause before the next attempt, a step before it, a timer.
    let steps = [
        Step::tool("fail", "fail", json!(0)),
        Step::timer("wait", ms(3_000)),
        Step::tool("last", "act", json!(2_000)).after(["fail", "wait"]),
        Step::tool("held", "act", json!(0)).held(),
    ];
    let budgets = only(LatencyStage::Schedule, 500);
    assert_eq!(told_of_plan(budgets, Plan::new(steps).unwrap()), []);
    // A person.
    let waits = |host: Host<Target>| async move {
        let steps = [Step::tool("ask", "ask", json!(0)), Step::tool("then", "look", json!(0)).after(["ask"])];
        let turn = host.session("ada")?.submit(Plan::new(steps)?).await?;
        host.sleep(ms(5_000)).await;
        let approval = turn.approval().await?.ok_or("nothing asks")?;
        approval.approve(&Actor::Host).await?;
        turn.outcome().await?;
        Ok::<_, BoxError>(())
    };
    assert_eq!(told(budgets, waits), []);
}

async fn acts_twice(host: Host<Target>) -> Result<(), BoxError> {
    let steps = [Step::tool("one", "act", json!(10)), Step::tool("two", "act", json!(10)).after(["one"])];
    run_plan(host, Plan::new(steps)?).await
}

#[test]
fn an_append_is_timed_until_it_is_durable_and_told_with_the_next() {
    has_an_edge((LatencyStage::Append, None), acts_twice);
    let run = kit(only(LatencyStage::Append, 1)).run(acts_twice).unwrap();
    assert_eq!(breaches(&run.journal).len(), 1);
}

/// The second one waits until the first has ended.
async fn two_turns(host: Host<Target>) -> Result<(), BoxError> {
    let session = host.session("ada")?;
    let plan = |took: u64| Plan::new([Step::tool("call", "act", json!(took))]);
    let first = session.submit(plan(300)?).await?;
    let second = session.submit(plan(0)?).await?;
    first.outcome().await?;
    second.outcome().await?;
    Ok(())
}

#[test]
fn a_request_is_late_that_waits_for_an_earlier_turn() {
    let told = told(only(LatencyStage::Accept, 100), two_turns);
    let [late] = &told[..] else { panic!("{told:?}") };
    assert!((250..350).contains(&late.took_ms), "{late:?}");
    let exact = self::told(only(LatencyStage::Accept, late.took_ms), two_turns);
    assert_eq!(exact, []);
    let less = late.took_ms - 1;
    let late = breach(LatencyStage::Accept, None, less, late.took_ms);
    assert_eq!(self::told(only(LatencyStage::Accept, less), two_turns), [late]);
}

async fn rests(host: Host<Target>) -> Result<(), BoxError> {
    run_plan(host, Plan::new([Step::timer("nap", ms(60_000)), Step::tool("call", "act", json!(20))])?).await
}

#[test]
fn a_turn_is_timed_from_its_request_to_its_end_with_all_its_waits() {
    let took = has_an_edge((LatencyStage::Turn, None), rests);
    // A session that waits is let go, and looked at once a minute.
    assert!((60_000..121_000).contains(&took), "{took}");
    let run = kit(only(LatencyStage::Turn, took - 1)).run(rests).unwrap();
    let all = run.journal.all();
    assert!(matches!(all[all.len() - 1].entry.body, Body::TurnEnded { .. }));
    assert!(Breach::of(&all[all.len() - 2].entry.body).is_some());
}

#[test]
fn a_turn_that_is_cancelled_may_have_taken_too_long() {
    let cancelled = |host: Host<Target>| async move {
        let turn = host.session("ada")?.submit(Plan::new([Step::timer("nap", ms(60_000))])?).await?;
        host.sleep(ms(500)).await;
        turn.cancel("enough", &Actor::Host).await?;
        assert_eq!(turn.outcome().await?, Outcome::Cancelled);
        Ok::<_, BoxError>(())
    };
    let told = told(only(LatencyStage::Turn, 400), cancelled);
    assert_eq!(told.len(), 1);
    assert_eq!(self::told(only(LatencyStage::Turn, 1_000), cancelled), []);
}

#[test]
fn what_undoes_a_step_is_timed_as_a_call() {
    let plan = Plan::new([
        Step::tool("book", "book", json!(10)),
        Step::tool("refuse", "refuse", json!(0)).after(["book"]),
    ]);
    let plan = plan.unwrap();
    let told = told_of_plan(only(LatencyStage::Tool, 69), plan.clone());
    let [of_undo] = &told[..] else { panic!("{told:?}") };
    assert_eq!((of_undo.stage, of_undo.took_ms), (LatencyStage::Tool, 70));
    assert!(of_undo.step.as_ref().is_some_and(|step| step.contains("book") && step != "book"), "{of_undo:?}");
    assert_eq!(told_of_plan(only(LatencyStage::Tool, 70), plan), []);
}
