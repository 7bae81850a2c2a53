//! What waits for people is answered in any order, by whoever finds it, and each approval comes once.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent_shell_core::{
    Actor, Call, ErrorKind, FailureCode, Needs, Outcome, Plan, Resolution, Rest, Shell, Step, Tool,
    ToolError, Turn,
};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::support::{counted, on_each};

/// What is not there after this time does not come.
const SOON: Duration = Duration::from_secs(20);
/// What would come has come by then, on any machine that is not overwhelmed.
const A_WHILE: Duration = Duration::from_millis(150);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("it comes soon")
}

fn asks(id: &str, n: i64) -> Step {
    Step::tool(id, "count", json!({ "n": n }))
}

/// Waits until exactly these steps wait for an approval.
async fn until_open(turn: &Turn, steps: &[&str]) {
    soon(async {
        loop {
            let open = turn.approvals().await.unwrap();
            if open.iter().map(|approval| approval.step.as_str()).eq(steps.iter().copied()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approvals_are_answered_in_any_order_and_from_the_list_of_rests() {
    on_each(|shell, _| async {
        let calls = Arc::new(AtomicU32::new(0));
        let shell = shell.tool(counted(&calls).ask_first()).open().await.unwrap();
        let plan = Plan::new([asks("a", 1), asks("b", 2), asks("c", 3)]).unwrap();
        let turn = shell.session("s").unwrap().submit(plan).await.unwrap();
        let olga = Actor::named("olga").unwrap();
        until_open(&turn, &["a", "b", "c"]).await;
        let open = turn.approvals().await.unwrap();
        assert_eq!(*open[2].shown, json!({ "n": 3 }));
        open[2].approve(&olga).await.unwrap();
        until_open(&turn, &["a", "b"]).await;

        let rests = shell.rests().await.unwrap();
        let rest = |step: &str| rests.iter().find(|rest| rest.step.as_str() == step).unwrap();
        shell.approve(rest("b"), &olga).await.unwrap();
        until_open(&turn, &["a"]).await;
        let wrong = shell.resolve(rest("a"), Resolution::GiveUp, &olga).await.unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::InvalidInput, "{wrong}");
        shell.deny(rest("a"), "not this one", &olga).await.unwrap();
        let Outcome::Failed(failure) = soon(turn.outcome()).await.unwrap() else { panic!("it was denied") };
        assert_eq!((failure.code, failure.message.as_str()), (FailureCode::Denied, "not this one"));
        assert_eq!(failure.step.unwrap().as_str(), "a");
        assert_eq!(calls.load(Ordering::SeqCst), 2, "the others were approved, and ran");
        assert_eq!(turn.approvals().await.unwrap().len(), 0);

        // Nobody hears of a decision that comes too late but the history.
        shell.approve(rest("a"), &olga).await.unwrap();
        let session = shell.session("s").unwrap();
        soon(async {
            loop {
                let records = session.history().await.unwrap().next(100).await.unwrap();
                if records.iter().any(|record| record.body.kind() == "mail.refused") {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_approval_comes_once_until_the_turn_ends() {
    Box::pin(on_each(|shell, _| async {
        let calls = Arc::new(AtomicU32::new(0));
        let shell = shell.tool(counted(&calls).ask_first()).open().await.unwrap();
        let session = shell.session("s").unwrap();
        let steps = || [asks("a", 1), asks("b", 2), asks("c", 3).after(["a"])];
        let turn = session.submit(Plan::new(steps()).unwrap()).await.unwrap();
        let mut approvals = turn.approvals_stream();
        let first = soon(approvals.next()).await.unwrap().unwrap();
        let second = soon(approvals.next()).await.unwrap().unwrap();
        let both: BTreeSet<_> = [&first, &second].map(|approval| approval.step.to_string()).into();
        assert_eq!(both, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        // The turn rests. Nothing new comes, nothing ends, and a wait that is given up loses nothing.
        for _ in 0..3 {
            let waited = tokio::time::timeout(A_WHILE, approvals.next()).await;
            assert!(waited.is_err(), "{waited:?}");
        }
        let (a, b) = if first.step.as_str() == "a" { (first, second) } else { (second, first) };
        a.approve(&Actor::Host).await.unwrap();
        let third = soon(approvals.next()).await.unwrap().unwrap();
        assert_eq!(third.step.as_str(), "c", "what waits behind it asks now");
        third.approve(&Actor::Host).await.unwrap();
        b.approve(&Actor::Host).await.unwrap();
        assert!(soon(approvals.next()).await.unwrap().is_none(), "the turn has ended");
        assert!(soon(approvals.next()).await.unwrap().is_none());
        assert_eq!(calls.load(Ordering::SeqCst), 3);

        // The same as a `Stream`, of a turn that may not have begun yet.
        let turn = session.submit(Plan::new(steps()).unwrap()).await.unwrap();
        let answered = turn.approvals_stream().into_stream().then(|approval| async {
            let approval = approval.unwrap();
            approval.approve(&Actor::Host).await.unwrap();
            approval.step.to_string()
        });
        let mut answered: Vec<_> = soon(answered.collect()).await;
        answered.sort();
        assert_eq!(answered, ["a", "b", "c"]);
        assert!(matches!(soon(turn.outcome()).await.unwrap(), Outcome::Answered(_)));
        shell.shutdown().await.unwrap();
    }))
    .await;
}

/// The rest of the only step in doubt, once it shows this attempt.
async fn in_doubt(shell: &Shell, number: u32) -> Rest {
    soon(async {
        loop {
            let rests = shell.rests().await.unwrap();
            if let Some(rest) = rests.into_iter().next()
                && matches!(rest.needs, Needs::Resolution { attempt, .. } if attempt == number)
            {
                return rest;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_doubt_is_resolved_from_the_list_of_rests_and_of_that_attempt_alone() {
    on_each(|shell, _| async {
        let send = Tool::irreversible("send", "", |_: Value, _: Call| async {
            Err::<Value, _>(ToolError::ambiguous("the line went dead"))
        })
        .attempt_deadline(Duration::from_millis(20));
        let shell = shell.tool(send).open().await.unwrap();
        let plan = Plan::new([Step::tool("send", "send", json!({}))]).unwrap();
        let turn = shell.session("s").unwrap().submit(plan).await.unwrap();
        let first = in_doubt(&shell, 1).await;
        for wrong in [shell.approve(&first, &Actor::Host).await, shell.deny(&first, "no", &Actor::Host).await]
        {
            let wrong = wrong.unwrap_err();
            assert_eq!(wrong.kind(), ErrorKind::InvalidInput);
            assert!(wrong.to_string().contains("step `send` is in doubt"), "{wrong}");
        }
        while let Err(early) = shell.resolve(&first, Resolution::Retry, &Actor::Host).await {
            assert_eq!(early.kind(), ErrorKind::InvalidInput, "{early}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let second = in_doubt(&shell, 2).await;
        let stale = shell.resolve(&first, Resolution::Applied(json!("old")), &Actor::Host).await.unwrap_err();
        assert_eq!(stale.kind(), ErrorKind::NotFound, "{stale}");
        shell.resolve(&second, Resolution::Applied(json!("sent")), &Actor::Host).await.unwrap();
        assert_eq!(soon(turn.outcome()).await.unwrap(), Outcome::Answered(json!("sent")));
        let ended = shell.resolve(&second, Resolution::Retry, &Actor::Host).await.unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::NotFound, "{ended}");
        shell.shutdown().await.unwrap();
    })
    .await;
}
