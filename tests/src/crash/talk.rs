//! Sessions whose turns a model plans: the tool-calling loop over a model without a memory, which calls the tools of the run.
//! What it says follows from the conversation, what goes wrong from the attempt. Each question is written down before it is
//! answered.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::data::{Answer, Ceiling, Message, Said, Settings, ToolCall, Usage};
use agent_shell_core::ports::{
    AnswerStream, Chunk, ModelBound, ModelCapabilities, ModelError, ModelErrorKind, ModelRequest,
};
use agent_shell_core::words::{Digest, Epoch, SessionId, StepId, TurnId};
use agent_shell_core::{Call, Compaction, Model, ToolLoop};
use async_trait::async_trait;
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::CrashError;
use super::scenario::{ToolKind, TurnKey, Work};
use crate::random::Random;

/// The name of the planner of these turns.
pub(super) const PLANNER: &str = "talk";

/// What a conversation may have, in bytes of JSON, before its beginning is summarised.
const WINDOW: u64 = 6_000;
/// The most tokens of an answer.
const MOST_OUT: u64 = 200;

/// A question, as the model was asked it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) session: SessionId,
    pub(super) turn: TurnId,
    pub(super) step: StepId,
    pub(super) epoch: Epoch,
    pub(super) attempt: u32,
    /// Whether it asks for a summary of what was said.
    pub(super) is_summary: bool,
    /// The digest of what stands before the messages: instructions, tools, settings.
    pub(super) prompt: Digest,
    /// The digest of each message's bytes.
    pub(super) messages: Vec<Digest>,
    /// Which of them are a user's.
    pub(super) users: Vec<usize>,
    /// Which of them stand for others.
    pub(super) summaries: Vec<usize>,
}

/// The file of the questions, beside the journal.
pub(super) fn path(journal: &Path) -> PathBuf {
    journal.with_file_name("questions.log")
}

/// Every question, in the order in which they were asked.
pub(super) fn read(file: &Path) -> Result<Vec<Asked>, CrashError> {
    let text = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.map_err(CrashError::system(file.display().to_string()))?,
    };
    let mut asked = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match serde_json::from_str(line) {
            Ok(question) => asked.push(question),
            // A worker was killed as it wrote this line, so it did not come to ask.
            Err(error) if error.is_eof() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(asked)
}

/// The loop of these turns. It is shown no tool that is held: such a call would end every turn in another way.
pub(super) fn planner() -> ToolLoop {
    let mut settings = Settings::default();
    settings.output_tokens = MOST_OUT;
    let tools = ToolKind::ALL.into_iter().filter(|kind| !kind.is_held()).map(ToolKind::name);
    ToolLoop::new()
        .instructions("You act on the recorder.")
        .settings(settings)
        .tools(tools)
        .history(Compaction::bytes(WINDOW).words(SUM_UP))
}

/// What a turn may spend: of some too little for what they want.
pub(super) fn budget(seed: u64, key: TurnKey) -> Ceiling {
    let mut random = Random::of(&[seed, key.session, key.number, 0x6275_6467]);
    match random.below(3) {
        0 => Ceiling { tool_calls: Some(1 + random.below(5)), ..Ceiling::NONE },
        1 => Ceiling { tokens: Some(8_000 + random.below(30_000)), ..Ceiling::NONE },
        _ => Ceiling { steps: Some(40), ..Ceiling::NONE },
    }
}

/// The model.
pub(super) struct Talker {
    seed: u64,
    log: File,
}

impl Talker {
    pub(super) fn open(seed: u64, journal: &Path) -> Result<Self, CrashError> {
        let file = path(journal);
        let log = OpenOptions::new().create(true).append(true).open(&file);
        Ok(Self { seed, log: log.map_err(CrashError::system(file.display().to_string()))? })
    }

