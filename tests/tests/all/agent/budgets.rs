//! What turns may spend.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent_shell_core::data::{Account, Amounts, AttemptId, Body, Ceiling, Prompt};
use agent_shell_core::ports::OperationKind;
use agent_shell_core::runtime::Ceilings;
use agent_shell_core::words::TurnId;
use agent_shell_core::{
    FailureCode, Outcome, Plan, PlanView, Planned, Planner, PlannerError, Reply, Scripted, Shell, Step, input,
};
use serde_json::{Value, json};

use super::super::support::{counted, limits, on_each};
use super::spy::last;
use super::{double, failing, failure};

fn calls(most: u64) -> Ceiling {
    Ceiling { tool_calls: Some(most), ..Ceiling::NONE }
}

fn money(most: u64) -> Ceiling {
    Ceiling { nano_usd: Some(most), ..Ceiling::NONE }
}

#[tokio::test]
async fn a_call_beyond_the_budget_is_not_made_and_the_model_is_told() {
    on_each(|builder, _| async move {
        let call = |n| Reply::call("count", json!({ "n": n }));
        let model = Scripted::new([call(1), call(2), call(3), Reply::text("two of three")]);
        let effects = Arc::new(AtomicU32::new(0));
        let shell = builder.model(model.clone()).tool(counted(&effects)).open().await.unwrap();
        let turn = shell.session("ada").unwrap().submit("Three times").budget(calls(2)).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap().text(), "two of three");
        assert_eq!(effects.load(Ordering::SeqCst), 2);
        let told = last(&model.requests()[3])["results"][0].clone();
        assert_eq!(told["status"], "failed");
        assert!(told["output"].as_str().unwrap().contains("0 are left of a Turn's budget"), "{told}");
        assert_eq!(shell.ledger().balance(Account::turn(turn.id())).await.unwrap(), None, "it ended");
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_answers_use_is_settled_with_them_and_bounds_the_turns_that_follow() {
    on_each(|builder, _| async move {
        // 20 tokens in and 100 out, at 1 and 2 thousand-millionths of a dollar a token.
        let reply = |text: &str| Reply::text(text).usage(20, 100);
        let model = Scripted::with(move |_| reply("yes")).price(1_000_000, 2_000_000);
        let session = money(10_000);
        let shell = builder
            .model(model.clone())
            .budgeted(move |whose| {
                assert_eq!(whose.tenant.as_str(), "default");
                assert!(["ada", "bob"].contains(&whose.name.as_str()), "{}", whose.name);
                Ceilings { session, tenant: money(1_000_000), ..Ceilings::default() }
            })
            .open()
            .await
            .unwrap();
        let ada = shell.session("ada").unwrap();
        let mut prompt = Prompt::new("Answer.");
        prompt.settings.output_tokens = 500;
        let plan = || Plan::new([Step::ask("ask", "default", prompt.clone(), input("/q"))]).unwrap();
        let request = || agent_shell_core::Request::plan(plan()).input(json!({ "q": "?" }));
        let mut answered = 0;
        let refused = loop {
            let outcome = ada.submit(request()).await.unwrap().outcome().await.unwrap();
            match outcome {
                Outcome::Answered(_) => answered += 1,
                other => break other,
            }
        };
        assert_eq!(failure(&refused).0, FailureCode::Budget);
        let account = shell.session_account(ada.id().await.unwrap());
        let balance = shell.ledger().balance(account).await.unwrap().unwrap();
        assert_eq!(balance.settled.nano_usd, answered * 220, "what was used, not what was set aside");
        assert_eq!((balance.settled.tokens, balance.settled.steps), (answered * 120, answered));
        assert_eq!((balance.reserved, balance.closed), (Amounts::ZERO, false));
        assert!(answered >= 5, "{answered}");

        // Another session has its own.
        let outcome = shell.session("bob").unwrap().submit(request()).await.unwrap().outcome().await.unwrap();
        assert_eq!(outcome.text(), "yes");
        let tenant = shell.tenant_account(&Default::default());
        let balance = shell.ledger().balance(tenant).await.unwrap().unwrap();
        assert_eq!(balance.settled.nano_usd, (answered + 1) * 220);
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_can_not_be_bounded_is_refused_where_it_counts() {
    let shell = Shell::volatile().limits(limits()).model(Scripted::new([Reply::text("yes")]));
    let shell = shell.open().await.unwrap();
    let session = shell.session("ada").unwrap();
    let outcome = session.submit("hi").budget(money(1_000)).await.unwrap().outcome().await.unwrap();
    let (code, message) = failure(&outcome);
    assert_eq!(code, FailureCode::Budget);
    assert!(message.contains("price of the model is not known"), "{message}");
    let tokens = Ceiling { tokens: Some(100_000), ..Ceiling::NONE };
    let outcome = session.submit("hi").budget(tokens).await.unwrap().outcome().await.unwrap();
    assert_eq!(outcome.text(), "yes", "its tokens are bounded");
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_question_that_is_given_up_counts_at_its_bound() {
    on_each(|builder, _| async move {
        let model = Scripted::new([Reply::hang()]).price(1_000_000, 1_000_000);
        let ceilings = |_: &agent_shell_core::runtime::Whose<'_>| Ceilings {
            session: money(1 << 40),
            ..Default::default()
        };
        let shell = builder.model(model).budgeted(ceilings).open().await.unwrap();
        let ada = shell.session("ada").unwrap();
        let turn = ada.submit("hi").deadline(Duration::from_millis(500)).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap(), Outcome::Expired);
        let account = shell.session_account(ada.id().await.unwrap());
        let balance = shell.ledger().balance(account).await.unwrap().unwrap();
        assert!(balance.settled.nano_usd > 4_096, "{balance:?}");
        assert_eq!(balance.reserved, Amounts::ZERO);
        let operations = shell.ledger().operations(0, 10).await.unwrap();
        let kinds: Vec<_> = operations.iter().map(|operation| operation.kind).collect();
        assert_eq!(kinds, [OperationKind::Reserved, OperationKind::Ended]);
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn operations_past_the_horizon_are_let_go_and_balances_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let open = |keep_ms: u64| {
        let model = Scripted::with(|_| Reply::text("yes").usage(10, 10)).price(1_000_000, 1_000_000);
        let mut limits = limits();
        limits.ledger_keep_ms = keep_ms;
        let builder = Shell::at(&path).limits(limits).model(model);
        builder.budgeted(|_| Ceilings { tenant: money(1 << 40), ..Default::default() }).open()
    };
    let shell = open(1 << 40).await.unwrap();
    shell.session("ada").unwrap().submit("hi").await.unwrap().outcome().await.unwrap();
    let account = shell.tenant_account(&Default::default());
    let balance = shell.ledger().balance(account).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(shell.ledger().operations(0, 10).await.unwrap().len(), 2);
    shell.shutdown().await.unwrap();

    let shell = open(1).await.unwrap();
    while !shell.ledger().operations(0, 10).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(shell.ledger().balance(account).await.unwrap(), Some(balance));
    shell.shutdown().await.unwrap();
}

struct Looks(tokio::sync::mpsc::UnboundedSender<Option<Ceiling>>);

#[async_trait::async_trait]
impl Planner for Looks {
    async fn plan(&self, view: PlanView) -> Result<Planned, PlannerError> {
        self.0.send(view.headroom.budget).unwrap();
        if view.round == 1 {
            return Ok(Planned::Next(Plan::new([Step::tool("one", "double", json!({ "n": 1 }))])?));
        }
        Ok(Planned::Answer(Value::Null))
    }
}

#[tokio::test]
async fn a_planner_sees_what_is_left() {
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let shell = Shell::volatile().limits(limits()).planner(Looks(sender)).tool(double().costs_at_most(300));
    let shell =
        shell.budgeted(|_| Ceilings { user: money(1_000), ..Default::default() }).open().await.unwrap();
    let turn = shell.session("ada").unwrap().submit("hi").budget(calls(5)).await.unwrap();
    turn.outcome().await.unwrap();
    let both = |nano_usd, tool_calls| {
        Some(Ceiling { nano_usd: Some(nano_usd), tool_calls: Some(tool_calls), ..Ceiling::NONE })
    };
    assert_eq!((seen.recv().await.unwrap(), seen.recv().await.unwrap()), (both(1_000, 5), both(700, 4)));
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_bill_above_the_reservation_closes_the_account_until_somebody_looks() {
    let model = Scripted::with(|_| Reply::text("yes").usage(10, 10)).price(1_000_000, 1_000_000);
    let shell = Shell::volatile().limits(limits()).model(model).tool(failing());
    let shell =
        shell.budgeted(|_| Ceilings { user: money(1 << 40), ..Default::default() }).open().await.unwrap();
    let ada = shell.session("ada").unwrap();
    let turn = ada.submit("hi").await.unwrap();
    turn.outcome().await.unwrap();
    let attempt = asked(&ada, turn.id()).await;
    let account = shell.user_account(&Default::default(), &"ada".try_into().unwrap()).await.unwrap();
    let billed = Amounts { nano_usd: 1 << 30, tokens: 20, steps: 1, ..Amounts::ZERO };
    shell.ledger().reconcile(attempt, billed).await.unwrap();
    let outcome = ada.submit("again").await.unwrap().outcome().await.unwrap();
    let (code, message) = failure(&outcome);
    assert_eq!(code, FailureCode::Budget);
    assert!(message.contains("an overrun closed a User's budget"), "{message}");
    let balance = shell.ledger().balance(account).await.unwrap().unwrap();
    assert_eq!((balance.settled.nano_usd, balance.closed), (1 << 30, true));
    shell.ledger().reopen(account, balance.overrun).await.unwrap();
    assert_eq!(ada.submit("again").await.unwrap().outcome().await.unwrap().text(), "yes");
    shell.shutdown().await.unwrap();
}

/// The attempt at the question of a turn, as its record names it.
pub(super) async fn asked(session: &agent_shell_core::Session, of: TurnId) -> AttemptId {
    let mut history = session.history().await.unwrap();
    for entry in history.next(1_000).await.unwrap() {
        if let Body::ModelAnswered { turn, step, attempt, .. } = entry.body
            && turn == of
        {
            return AttemptId {
                session: session.id().await.unwrap(),
                turn,
                step,
                epoch: entry.epoch,
                attempt,
            };
        }
    }
    panic!("nothing was asked");
}

#[tokio::test]
async fn what_an_answer_used_is_settled_before_the_next_question_is_asked() {
    on_each(|builder, _| async move {
        // Each question can use 4,096 tokens and its own length, and uses 150: two of them set aside at once are too many.
        let model = Scripted::with(|request| {
            let reply = match request.messages.len() {
                5.. => Reply::text("thrice"),
                n => Reply::call("double", json!({ "n": n })),
            };
            reply.usage(100, 50)
        });
        let shell = builder.model(model).tool(double()).open().await.unwrap();
        for number in 0..10 {
            let session = shell.session(format!("session {number}")).unwrap();
            let tokens = Ceiling { tokens: Some(7_000), ..Ceiling::NONE };
            let turn = session.submit("Double it").budget(tokens).await.unwrap();
            assert_eq!(turn.outcome().await.unwrap().text(), "thrice");
        }
        shell.shutdown().await.unwrap();
    })
    .await;
}
