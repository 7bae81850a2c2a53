//! What a record says, in one line.

use agent_shell_core::data::{Body, Failure, PlannerRef, Resolution, WaitEnd, WaitFor};
use agent_shell_core::words::Timestamp;
use agent_shell_core::{Outcome, Undone};

use super::bounds::LINE_BYTES;

/// What a record says, in one line of bounded length.
pub(super) fn about(body: &Body) -> String {
    let text = match body {
        Body::SessionOpened { name, .. } => name.to_string(),
        Body::SessionForked { parent, seq, effects, .. } => {
            format!("from record {seq} of {parent}, {} effects", if *effects { "with" } else { "without" })
        }
        Body::TurnStarted { input, planner, .. } => {
            let plan = if matches!(**planner, PlannerRef::Fixed(_)) { "with its plan, " } else { "" };
            format!("{plan}input {}", input.value())
        }
        Body::PlanAdopted { round, plan, more, .. } => {
            let then = if *more { ", then the planner is asked again" } else { "" };
            format!("round {round}: {}{then}", counted(plan.steps().len(), "step"))
        }
        Body::PlanAnswered { answer, .. } => answer.value().to_string(),
        Body::PlanFailed { failure, .. }
        | Body::StepFailed { failure, .. }
        | Body::UndoParked { failure, .. } => failed(failure),
        Body::UndoPlanned { steps, .. } => format!("of {}", counted(steps.len(), "step")),
        Body::WaitOpened { wait, .. } => opened(wait),
        Body::WaitEnded { end, .. } => match end {
            WaitEnd::Approved => "approved".to_owned(),
            WaitEnd::Signalled(payload) => format!("the signal came: {}", payload.value()),
            WaitEnd::Fired { late_ms } => format!("the timer fired {late_ms} ms late"),
            _ => String::new(),
        },
        Body::StepStarted { attempt, deadline, .. } => format!("attempt {attempt}, until {deadline}"),
        Body::AttemptFailed { attempt, not_applied, counts, reason, .. } => {
            let known = match (not_applied, counts) {
                (true, _) => "nothing happened",
                (false, true) => "what happened is not known",
                (false, false) => "interrupted",
            };
            format!("attempt {attempt}, {known}: {reason}")
        }
        Body::StepOutdated { attempt, changed, .. } => {
            let changed: Vec<&str> = changed.iter().map(|key| key.as_str()).collect();
            format!("attempt {attempt}, made again: what it had read has changed ({})", changed.join(", "))
        }
        Body::ProbeFailed { reason, .. } => reason.clone(),
        Body::StepSucceeded { attempt, output, .. } => format!("attempt {attempt}: {}", output.value()),
        Body::StepInDoubt { attempt, reason, .. } => format!("attempt {attempt}: {reason}"),
        Body::StepResolved { resolution, .. } => match resolution {
            Resolution::Applied(output) => format!("it was applied: {output}"),
            Resolution::Retry => "it was not applied, and is tried again".to_owned(),
            Resolution::GiveUp => "it was not applied, and is given up".to_owned(),
            _ => String::new(),
        },
        Body::SignalReceived { name, payload } => format!("{name}: {}", payload.value()),
        Body::MailRefused { mail_kind, reason, .. } => format!("{}: {reason}", mail_kind.as_str()),
        Body::TurnInterrupted { times, failure: None, .. } => {
            format!(
                "owners went away and left no record of what they had begun, {times} times two of them in a row"
            )
        }
        Body::TurnInterrupted { failure: Some(failure), .. } => failed(failure),
        Body::ChildStarted { session, input, .. } => format!("in session {session}, input {}", input.value()),
        Body::ChildCancelled { .. } => "the child was told".to_owned(),
        Body::ChildEnded { waits: true, .. } => "the child has answered, and can be undone".to_owned(),
        Body::ChildEnded { .. } => "the child has ended".to_owned(),
        Body::TurnAnswered { answer, .. } => format!("its parent was told {}", answer.value()),
        Body::SessionHandedOff { planner, reason } => format!("`{planner}` plans from now on: {reason}"),
        Body::LatencyBreached { step, stage, budget_ms, took_ms, .. } => {
            let of = step.as_ref().map(|step| format!(" of `{step}`")).unwrap_or_default();
            format!("{stage}{of} took {took_ms} ms, where {budget_ms} ms are allowed")
        }
        Body::TurnExpired { .. } => "the turn's deadline passed".to_owned(),
        Body::SessionPurged { open: Some(open), .. } => {
            format!("the subject was erased; {} may have happened", counted(open.len(), "open act"))
        }
        Body::SessionPurged { open: None, .. } => {
            "the subject was erased; which acts were open could not be read any more".to_owned()
        }
        Body::TurnEnded { outcome, answer, undone, .. } => {
            let how = match (outcome, answer) {
                (_, Some(answer)) => answer.value().to_string(),
                (Outcome::Answered(answer), None) => answer.to_string(),
                (Outcome::Failed(failure), _) => failed(failure),
                (Outcome::Abandoned { reason }, _) => reason.clone(),
                _ => String::new(),
            };
            [Some(how), undone.as_deref().map(aftermath)].into_iter().flatten().collect::<Vec<_>>().join("; ")
        }
        _ => String::new(),
    };
    one_line(&text)
}

fn opened(wait: &WaitFor) -> String {
    let by = |at: &Option<Timestamp>| at.map(|at| format!(", until {at}")).unwrap_or_default();
    match wait {
        WaitFor::Approval { tool, expires, .. } => {
            let what = tool.as_ref().map(|tool| format!(" of `{tool}`")).unwrap_or_default();
            format!("waits for an approval{what}{}", by(expires))
        }
        WaitFor::Signal { name, expires } => format!("waits for the signal `{name}`{}", by(expires)),
        WaitFor::Timer { due } => format!("waits until {due}"),
        _ => String::new(),
    }
}

fn failed(failure: &Failure) -> String {
    // The code as records and the pages of documentation write it.
    let code = serde_json::to_value(failure.code).ok();
    let code = code.as_ref().and_then(serde_json::Value::as_str).unwrap_or("failed");
    match &failure.step {
        Some(step) => format!("{code} at `{step}`: {}", failure.message),
        None => format!("{code}: {}", failure.message),
    }
}

fn aftermath(undone: &Undone) -> String {
    let left = match undone.left.len() {
        0 => "nothing is left of it".to_owned(),
        left => format!("{} not", counted(left, "step")),
    };
    format!("{} undone, {left}", counted(undone.undone.len(), "step"))
}

/// A number with its noun.
pub(super) fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The beginning of a text, on one line.
pub(super) fn one_line(text: &str) -> String {
    let beginning = cut(text, LINE_BYTES);
    let mut line: String = beginning.split_whitespace().collect::<Vec<_>>().join(" ");
    if beginning.len() < text.len() {
        line.push('…');
    }
    line
}

/// The longest beginning of a text that has at most so many bytes.
pub(super) fn cut(text: &str, most_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(most_bytes)]
}
