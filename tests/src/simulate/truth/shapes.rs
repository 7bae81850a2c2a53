//! What messages look like: calls, outputs as they are shown, and what no conversation may look like.

use std::sync::Arc;

use agent_shell_core::data::{Message, Said, ToolCall};
use agent_shell_core::ports::ModelRequest;
use serde_json::{Value, json};

/// The calls of what a model said.
pub(super) fn calls_of(said: &[Said]) -> Vec<&ToolCall> {
    said.iter().filter_map(|part| if let Said::Call(call) = part { Some(call) } else { None }).collect()
}

/// An output as it is shown: whole, or its beginning.
pub(super) fn shown(output: &Value, record: u64, handles_above: Option<u64>) -> Value {
    let whole = output.to_string();
    if handles_above.is_none_or(|above| whole.len() as u64 <= above) {
        return output.clone();
    }
    let text = output.as_str().map_or(whole, str::to_owned);
    let end = (0..=text.len().min(512)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    json!({ "handle": record, "bytes": text.len(), "beginning": &text[..end] })
}

/// What no conversation may look like, whatever the records say: calls and their results stay together, one for each, in
/// their order.
pub(super) fn misshapen(request: &ModelRequest) -> Option<String> {
    let messages = &request.messages;
    let ids = |message: Option<&Arc<Message>>| -> Vec<String> {
        match message.map(|message| &**message) {
            Some(Message::Model(said)) => calls_of(said).iter().map(|call| call.id.clone()).collect(),
            _ => Vec::new(),
        }
    };
    if messages
        .last()
        .is_none_or(|last| !matches!(**last, Message::User(_) | Message::Results(_) | Message::Note(_)))
    {
        return Some("its last message is neither a user's nor results".into());
    }
    for (place, message) in messages.iter().enumerate() {
        let before = place.checked_sub(1).and_then(|before| messages.get(before));
        let (called, problem) = (ids(before), format!("at message {place}"));
        match &**message {
            Message::Results(results) => {
                let told: Vec<&String> = results.iter().map(|result| &result.call).collect();
                if called.is_empty() || told != called.iter().collect::<Vec<_>>() {
                    return Some(format!("{problem}: results of {told:?} stand behind calls of {called:?}"));
                }
            }
            _ if !called.is_empty() => {
                return Some(format!("{problem}: the calls {called:?} before it have no results"));
            }
            Message::Model(_) if matches!(before.map(|before| &**before), None | Some(Message::Model(_))) => {
                return Some(format!("{problem}: a model speaks to nobody"));
            }
            _ => {}
        }
    }
    None
}
