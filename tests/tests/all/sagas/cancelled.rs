//! What a cancel stops, lets finish, learns and undoes, for each class.

use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::{
    Actor, Call, ErrorKind, Needs, Outcome, Plan, Resolution, Shell, Step, Tool, ToolError, Turn, Undo,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{For, Log, call, tools};
use crate::support::{limits, on_each};

fn names(steps: &[agent_shell_core::words::StepId]) -> Vec<&str> {
    steps.iter().map(AsRef::as_ref).collect()
}

async fn is_cancelled(turn: &Turn) {
    let outcome = tokio::time::timeout(Duration::from_secs(20), turn.outcome()).await.expect("it ends");
    assert_eq!(outcome.unwrap(), Outcome::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_waits_for_its_start_is_withdrawn() {
    on_each(|shell, _| async {
        let shell = shell.open().await.unwrap();
        let session = shell.session("s").unwrap();
        let wait = || Plan::new([Step::approval("ask", json!("go on?"))]).unwrap();
        let first = session.submit(wait()).await.unwrap();
        let second = session.submit(wait()).dedupe("second").await.unwrap();
        let third = session.submit(wait()).await.unwrap();
        first.approval().await.unwrap().expect("it waits");
        second.cancel("not needed", &Actor::named("olga").unwrap()).await.unwrap();
        is_cancelled(&second).await;
        assert_eq!(second.cancel("again", &Actor::Host).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(second.rests().await.unwrap(), []);
        // A repeat of the request finds the turn that was withdrawn.
        let repeated = session.submit(wait()).dedupe("second").await.unwrap();
        assert_eq!((repeated.id(), repeated.outcome().await.unwrap()), (second.id(), Outcome::Cancelled));
        // A turn that rests is cancelled, too; those behind it go on.
        first.cancel("not needed either", &Actor::Host).await.unwrap();
        is_cancelled(&first).await;
        assert_eq!(third.outcome().await.unwrap_err().kind(), ErrorKind::AtRest);
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_withdrawn_beside_the_end_of_the_turn_before_it_does_not_start() {
    let shell = Shell::volatile().limits(limits()).open().await.unwrap();
    for round in 0..60 {
        let session = shell.session(format!("s{round}")).unwrap();
        let wait = || Plan::new([Step::approval("ask", json!("go on?"))]).unwrap();
        let first = session.submit(wait()).await.unwrap();
        let second = session.submit(wait()).await.unwrap();
        first.approval().await.unwrap().expect("it waits");
        let (ended, withdrawn, again) = tokio::join!(
            first.abandon("enough", &Actor::Host),
            second.cancel("not needed", &Actor::Host),
            second.cancel("not needed at all", &Actor::Host),
        );
        ended.unwrap();
        // One of the two may come after the other was carried out.
        assert!(withdrawn.is_ok() || again.is_ok());
        is_cancelled(&second).await;
        assert!(matches!(first.outcome().await.unwrap(), Outcome::Abandoned { .. }));
    }
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_applied_is_undone_what_runs_ends_and_what_is_pure_is_dropped() {
    let (world, running, go_on) =
        (Arc::new(Log::default()), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (act, undo, begun, ends) = (world.clone(), world.clone(), running.clone(), go_on.clone());
    let slow = Tool::irreversible("slow", "", move |of: For, call: Call| {
        let (act, begun, ends) = (act.clone(), begun.clone(), ends.clone());
        async move {
            begun.notify_one();
            ends.notified().await;
            act.apply("slow", &of.step, call.key());
            Ok::<_, ToolError>("done")
        }
    });
    let unslow = Tool::idempotent("unslow", "", move |of: Undo<For, String>, call: Call| {
        undo.apply("unslow", &of.input.step, call.key());
        async { Ok::<_, ToolError>(()) }
    });
    let dropped = Arc::new(());
    let held = dropped.clone();
    let pure = Tool::pure("hang", "", move |_: Value, _: Call| {
        let held = held.clone();
        async move {
            std::future::pending::<()>().await;
            drop(held);
            Ok::<_, ToolError>(())
        }
    });
    let shell =
        Shell::volatile().limits(limits()).tool(slow.compensated_by("unslow")).tool(unslow).tool(pure);
    let shell = shell.open().await.unwrap();
    let plan = [call("a", "slow"), Step::tool("p", "hang", json!(null)), call("b", "slow").after(["a"])];
    let turn = shell.session("s").unwrap().submit(Plan::new(plan).unwrap()).await.unwrap();
    running.notified().await;
    while Arc::strong_count(&dropped) < 3 {
        tokio::task::yield_now().await;
    }
    turn.cancel("stop", &Actor::Host).await.unwrap();
    while Arc::strong_count(&dropped) > 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(turn.ended().await.unwrap(), None, "an act runs");
    assert_eq!(world.all(), []);
    go_on.notify_one();
    is_cancelled(&turn).await;
    assert_eq!((world.of("slow"), world.of("unslow")), (vec!["a".to_owned()], vec!["a".to_owned()]));
    assert_eq!(names(&turn.undone().await.unwrap().undone), ["a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_act_that_can_not_be_undone_a_person_says_what_became_of_it() {
    let tool = || {
        Tool::idempotent("lost", "", |_: For, _: Call| async {
            Err::<(), _>(ToolError::ambiguous("the line was cut"))
        })
    };
    let undo = Tool::idempotent("undo", "", |_: Undo<For>, _: Call| async { Ok::<_, ToolError>(()) });
    // It waits long before it is repeated.
    let slowly = agent_shell_core::Retry { attempts: 9, base_ms: 300_000, max_ms: 300_000 };
    let shell = Shell::volatile().limits(limits()).tool(tool().retry(slowly)).tool(undo);
    let shell = shell.open().await.unwrap();
    let turn = shell.session("s").unwrap();
    let turn = turn.submit(Plan::new([call("a", "lost")]).unwrap()).await.unwrap();
    let mut history =
        shell.history(shell.sessions(Default::default(), None, 1).await.unwrap()[0].id).await.unwrap();
    loop {
        let records = history.next(64).await.unwrap();
        if records.iter().any(|record| record.body.kind() == "attempt.failed") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    turn.cancel("stop", &Actor::Host).await.unwrap();
    assert_eq!(turn.outcome().await.unwrap_err().kind(), ErrorKind::AtRest);
    let rest = turn.rests().await.unwrap().remove(0);
    let Needs::Resolution { reason, .. } = &rest.needs else { panic!("{rest:?}") };
    assert!(reason.contains("cancelled"), "{reason}");
    shell.resolve(&rest, Resolution::Applied(json!(null)), &Actor::Host).await.unwrap();
    is_cancelled(&turn).await;
    assert_eq!(names(&turn.undone().await.unwrap().left), ["a"]);
}

/// A step that waits for its next try when its turn is cancelled goes on no more: no compensation waits for its lock, or for
/// its place among those that may run at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_on_no_more_holds_up_no_compensation() {
    for asks_first in [false, true] {
        let world = Arc::new(Log::default());
        let mut limits = limits();
        limits.parallel_steps = 1;
        let mut shell = Shell::volatile().limits(limits);
        // The second one is what undoes.
        for (place, tool) in tools(&world).into_iter().enumerate() {
            shell = shell.tool(if place == 1 && asks_first { tool.ask_first() } else { tool });
        }
        let tried = Arc::new(Notify::new());
        let tries = tried.clone();
        let later = Tool::idempotent("later", "", move |_: For, _: Call| {
            tries.notify_one();
            async { Err::<(), _>(ToolError::retry("not now")) }
        });
        let retry = agent_shell_core::Retry { attempts: 9, base_ms: 600_000, max_ms: 600_000 };
        let shell = shell.tool(later.retry(retry)).open().await.unwrap();
        let session = shell.session("ada").unwrap();
        let steps = [call("a", "book").lock("left"), call("b", "later").lock("left").after(["a"])];
        let turn = session.submit(Plan::new(steps).unwrap()).await.unwrap();
        tried.notified().await;
        while !kinds(&session).await.contains(&"attempt.failed") {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        turn.cancel("enough", &Actor::Host).await.unwrap();
        if asks_first {
            let approval = tokio::time::timeout(Duration::from_secs(20), turn.approval()).await;
            approval.expect("it asks").unwrap().unwrap().approve(&Actor::Host).await.unwrap();
        }
        let outcome = tokio::time::timeout(Duration::from_secs(20), turn.outcome()).await;
        assert_eq!(outcome.expect("it ends").unwrap(), Outcome::Cancelled);
        assert_eq!(
            world.all(),
            [("book", "a"), ("unbook", "a")].map(|(tool, step)| (tool.into(), step.into()))
        );
        shell.shutdown().await.unwrap();
    }
}

async fn kinds(session: &agent_shell_core::Session) -> Vec<&'static str> {
    let records = session.history().await.unwrap().next(1_000).await.unwrap();
    records.iter().map(|entry| entry.body.kind()).collect()
}

/// Nobody can give any more what a turn that can only end had asked for: it rests for the approval of what undoes, and for
/// nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_turn_that_can_only_end_asked_for_rests_no_more() {
    let world = Arc::new(Log::default());
    let mut shell = Shell::volatile().limits(limits());
    for (place, tool) in tools(&world).into_iter().enumerate() {
        shell = shell.tool(if place == 1 { tool.ask_first() } else { tool });
    }
    let shell = shell.open().await.unwrap();
    let session = shell.session("ada").unwrap();
    let steps = [Step::approval("sure", json!("Are you sure?")), call("a", "book")];
    let turn = session.submit(Plan::new(steps).unwrap()).await.unwrap();
    let asked = turn.approval().await.unwrap().expect("it asks");
    while world.of("book").is_empty() || !kinds(&session).await.contains(&"step.succeeded") {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    turn.cancel("enough", &Actor::Host).await.unwrap();
    let asks_for_undo = async {
        loop {
            let asked = turn.approval().await.unwrap().expect("it asks for the compensation");
            if asked.step.as_str() == "undo:a" {
                break asked;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let undo = tokio::time::timeout(Duration::from_secs(20), asks_for_undo);
    let undo = undo.await.expect("the first that is asked for is what undoes");
    let steps: Vec<String> = turn.rests().await.unwrap().iter().map(|rest| rest.step.to_string()).collect();
    assert_eq!(steps, ["undo:a"]);
    // Who held on to the old one is refused, and nothing follows from it.
    asked.approve(&Actor::Host).await.unwrap();
    while !kinds(&session).await.contains(&"mail.refused") {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    undo.approve(&Actor::Host).await.unwrap();
    is_cancelled(&turn).await;
    assert_eq!(world.of("unbook"), ["a"]);
    shell.shutdown().await.unwrap();
}
