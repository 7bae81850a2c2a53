//! One question to a model: its stream is read to the end, and what became of it is said.

use std::sync::Arc;

use futures::StreamExt;

use super::budget::Used;
use crate::data::{Answer, Arguments, Finish, MOST_LEVELS, Said, Usage, is_deeper};
use crate::machine::AttemptEnd;
use crate::ports::{Call, Chunk, Model, ModelError, ModelErrorKind, ModelRequest};
use crate::words::Digest;

/// How deep the arguments of a call may be nested: an answer puts some levels around them.
const MOST_LEVELS_OF_ARGUMENTS: usize = MOST_LEVELS - 8;

/// Asks, and shows the text of the answer as it comes. Returns how it ended, and what was used. More than `most_bytes` of it are not read.
/// An answer to a question that is asked `alone` must have the form of its prompt; in a conversation the planner tells the model.
pub(super) async fn ask(
    model: &dyn Model,
    (request, alone, view): (Arc<ModelRequest>, bool, Option<Digest>),
    call: Call,
    most_bytes: usize,
    show: impl FnMut(&str) + Send,
) -> (AttemptEnd, Used) {
    let mut has_begun = false;
    match read(model, request.clone(), call, most_bytes, (show, &mut has_begun)).await {
        Ok(answer) => {
            let used = Used::Known(answer.usage);
            (end_of(keepable(*answer), &request, (alone, view)), used)
        }
        Err(error) => {
            let pause_ms =
                error.retry_after.map_or(0, |after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
            let used = match error.kind {
                ModelErrorKind::Unavailable | ModelErrorKind::CutOff => Used::Known(*error.usage),
                // A vendor bills nothing that it refused, unless it says so. What had begun to come was not refused.
                _ if *error.usage == Usage::default() && !has_begun => Used::Nothing,
                _ => Used::Known(*error.usage),
            };
            (AttemptEnd::Unanswered { retry: error.kind.may_pass(), reason: error.message, pause_ms }, used)
        }
    }
}

async fn read(
    model: &dyn Model,
    request: Arc<ModelRequest>,
    call: Call,
    most_bytes: usize,
    (mut show, has_begun): (impl FnMut(&str) + Send, &mut bool),
) -> Result<Box<Answer>, ModelError> {
    let mut parts = model.ask(request, call).await?;
    let mut bytes = 0;
    while let Some(part) = parts.next().await {
        let part = part?;
        *has_begun = true;
        match part {
            Chunk::Answer(answer) => return Ok(answer),
            Chunk::Text(text) => {
                bytes += text.len();
                show(&text);
            }
            Chunk::Thinking(text) => bytes += text.len(),
        }
        if bytes > most_bytes {
            let message = format!("the answer has more than {most_bytes} bytes, and no more are allowed");
            return Err(ModelError::new(ModelErrorKind::Unsupported, message));
        }
    }
    Err(ModelError::new(ModelErrorKind::CutOff, "the answer was cut off before its end"))
}

/// An answer whose calls can be recorded. Of arguments that can't, the model is told as of those that are no JSON.
fn keepable(mut answer: Answer) -> Answer {
    for part in &mut answer.said {
        if let Said::Call(call) = part
            && let Arguments::Value(arguments) = &call.arguments
            && is_deeper(arguments, MOST_LEVELS_OF_ARGUMENTS)
        {
            call.arguments = Arguments::Unreadable(arguments.to_string());
        }
    }
    answer
}

/// An answer that is whole, or why it can't be used.
fn end_of(answer: Answer, request: &ModelRequest, (alone, view): (bool, Option<Digest>)) -> AttemptEnd {
    match &answer.finish {
        Finish::Length => {
            let most = request.prompt.settings.output_tokens;
            unanswered(
                false,
                format!("the answer reached its bound of {most} tokens: raise `Settings::output_tokens`"),
            )
        }
        Finish::Declined => {
            let said = answer.text();
            let said: String = said.trim().chars().take(500).collect();
            let why = if said.is_empty() { String::new() } else { format!(": {said}") };
            unanswered(false, format!("the model declined to answer{why}"))
        }
        // No such answer may pass for one that is whole.
        Finish::Paused => unanswered(true, "the model paused, and the runtime can't let it go on".into()),
        Finish::Other(reason) if answer.calls().next().is_none() => {
            let reason: String = reason.chars().take(100).collect();
            unanswered(false, format!("the model stopped before its end: {reason}"))
        }
        _ => match request.prompt.answer.as_ref().filter(|_| alone).map(|form| form.read(&answer)) {
            Some(Err(problem)) => unanswered(true, problem),
            _ => AttemptEnd::Answered { answer: Box::new(answer), view },
        },
    }
}

pub(super) fn unanswered(retry: bool, reason: String) -> AttemptEnd {
    AttemptEnd::Unanswered { retry, reason, pause_ms: 0 }
}

#[cfg(test)]
mod tests;
