//! A compensation that keeps failing rests, with what is left to undo.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agent_shell_core::{
    Actor, Call, ErrorKind, Needs, Outcome, Plan, Resolution, Rest, Retry, Shell, Tool, ToolError, Turn,
    Undo, Undone,
};
use serde_json::json;

use super::{For, call};
use crate::support::limits;

/// A turn whose undoing rests: `a` before `b` before what fails, and `b` can't be undone until `works` is set.
async fn parked(works: &Arc<AtomicBool>) -> (Shell, Turn, Rest) {
    let works = works.clone();
    let book = Tool::idempotent("book", "", |_: For, _: Call| async { Ok::<_, ToolError>("booked") });
    let fail =
        Tool::idempotent("fail", "", |_: For, _: Call| async { Err::<(), _>(ToolError::refused("no")) });
    let unbook = Tool::idempotent("unbook", "", move |undo: Undo<For>, _: Call| {
        let works = works.load(Ordering::SeqCst) || undo.input.step != "b";
        async move { if works { Ok(()) } else { Err(ToolError::retry("out of order")) } }
    });
    let unbook = unbook.retry(Retry { attempts: 2, base_ms: 1, max_ms: 1 });
    let shell =
        Shell::volatile().limits(limits()).tool(book.compensated_by("unbook")).tool(fail).tool(unbook);
    let shell = shell.open().await.unwrap();
    let plan = [call("a", "book"), call("b", "book").after(["a"]), call("c", "fail").after(["b"])];
    let turn = shell.session("s").unwrap().submit(Plan::new(plan).unwrap()).await.unwrap();
    let error = turn.outcome().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AtRest, "{error}");
    assert!(error.to_string().contains("`b` can't be undone"), "{error}");
    let rests = turn.rests().await.unwrap();
    let [rest] = &rests[..] else { panic!("{rests:?}") };
    let Needs::Undo { undoes, tool, input, attempt, failure, left } = &rest.needs else { panic!("{rest:?}") };
    assert_eq!((undoes.as_ref(), tool.as_ref().unwrap().as_str()), ("b", "unbook"));
    assert_eq!((&input["input"], &input["output"]), (&json!({ "step": "b" }), &json!("booked")));
    assert_eq!((*attempt, failure.message.as_str()), (2, "out of order"));
    assert_eq!(left.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["a", "b"]);
    assert_eq!(shell.rests().await.unwrap(), rests, "it is listed");
    let rest = rest.clone();
    (shell, turn, rest)
}

async fn ends(turn: &Turn) -> (Vec<String>, Vec<String>) {
    let outcome = turn.outcome().await.unwrap();
    assert!(matches!(&outcome, Outcome::Failed(failure) if failure.step.as_ref().unwrap().as_str() == "c"));
    let Undone { undone, left, .. } = turn.undone().await.unwrap();
    let names = |steps: Vec<_>| steps.iter().map(ToString::to_string).collect();
    (names(undone), names(left))
}

#[tokio::test]
async fn what_can_not_be_undone_rests_and_is_tried_again_when_a_person_says_so() {
    let works = Arc::new(AtomicBool::new(false));
    let (shell, turn, rest) = parked(&works).await;
    let olga = Actor::named("olga").unwrap();
    // It fails once more.
    shell.resolve(&rest, Resolution::Retry, &olga).await.unwrap();
    assert_eq!(turn.outcome().await.unwrap_err().kind(), ErrorKind::AtRest);
    let again = turn.rests().await.unwrap().remove(0);
    assert!(matches!(again.needs, Needs::Undo { attempt: 4, .. }), "{again:?}");
    assert_eq!(shell.resolve(&rest, Resolution::Retry, &olga).await.unwrap_err().kind(), ErrorKind::NotFound);
    works.store(true, Ordering::SeqCst);
    turn.resolve("undo:b", Resolution::Retry, &olga).await.unwrap();
    assert_eq!(ends(&turn).await, (vec!["b".into(), "a".into()], vec![]));
}

#[tokio::test]
async fn a_person_may_have_undone_it_or_leave_it_and_the_rest_is_undone_all_the_same() {
    let (shell, turn, rest) = parked(&Arc::default()).await;
    shell.resolve(&rest, Resolution::Applied(json!("by hand")), &Actor::Host).await.unwrap();
    assert_eq!(ends(&turn).await, (vec!["b".into(), "a".into()], vec![]));
    let (shell, turn, rest) = parked(&Arc::default()).await;
    shell.resolve(&rest, Resolution::GiveUp, &Actor::Host).await.unwrap();
    assert_eq!(ends(&turn).await, (vec!["a".into()], vec!["b".into()]));
}

#[tokio::test]
async fn a_turn_that_is_given_up_while_it_is_undone_says_what_is_left() {
    let (_shell, turn, _) = parked(&Arc::default()).await;
    turn.abandon("nobody can", &Actor::Host).await.unwrap();
    assert!(matches!(turn.outcome().await.unwrap(), Outcome::Abandoned { .. }));
    let left = turn.undone().await.unwrap().left;
    assert_eq!(left.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["a", "b"]);
}
