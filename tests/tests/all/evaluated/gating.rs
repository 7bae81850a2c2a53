//! How variants differ, and whether that may pass.

use agent_shell_core::evaluation::{
    Case, Comparison, Contains, DataSet, Evaluation, Exact, Gate, Score, Variant, Verdict,
};
use agent_shell_core::{Reply, Scripted, Shell};
use serde_json::json;

use super::{World, agent, cases};
use crate::support::limits;

async fn compared(instructions: &'static str) -> Comparison {
    let variant = |name: &str, instructions: &'static str| {
        Variant::new(name, move || agent(Shell::volatile(), instructions, &World::default()).open())
    };
    Evaluation::new(cases(&["ONE", "two", "refund A-17"]))
        .variant(variant("today", ""))
        .variant(variant("changed", instructions))
        .scorer(Exact::new())
        .scorer(Contains::expected())
        .run()
        .await
        .unwrap()
}

fn code(verdict: &Verdict) -> String {
    format!("{:?}", verdict.exit_code())
}

#[tokio::test]
async fn what_differs_is_told_case_by_case_and_in_sums() {
    let comparison = compared("shout, and never refund").await;
    let changed = &comparison.candidates()[0];
    let changes: Vec<_> =
        comparison.changes(changed).into_iter().map(|change| (change.case, change.what.join("; "))).collect();
    let two = "another answer; exact 1.00 -> 0.00".to_owned();
    let refund = "another answer; exact 1.00 -> 0.00; calls refund -> none".to_owned();
    assert_eq!(changes, [("two".to_owned(), two), ("refund A-17".to_owned(), refund)]);

    let (today, now) = (comparison.base().summary(), changed.summary());
    assert_eq!((today.cases, today.answered, today.calls, now.calls), (3, 3, 1, 0));
    assert_eq!((today.tokens, now.tokens), (Some(440), Some(330)));
    assert_eq!((today.cost_nano_usd, now.cost_nano_usd), (Some(480), Some(360)));
    assert_eq!(now.means["exact"].map(|mean| mean.to_string()).as_deref(), Some("0.33"));
    let paired = comparison.paired(changed);
    assert_eq!((paired.cost_nano_usd, paired.tokens), (Some(-120), Some(-110)));
    let exact = paired.scores["exact"];
    assert_eq!((exact.pairs, exact.better, exact.worse, exact.lost), (3, 0, 2, 0));

    // The order is that of the data set and of the variants, whatever ended first. Times alone differ from run to run.
    let text = comparison.to_string();
    let columns = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<Vec<String>> = text.lines().map(columns).collect();
    assert_eq!(lines[0].join(" "), "case variant end exact contains made tokens nano_usd ms");
    assert_eq!(lines[1][..8].join(" "), "ONE today answered 1.00 1.00 0 110 120");
    assert_eq!(lines[4][..7].join(" "), "changed answered 0.00 1.00 0 110 120");
    assert_eq!(lines[5][..9].join(" "), "refund A-17 today answered 1.00 1.00 1 220 240");
    let sums = lines
        .iter()
        .find(|line| line[..].first().is_some_and(|cell| cell == "changed") && line[2] == "of")
        .unwrap();
    assert_eq!(sums[..9].join(" "), "changed 3 of 3 0.33 1.00 0 330 360");
    assert!(
        text.contains("\n2 cases went otherwise with `changed` than with `today`\n  two: another answer"),
        "{text}"
    );

    let shown = comparison.to_json();
    assert_eq!(shown["variants"][1]["changes"][1]["case"], json!("refund A-17"));
    assert_eq!(shown["variants"][0]["runs"][2]["calls"][0]["tool"], json!("refund"));
    assert_eq!(shown["variants"][0]["runs"][1]["outcome"], json!({ "answered": "two" }));
    assert_eq!(shown["variants"][1]["runs"][1]["scores"]["exact"]["score"], json!(0.0));
    assert_eq!(shown["variants"][1]["summary"]["cost_nano_usd"], json!(360));
    assert!(shown["variants"][0].get("changes").is_none());
}

