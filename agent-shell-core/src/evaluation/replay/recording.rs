//! The conversations of a recorder's file.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::tape::{TapedCall, TapedQuestion, TapedTurn};
use crate::backends::models::{Recorded, RecordingError};
use crate::data::{Answer, Arguments, CallStatus, Content, Message, ToolCall, ToolResult};
use crate::ports::ModelRequest;

/// What of a line counts here. Its whole form stands in docs/MODELS.md.
#[derive(Deserialize)]
struct Line {
    asked: Option<ModelRequest>,
    answer: Option<Answer>,
}

/// A conversation so far.
#[derive(Default)]
struct Conversation {
    /// All that was said, the last answer included.
    messages: Vec<Arc<Message>>,
    turns: Vec<TapedTurn>,
}

/// Reads a file, and puts its questions together.
pub(super) fn conversations(path: &Path) -> Result<Vec<Vec<TapedTurn>>, RecordingError> {
    let mut text = String::new();
    File::open(path)?.take(Recorded::BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > Recorded::BYTES {
        return Err(RecordingError::TooLarge);
    }
    let mut conversations: Vec<Conversation> = Vec::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let damaged = |reason: String| RecordingError::Damaged { line: index + 1, reason };
        let Line { asked, answer } = match serde_json::from_str(line) {
            Ok(line) => line,
            // As a killed process leaves it.
            Err(_) if !line.ends_with('\n') => break,
            Err(error) => return Err(damaged(format!("it can't be read from column {} on", error.column()))),
        };
        let without = "it holds no request: record with `Recorder::with_requests`";
        let asked = asked.ok_or_else(|| damaged(without.to_owned()))?;
        // A question that was not answered is asked again.
        if let Some(answer) = answer {
            add(&mut conversations, asked, answer);
        }
    }
    Ok(conversations
        .into_iter()
        .map(|conversation| conversation.turns)
        .filter(|turns| !turns.is_empty())
        .collect())
}

/// Adds a question to the conversation that it goes on with; a first message of a user begins one.
fn add(conversations: &mut Vec<Conversation>, asked: ModelRequest, answer: Answer) {
    let Some((said, before)) = asked.messages.split_last() else { return };
    let at = if before.is_empty() {
        None
    } else {
        let going_on = conversations.iter().rposition(|conversation| conversation.messages == before);
        let Some(at) = going_on else { return };
        Some(at)
    };
    let at = at.unwrap_or_else(|| {
        conversations.push(Conversation::default());
        conversations.len() - 1
    });
    conversations[at].go_on(said.clone(), asked.clone(), answer);
}

impl Conversation {
    fn go_on(&mut self, said: Arc<Message>, asked: ModelRequest, answer: Answer) {
        match &*said {
            Message::User(parts) => self.turns.push(turn(self.turns.len() + 1, input(parts))),
            Message::Results(results) => self.hear(results),
            _ => {}
        }
        self.messages.extend([said, Arc::new(Message::Model(answer.said.clone()))]);
        let Some(turn) = self.turns.last_mut() else { return };
        let place = turn.questions.len() + turn.calls.len();
        let calls: Vec<TapedCall> =
            answer.calls().enumerate().map(|(of, call)| taped(place + 1 + of, call)).collect();
        turn.questions.push(TapedQuestion {
            step: None,
            place,
            request: Some(Arc::new(asked)),
            answer: Some(Ok(Arc::new(answer))),
            was_begun: true,
        });
        turn.calls.extend(calls);
    }

    /// What became of the calls of the last answer, in their order. One that was rejected was not made.
    fn hear(&mut self, results: &[ToolResult]) {
        let Some(turn) = self.turns.last_mut() else { return };
        let made = turn.calls.len().saturating_sub(results.len());
        let open = turn.calls.split_off(made);
        let told = open.into_iter().zip(results).filter(|(_, result)| result.status != CallStatus::Rejected);
        turn.calls.extend(told.map(|(call, result)| {
            let end = match (&result.status, &result.output) {
                (CallStatus::Done, output) => Some(Ok(Arc::new(output.clone()))),
                (CallStatus::Failed, Value::String(reason)) => Some(Err(reason.clone())),
                _ => None,
            };
            TapedCall { end, ..call }
        }));
    }
}

fn turn(number: usize, input: Value) -> TapedTurn {
    TapedTurn {
        session: None,
        id: None,
        number,
        input: Arc::new(input),
        planner: None,
        wants: None,
        questions: Vec::new(),
        calls: Vec::new(),
        outcome: None,
        stop: None,
    }
}

fn taped(place: usize, call: &ToolCall) -> TapedCall {
    let input = match &call.arguments {
        Arguments::Value(arguments) => Some(Arc::new(arguments.clone())),
        Arguments::Unreadable(_) => None,
    };
    TapedCall { step: None, place, tool: call.tool.clone(), input, end: None, was_begun: true }
}

/// The input that says this: [`Content::read`] backwards.
fn input(parts: &[Content]) -> Value {
    match parts {
        [Content::Text(text)] => json!(text),
        [Content::Json(value)] => value.clone(),
        parts => json!({ "content": parts }),
    }
}
