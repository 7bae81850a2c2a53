//! `--model auto`: a model plans, round by round. Until there is a provider it is a scripted one, and says so.
//!
//! What it says is computed from what it is shown, as a model's answer is: the turn's input, and what the tools answered.
//! All else is in earnest: the loop, the tools with their promises, the approval, the journal.

use std::collections::BTreeMap;

use agent_shell_core::data::{CallStatus, Content, Message};
use agent_shell_core::ports::{ModelErrorKind, ModelRequest};
use agent_shell_core::{Reply, Scripted, ToolLoop, Window};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::changes::{Changes, Draft, Told};
use crate::findings::Known;
use crate::planner::Assignment;
use crate::scan::Review;
use crate::state::briefing_of;
use crate::tools::names;

/// The name of the planner that asks the model.
pub(crate) const PLANNER: &str = "model";

/// What people are told of it.
pub(crate) const LABEL: &str =
    "A model plans this run: a scripted stand-in, because no provider is built yet. The tools are real.";

/// What the model is shown of the conversation, at most: a turn holds the review twice. It is below what a question may
/// have ([`Limits::question_bytes`](agent_shell_core::Limits::question_bytes)).
const SHOWN_BYTES: u64 = 3 << 20;

/// The form of the answer: what the next run must know of this one.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Briefed {
    digest: String,
    #[schemars(with = "Value")]
    told: Told,
    #[schemars(with = "Vec<Value>")]
    reported: Vec<Known>,
}

/// Who asks the model.
pub(crate) fn planner() -> ToolLoop {
    ToolLoop::new()
        .instructions("Review the folder, file what you find, and publish a briefing.")
        .history(Window::bytes(SHOWN_BYTES))
        .tools(names::FOR_PLANS)
}

/// The model. It keeps nothing, so one in another process says the same.
pub(crate) fn model(state: String) -> Scripted {
    Scripted::with(move |request| {
        says(&state, request).unwrap_or_else(|why| Reply::error(ModelErrorKind::InvalidRequest, why))
    })
}

/// What it says next: scans, tickets to open, tickets to close, the briefing, its publication, and then the answer.
fn says(state: &str, request: &ModelRequest) -> Result<Reply, String> {
    let shown = Shown::of(request)?;
    let Assignment { folder, past } = shown.assignment()?;
    if !shown.has(names::FILES) {
        let scans = [names::FILES, names::LANGUAGES, names::HEADINGS, names::NOTES, names::HISTORY];
        return Ok(Reply::calls(scans.map(|tool| (tool, json!({ "folder": folder })))));
    }
    let review = Review {
        files: shown.first(names::FILES)?,
        languages: shown.first(names::LANGUAGES)?,
        headings: shown.first(names::HEADINGS)?,
        notes: shown.first(names::NOTES)?,
        history: shown.first(names::HISTORY)?,
        folder: folder.clone(),
    };
    if !shown.has(names::WRITE) {
        let changes = Changes::between(&review, &past);
        let about =
            |finding: &str, title: &str| json!({ "folder": folder, "finding": finding, "title": title });
        if !changes.to_open.is_empty() && !shown.has(names::OPEN_TICKET) {
            let open = changes.to_open.iter();
            return Ok(Reply::calls(
                open.map(|new| (names::OPEN_TICKET, about(new.id.as_str(), &new.title))),
            ));
        }
        if !changes.to_close.is_empty() && !shown.has(names::CLOSE_TICKET) {
            let close = changes.to_close.iter();
            return Ok(Reply::calls(
                close.map(|gone| (names::CLOSE_TICKET, about(gone.id.as_str(), &gone.title))),
            ));
        }
        let opened: Vec<Known> = shown.all(names::OPEN_TICKET)?;
        return Ok(Reply::call(names::WRITE, json!({ "review": review, "past": past, "opened": opened })));
    }
    let Draft { text, digest, told, reported } = shown.first(names::WRITE)?;
    if !shown.has(names::PUBLISH) {
        let path = briefing_of(state, &folder);
        let publication = json!({ "path": path, "digest": digest, "tickets": told.opened, "text": text });
        return Ok(Reply::call(names::PUBLISH, publication));
    }
    Ok(Reply::json(json!(Briefed { digest, told, reported })))
}

/// What a request shows of the turn.
struct Shown<'a> {
    input: &'a Value,
    outputs: BTreeMap<&'a str, Vec<&'a Value>>,
}

impl<'a> Shown<'a> {
    /// From the last thing that the user said on; a call that failed ends the turn.
    fn of(request: &'a ModelRequest) -> Result<Self, String> {
        let messages = &request.messages;
        let said = messages.iter().enumerate().rev().find_map(|(place, message)| match &**message {
            Message::User(parts) => match parts.first() {
                Some(Content::Json(input)) => Some((place, input)),
                _ => None,
            },
            _ => None,
        });
        let (place, input) = said.ok_or("nothing is asked for")?;
        let mut outputs: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for message in &messages[place..] {
            let Message::Results(results) = &**message else { continue };
            for result in results {
                if !matches!(result.status, CallStatus::Done | CallStatus::Held) {
                    return Err(format!("`{}` failed: {}", result.tool, result.output));
                }
                outputs.entry(&result.tool).or_default().push(&result.output);
            }
        }
        Ok(Self { input, outputs })
    }

    fn assignment(&self) -> Result<Assignment, String> {
        Assignment::deserialize(self.input).map_err(|error| error.to_string())
    }

    fn has(&self, tool: &str) -> bool {
        self.outputs.contains_key(tool)
    }

    /// What all calls of a tool answered.
    fn all<T: DeserializeOwned>(&self, tool: &str) -> Result<Vec<T>, String> {
        let outputs = self.outputs.get(tool).into_iter().flatten();
        outputs.map(|output| T::deserialize(*output).map_err(|error| format!("`{tool}`: {error}"))).collect()
    }

    /// What its first call answered.
    fn first<T: DeserializeOwned>(&self, tool: &str) -> Result<T, String> {
        let output = self.outputs.get(tool).and_then(|outputs| outputs.first());
        let output = output.ok_or_else(|| format!("`{tool}` was not called"))?;
        T::deserialize(*output).map_err(|error| format!("`{tool}`: {error}"))
    }
}