#[tokio::test]
async fn a_gate_lets_through_what_keeps_to_its_rules_and_nothing_else() {
    let gate = || Gate::new().mean_may_drop("exact", Score::percent(5)).no_new_failure("exact", Score::PASS);
    let same = gate()
        .no_answer_lost()
        .cost_may_grow(0)
        .mean_at_least("exact", Score::PASS)
        .judge(&compared("").await);
    assert!(same.passes() && code(&same) == "ExitCode(unix_exit_status(0))", "{same} {}", code(&same));
    assert_eq!(same.to_string(), "the gate is passed");

    let worse = compared("shout").await;
    let verdict = gate().judge(&worse);
    assert_eq!(code(&verdict), "ExitCode(unix_exit_status(1))");
    let fell =
        "`changed`: the mean of `exact` is lower by 0.667, and 0.05 is allowed (2 of 3 cases are worse)";
    let failed = |case| {
        format!("`changed`: case `{case}` passed `exact`, and now does not: it is not what is expected")
    };
    assert_eq!(verdict.reasons, [fell.to_owned(), failed("two"), failed("refund A-17")]);
    assert!(Gate::new().mean_may_drop("exact", Score::percent(67)).judge(&worse).passes(), "that is allowed");
    assert!(Gate::new().no_new_failure("contains", Score::PASS).judge(&worse).passes());
    let low = Gate::new().mean_at_least("exact", Score::percent(50)).judge(&worse);
    assert_eq!(low.reasons, ["`changed`: the mean of `exact` is 0.33, and must be 0.50 at least"]);

    // A rule about a scorer that is not there would judge nothing.
    for gate in [
        Gate::new().mean_may_drop("exakt", Score::PASS),
        Gate::new().mean_at_least("exakt", Score::FAIL),
        Gate::new().no_new_failure("exakt", Score::PASS),
    ] {
        assert_eq!(
            gate.judge(&worse).reasons,
            ["`changed`: there is no scorer `exakt`: add it to the evaluation"]
        );
    }
}

/// One case with one answer each; `None` is a turn that fails.
async fn of_answers(
    answers: [Option<&'static str>; 2],
    price: [Option<u64>; 2],
    expects: [bool; 2],
) -> Comparison {
    let mut set = DataSet::new();
    for (name, expects) in ["first", "second"].into_iter().zip(expects) {
        let case = Case::new(name, name);
        set.add(if expects { case.expected("yes") } else { case }).unwrap();
    }
    let mut evaluation = Evaluation::new(set).scorer(Exact::new());
    for (name, (answer, price)) in ["today", "changed"].into_iter().zip(answers.into_iter().zip(price)) {
        let reply = answer
            .map_or_else(|| Reply::text("no").finish(agent_shell_core::data::Finish::Declined), Reply::text);
        let mut model = Scripted::with(move |_| reply.clone().usage(1000, 0));
        if let Some(price) = price {
            model = model.price(price * 1_000_000, 0);
        }
        let open = move || Shell::volatile().limits(limits()).model(model).open();
        evaluation = evaluation.variant(Variant::new(name, open));
    }
    evaluation.run().await.unwrap()
}

#[tokio::test]
async fn what_is_not_known_does_not_pass() {
    let yes = Some("yes");
    let all = [true, true];
    let none = of_answers([yes, yes], [None, None], [false, false]).await;
    let unknown = ["`changed`: `exact` scored no case, so nothing is known"];
    assert_eq!(Gate::new().mean_may_drop("exact", Score::PASS).judge(&none).reasons, unknown);
    assert_eq!(Gate::new().mean_at_least("exact", Score::FAIL).judge(&none).reasons, unknown);
    let half = of_answers([yes, yes], [None, None], [true, false]).await;
    let too_little = ["`changed`: `exact` scored 1 of 2 cases, so the mean says too little"];
    assert_eq!(Gate::new().mean_at_least("exact", Score::FAIL).judge(&half).reasons, too_little);
    let cost = ["`changed`: what it costs is not known: give the models their prices"];
    assert_eq!(Gate::new().cost_may_grow(1000).judge(&half).reasons, cost);

    let dearer = of_answers([yes, yes], [Some(10), Some(12)], all).await;
    assert!(Gate::new().cost_may_grow(20).judge(&dearer).passes());
    let grew = ["`changed`: it costs 24000 nano-USD, the base 20000, and 19 of a hundred more are allowed"];
    assert_eq!(Gate::new().cost_may_grow(19).judge(&dearer).reasons, grew);

    let lost = of_answers([yes, None], [None, None], all).await;
    let reasons = Gate::new().no_answer_lost().judge(&lost).reasons;
    assert_eq!(reasons.len(), 2);
    assert!(
        reasons[0].starts_with("`changed`: case `first` was answered, and now is not: failed: "),
        "{reasons:?}"
    );
    assert!(Gate::new().no_answer_lost().judge(&of_answers([None, yes], [None, None], all).await).passes());

    let alone = Evaluation::new(cases(&["x"]));
    let alone =
        alone.variant(Variant::new("today", || agent(Shell::volatile(), "", &World::default()).open()));
    let verdict = Gate::new().judge(&alone.run().await.unwrap());
    assert_eq!(verdict.reasons, ["there is nothing to compare the base with: add a second variant"]);
}
