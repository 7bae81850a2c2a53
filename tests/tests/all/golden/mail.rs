//! Mail, which may wait in a mailbox while the process that will read it is replaced by a newer one.

use agent_shell_core::data::{Decision, Mail, PlannerRef, Resolution, TurnRequest};
use agent_shell_core::words::{Digest, PlannerName, Seq, SignalName};
use serde_json::json;

use super::bodies::{LATER, PARENT, TURN, blob, small_plan, step, value};
use super::golden;

/// What the lines of `mail-v1.jsonl` say, in their order.
fn mail() -> Vec<Mail> {
    let submit = |input, planner, deadline| Mail::Submit {
        turn: TURN,
        input,
        planner,
        by_default: false,
        deadline,
        wants: None,
        budget: None,
        untrusted: false,
    };
    let named = PlannerRef::Named(PlannerName::new("default").unwrap());
    let again = named.clone();
    let digest = Digest::from_bytes([7; 32]);
    let decide = |decision| Mail::Decide { turn: TURN, step: step("ask"), digest, decision };
    let signal = |payload| Mail::Signal { name: SignalName::new("payment").unwrap(), payload };
    let resolve = |resolution| Mail::Resolve { turn: TURN, step: step("post"), attempt: None, resolution };
    let mut mail = vec![
        submit(value().into(), named, None),
        submit(blob(), PlannerRef::Fixed(small_plan()), Some(LATER)),
        decide(Decision::Approved),
        decide(Decision::Denied { reason: "not today".into() }),
        signal(json!({ "cents": 5 }).into()),
        resolve(Resolution::Applied(value())),
        resolve(Resolution::Retry),
        resolve(Resolution::GiveUp),
        Mail::Abandon { turn: TURN, reason: "out of date".into() },
        Mail::Purge,
        Mail::Cancel { turn: TURN, reason: "not needed".into() },
        Mail::Fork { parent: PARENT, seq: Seq::new(17), hash: Digest::from_bytes([8; 32]), effects: false },
    ];
    mail.extend(super::children::mail());
    mail.push(Mail::Steer { request: Box::new(TurnRequest::new(TURN, value(), again)), at_once: true });
    mail
}

#[test]
fn mail_of_version_1_is_read_as_it_was_meant_and_written_alike() {
    let (text, mail) = (golden("mail-v1.jsonl"), mail());
    assert_eq!(text.lines().count(), mail.len());
    for (line, expected) in text.lines().zip(mail) {
        assert_eq!(serde_json::from_str::<Mail>(line).unwrap(), expected);
        assert_eq!(serde_json::to_string(&expected).unwrap(), line);
    }
}
