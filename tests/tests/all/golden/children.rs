//! What tells of children.

use agent_shell_core::data::{Account, Body, ChildEnd, ChildMail, ChildOf, Mail, PlannerRef, Share};
use agent_shell_core::words::{PlannerName, SessionId, SessionName, TurnId, UserId};
use agent_shell_core::{Ceiling, Delegate, Failure, FailureCode, Outcome, Plan, Step, Subject, input};
use serde_json::json;

use super::bodies::{AT, LATER, TURN, blob, small_plan, step, value};

const CHILD: TurnId = TurnId::from_bytes([9; 16]);
const PARENT: SessionId = SessionId::from_bytes([7; 16]);
const SESSION: SessionId = SessionId::from_bytes([8; 16]);

fn of(bounded: bool) -> ChildOf {
    let mut of = ChildOf::new(PARENT, TURN, step("kid"), CHILD, 2);
    if bounded {
        of.tools = Some(["refund".try_into().unwrap()].into());
        let ceiling = Ceiling { tool_calls: Some(5), ..Ceiling::NONE };
        of.under = vec![Share { account: Account::turn(TURN), ceiling }];
    }
    of
}

fn planner() -> PlannerName {
    PlannerName::new("clerk").unwrap()
}

pub(super) fn bodies() -> Vec<Body> {
    let opened = |bounded| Body::SessionOpened {
        name: SessionName::new("kid").unwrap(),
        subject: Subject::User(UserId::new("ada@example.org").unwrap()),
        child_of: Some(Box::new(of(bounded))),
    };
    let named = Delegate::to_planner("clerk", input("/order"))
        .tools(["refund"])
        .budget(Ceiling { steps: Some(3), ..Ceiling::NONE });
    let fixed = Delegate::to_plan(small_plan(), value());
    let plan = Plan::new([Step::child("kid", named), Step::child("other", fixed)]).unwrap();
    let started = |input, deadline| Body::ChildStarted {
        turn: TURN,
        step: step("kid"),
        session: SESSION,
        child: CHILD,
        input,
        deadline,
    };
    let ended = |waits, applied, untrusted| Body::ChildEnded {
        turn: TURN,
        step: step("kid"),
        waits,
        applied,
        untrusted,
    };
    vec![
        opened(false),
        opened(true),
        Body::TurnStarted {
            turn: CHILD,
            input: value().into(),
            planner: Box::new(PlannerRef::Named(planner())),
            posted: AT,
            deadline: None,
            wants: None,
            budget: None,
            untrusted: true,
            latency: None,
        },
        Body::PlanAdopted { turn: TURN, round: 1, plan, more: false, terms: Default::default() },
        started(value().into(), None),
        started(blob(), Some(LATER)),
        Body::ChildCancelled { turn: TURN, step: step("kid") },
        ended(false, false, false),
        ended(true, true, true),
        Body::StepFailed {
            turn: TURN,
            step: step("kid"),
            failure: Failure::of_step(&step("kid"), FailureCode::Child, "the child was cancelled"),
            applied: false,
        },
        Body::TurnAnswered { turn: CHILD, answer: value().into() },
        Body::SessionHandedOff { planner: planner(), reason: "it is about a refund".into() },
    ]
}

pub(super) fn mail() -> Vec<Mail> {
    let ended = |outcome, waits| {
        let mut end = ChildEnd::new(&of(false), outcome);
        (end.waits, end.applied, end.untrusted) = (waits, waits, waits);
        Mail::Child(ChildMail::Ended(Box::new(end)))
    };
    vec![
        ended(Outcome::Answered(json!("done")), true),
        ended(Outcome::Cancelled, false),
        Mail::Child(ChildMail::Release { turn: CHILD }),
        Mail::Child(ChildMail::Cancel { turn: CHILD, reason: "not needed".into() }),
        Mail::Submit {
            turn: CHILD,
            input: value().into(),
            planner: PlannerRef::Named(planner()),
            by_default: false,
            deadline: None,
            wants: None,
            budget: None,
            untrusted: true,
        },
        Mail::HandOff { planner: planner(), reason: "it is about a refund".into() },
        Mail::Submit {
            turn: CHILD,
            input: value().into(),
            planner: PlannerRef::Named(planner()),
            by_default: true,
            deadline: None,
            wants: None,
            budget: None,
            untrusted: false,
        },
    ]
}

/// Prints what this version writes, for the golden files.
#[test]
#[ignore = "prints lines for the golden files"]
fn lines() {
    for body in bodies() {
        let text = String::from_utf8(agent_shell_core::data::encode(&body)).unwrap();
        println!("{{\"kind\":\"{}\",\"version\":1,\"body\":{text}}}", body.kind());
    }
    for mail in mail() {
        println!("MAIL {}", serde_json::to_string(&mail).unwrap());
    }
}