    fn note(&self, request: &ModelRequest, call: &Call) -> Result<(), ModelError> {
        let bytes = |message: &Arc<Message>| serde_json::to_vec(&**message).unwrap_or_default();
        let places = |of: fn(&Message) -> bool| {
            let all = request.messages.iter().enumerate();
            all.filter(|(_, message)| of(message)).map(|(place, _)| place).collect::<Vec<_>>()
        };
        let asked = Asked {
            session: call.session,
            turn: call.turn,
            step: call.step.clone(),
            epoch: call.epoch,
            attempt: call.attempt,
            is_summary: asks_for_summary(request),
            prompt: Digest::of(serde_json::to_vec(&request.prompt).unwrap_or_default()),
            messages: request.messages.iter().map(|message| Digest::of(bytes(message))).collect(),
            users: places(|message| matches!(message, Message::User(_))),
            summaries: places(|message| matches!(message, Message::Summary(_))),
        };
        let failed = |error: String| ModelError::new(ModelErrorKind::InvalidRequest, error);
        // It begins a line of its own, whatever a worker that was killed had written of the one before.
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, &asked).map_err(|error| failed(error.to_string()))?;
        line.push(b'\n');
        (&self.log).write_all(&line).map_err(|error| failed(error.to_string()))
    }
}

#[async_trait]
impl Model for Talker {
    fn capabilities(&self) -> ModelCapabilities {
        let mut capabilities = ModelCapabilities::default();
        capabilities.tools = true;
        capabilities
    }

    fn bound(&self, request: &ModelRequest) -> Option<ModelBound> {
        let bytes = serde_json::to_vec(request).map_or(u64::MAX >> 8, |bytes| bytes.len() as u64);
        Some(ModelBound { tokens: bytes + request.prompt.settings.output_tokens, cost_nano_usd: None })
    }

    async fn ask(&self, request: Arc<ModelRequest>, call: Call) -> Result<AnswerStream, ModelError> {
        self.note(&request, &call)?;
        let mut random =
            Random::of(&[self.seed, number_of(&request.messages), call.attempt.into(), call.epoch.number()]);
        tokio::time::sleep(Duration::from_micros(random.below(20_000))).await;
        if random.percent(6) {
            return Err(ModelError::new(ModelErrorKind::Unavailable, "not well"));
        }
        let said = Ok(Chunk::Text("I say ".into()));
        if random.percent(4) {
            return Ok(stream::iter([said]).boxed());
        }
        let mut answer = answer(&request);
        let mut usage = Usage::default();
        (usage.input_tokens, usage.output_tokens) = (Some(100), Some(20));
        answer.usage = usage;
        let text = answer.text();
        let mut parts = Vec::new();
        if !text.is_empty() {
            parts.push(Ok(Chunk::Text(text)));
        }
        parts.push(Ok(Chunk::Answer(Box::new(answer))));
        Ok(stream::iter(parts).boxed())
    }
}

/// The words that ask for a summary, and nothing else begins with.
const SUM_UP: &str = "Sum up what was said.";

fn asks_for_summary(request: &ModelRequest) -> bool {
    matches!(request.messages.last().map(|last| &**last), Some(Message::Note(note)) if note.starts_with(SUM_UP))
}

/// What it says: some rounds of calls after what the user said, and then a text.
fn answer(request: &ModelRequest) -> Answer {
    if asks_for_summary(request) {
        return Answer::new(vec![Said::text(format!("So far as of {:016x}.", number_of(&request.messages)))]);
    }
    let mut random = Random::new(number_of(&request.messages));
    if random.percent(35) {
        return Answer::new(vec![Said::text(format!("Done, {}.", random.below(1_000)))]);
    }
    let kinds = [ToolKind::Look, ToolKind::Put, ToolKind::Book, ToolKind::Send, ToolKind::Pay];
    let calls = (0..1 + random.below(2)).map(|place| {
        let kind = random.pick(&kinds).copied().unwrap_or(ToolKind::Look);
        let work = Work { own: random.below(1 << 40), of: Vec::new(), refuse: random.percent(8) };
        Said::Call(ToolCall::new(format!("c{place}-{}", work.own), kind.name(), json!(work)))
    });
    Answer::new(calls.collect())
}

fn number_of(messages: &[Arc<Message>]) -> u64 {
    let bytes = serde_json::to_vec(&messages[messages.len().saturating_sub(3)..]).unwrap_or_default();
    let digest = Digest::of(bytes);
    let first = digest.as_bytes().first_chunk::<8>().copied().unwrap_or_default();
    u64::from_be_bytes(first).wrapping_add(messages.len() as u64)
}

/// The questions of each step, by session and turn.
pub(super) fn by_step(asked: &[Asked]) -> BTreeMap<(TurnId, StepId), Vec<&Asked>> {
    let mut by_step: BTreeMap<_, Vec<&Asked>> = BTreeMap::new();
    for question in asked {
        by_step.entry((question.turn, question.step.clone())).or_default().push(question);
    }
    by_step
}
