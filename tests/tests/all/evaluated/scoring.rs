//! What each scorer says, and what it does not know.

use std::time::Duration;

use agent_shell_core::evaluation::{
    Calls, Case, CaseRun, Contains, DataSet, Evaluation, Exact, Judge, MatchesSchema, PointerEquals, Score,
    Scored, Scorer, Seen, Variant, Within,
};
use agent_shell_core::{Reply, Scripted, Shell};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{World, agent};
use crate::support::limits;

/// The score of one case whose model says `answer`.
async fn score_of(case: Case, answer: &str, scorer: impl Scorer) -> Scored {
    let mut set = DataSet::new();
    set.add(case).unwrap();
    let answer = answer.to_owned();
    let open =
        move || Shell::volatile().limits(limits()).model(Scripted::by_answers([Reply::text(answer)])).open();
    let name = scorer.name().to_owned();
    let comparison =
        Evaluation::new(set).variant(Variant::new("base", open)).scorer(scorer).run().await.unwrap();
    comparison.base().runs[0].scores[&name].clone()
}

fn number(scored: &Scored) -> Option<f64> {
    scored.score.map(Score::number)
}

#[tokio::test]
async fn answers_are_compared_with_what_is_expected() {
    let oslo = || Case::new("capital", "What is it?").expected("Oslo");
    assert_eq!(number(&score_of(oslo(), "Oslo", Exact::new()).await), Some(1.0));
    assert_eq!(number(&score_of(oslo(), "oslo", Exact::new()).await), Some(0.0));
    assert_eq!(number(&score_of(oslo(), "It is oslo.", Contains::expected()).await), Some(1.0));
    assert_eq!(number(&score_of(oslo(), "It is Bergen.", Contains::expected()).await), Some(0.0));
    assert_eq!(number(&score_of(oslo(), "It is Bergen.", Contains::text("bergen")).await), Some(1.0));
    let unknown = score_of(Case::new("bare", "x"), "x", Exact::new()).await;
    assert_eq!(
        (unknown.score, unknown.reason.as_str()),
        (None, "the case expects nothing: give it `expected`")
    );

    let cents = || Case::new("cents", "x").expected(json!({ "order": { "cents": 5 } }));
    let at = || PointerEquals::new("/order/cents");
    assert_eq!(number(&score_of(cents(), r#"{"order":{"cents":5,"more":1}}"#, at()).await), Some(1.0));
    assert_eq!(number(&score_of(cents(), r#"{"order":{"cents":6}}"#, at()).await), Some(0.0));
    let nothing = score_of(cents(), "none", at()).await;
    assert_eq!((number(&nothing), nothing.reason.as_str()), (Some(0.0), "the answer has nothing there"));
    assert_eq!(number(&score_of(oslo(), "{}", at()).await), None);

    let schema = || MatchesSchema::new(json!({ "type": "object", "required": ["cents"] }));
    assert_eq!(number(&score_of(oslo(), r#"{"cents":5}"#, schema()).await), Some(1.0));
    let wrong = score_of(oslo(), r#"{"dents":5}"#, schema()).await;
    assert_eq!(number(&wrong), Some(0.0));
    assert!(wrong.reason.contains("cents"), "{}", wrong.reason);
}

#[tokio::test]
async fn calls_and_what_was_spent_are_scored() {
    let world = World::default();
    let run = async |case: &'static str, scorer: Calls| {
        let world = world.clone();
        let open = move || agent(Shell::volatile(), "", &world).open();
        let evaluation = Evaluation::new(super::cases(&[case])).variant(Variant::new("base", open));
        let comparison = evaluation
            .scorer(scorer)
            .scorer(Within::tokens(55))
            .scorer(Within::nano_usd(1_000))
            .scorer(Within::latency(Duration::from_secs(60)))
            .run()
            .await
            .unwrap();
        comparison.base().runs[0].clone()
    };
    let rules = || Calls::new().made("refund").made_with("refund", json!({ "order": "A-17" })).at_most(1);
    let refund = run("refund A-17", rules()).await;
    assert_eq!(number(&refund.scores["calls"]), Some(1.0));
    assert_eq!((number(&refund.scores["tokens"]), number(&refund.scores["cost"])), (Some(0.25), Some(1.0)));
    assert_eq!(number(&refund.scores["latency"]), Some(1.0));
    assert_eq!(refund.scores["tokens"].reason, "220 tokens, and 55 are allowed");

    let other = run("refund A-18", rules().never("refund")).await;
    assert_eq!(number(&other.scores["calls"]), Some(0.5));
    assert_eq!(other.scores["calls"].reason, "`refund` is called with other arguments; `refund` is called");
    let none = run("hello", rules().only(["refund"])).await;
    assert_eq!(number(&none.scores["calls"]), Some(0.5));
    assert_eq!(none.scores["calls"].reason, "`refund` is not called; `refund` is not called");
    assert_eq!(number(&run("refund A-17", Calls::new().only(["other"])).await.scores["calls"]), Some(0.0));
    assert_eq!(number(&run("refund A-17", Calls::new().at_most(0)).await.scores["calls"]), Some(0.0));

    // A model that does not say its price.
    let cost = score_of(Case::new("x", "x"), "x", Within::nano_usd(1)).await;
    assert_eq!((cost.score, cost.reason.as_str()), (None, "an answer did not say what it used"));
}

#[tokio::test]
async fn a_model_judges_in_a_typed_answer() {
    let judge = Scripted::with(|request| {
        let shown: Value = serde_json::to_value(&request.messages[0]).unwrap();
        let shown = &shown["user"][0]["json"];
        assert!(request.prompt.instructions.ends_with("The criterion: Is it polite?"));
        assert_eq!((&shown["input"], &shown["expected"]), (&json!("greet"), &json!("hello")));
        match shown["answer"].as_str().unwrap() {
            // It is told what is wrong with its answer, and mends it.
            "hi" if request.messages.len() == 1 => Reply::text("quite polite"),
            "hi" => Reply::text(r#"{"score":0.75,"reason":"short"}"#),
            _ => Reply::text(r#"{"score":7,"reason":"great"}"#),
        }
    });
    let case = || Case::new("greet", "greet").expected("hello");
    let polite = score_of(case(), "hi", Judge::new(judge.clone(), "Is it polite?")).await;
    assert_eq!((number(&polite), polite.reason.as_str()), (Some(0.75), "short"));
    let seven = score_of(case(), "greetings", Judge::new(judge.clone(), "Is it polite?")).await;
    assert_eq!(
        (seven.score, seven.reason.as_str()),
        (None, "the judge answered with a number that is not from 0 to 1")
    );
    let asked = judge.asked();
    let silent = Scripted::new([]);
    let none = score_of(case(), "hi", Judge::new(silent, "Is it polite?")).await;
    assert!(none.score.is_none() && none.reason.starts_with("the judge did not answer"), "{none:?}");
    assert_eq!(judge.asked(), asked);
}

/// A host's own scorer, which panics.
struct Panics;

#[async_trait]
impl Scorer for Panics {
    fn name(&self) -> &str {
        "panics"
    }

    async fn score(&self, seen: Seen<'_>) -> Scored {
        let run: &CaseRun = seen.run;
        panic!("{} is not liked", run.case)
    }
}

#[tokio::test]
async fn a_scorer_that_panics_says_nothing_and_may_have_another_name() {
    let scored = score_of(Case::new("x", "x"), "x", Panics.named("mine")).await;
    assert_eq!((scored.score, scored.reason.as_str()), (None, "the scorer panicked"));
}

#[test]
fn a_score_is_from_0_to_1() {
    assert_eq!(Score::new(0.5).map(Score::number), Some(0.5));
    for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert_eq!(Score::new(wrong), None);
    }
    assert_eq!((Score::percent(5).number(), Score::percent(200)), (0.05, Score::PASS));
    assert_eq!((Score::share(0, 0), Score::share(1, 4).number()), (Score::PASS, 0.25));
}
