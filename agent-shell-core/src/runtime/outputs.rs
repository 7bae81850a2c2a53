//! The tool by which a model reads outputs that it was shown as handles.

use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::core::Core;
use super::reader::open;
use crate::data::chat::boundary;
use crate::data::{Answer, Body, BodyKind, EffectClass, Resolution, Retry, ToolContract, WaitEnd};
use crate::ports::{Call, DynTool, InvalidArguments, ProbeAnswer, ToolError};
use crate::words::{Result, Seq, SessionId, ToolName};

/// Its name.
pub(super) const READ_OUTPUT: &str = "read_output";

/// Bytes that are returned when the call does not say, and at most.
const BYTES: u64 = 4_096;
const MOST_BYTES: u64 = 16_384;
/// The kind of the record that says where a fork comes from.
const FORKED: &str = BodyKind::SessionForked.name();

/// Reads a part of the output of an earlier step of the same session: `Pure`, and blind to every other session.
pub(super) struct ReadOutput {
    contract: ToolContract,
    /// Set once the shell is open.
    core: OnceLock<Weak<Core>>,
}

/// What is asked for.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Part {
    /// The handle, as it was shown.
    handle: u64,
    /// Where to begin, in bytes of the output's text.
    #[serde(default)]
    offset: u64,
    /// How many bytes to return, at most 16384.
    #[serde(default)]
    bytes: Option<u64>,
}

impl ReadOutput {
    pub(super) fn new(untrusted: bool) -> Result<Self> {
        let what =
            "Reads a part of a large output that was shown as a handle: from a byte on, so many bytes.";
        let schema = schemars::schema_for!(Part).to_value();
        let mut contract = ToolContract::new(ToolName::new(READ_OUTPUT)?, what, EffectClass::Pure, schema);
        contract.retry = Retry { attempts: 3, base_ms: 20, max_ms: 100 };
        contract.untrusted = untrusted;
        Ok(Self { contract, core: OnceLock::new() })
    }

    pub(super) fn serve(&self, core: &Arc<Core>) {
        // A shell is opened once.
        let _ = self.core.set(Arc::downgrade(core));
    }

    async fn text(&self, session: SessionId, handle: Seq) -> std::result::Result<String, ToolError> {
        let gone = || ToolError::retry("the shell is not open");
        let core = self.core.get().and_then(Weak::upgrade).ok_or_else(gone)?;
        let (session, handle) = named_by(&core, session, handle).await?;
        let store = |error: crate::words::Error| ToolError::retry(error.to_string());
        let no_handle = || ToolError::refused(format!("{handle} is no handle: use one that you were shown"));
        let journal = &*core.store.journal;
        let before = Seq::new(handle.number().checked_sub(1).ok_or_else(no_handle)?);
        let entry =
            journal.session(session).await.map_err(|error| store(error.into()))?.ok_or_else(no_handle)?;
        if handle > entry.head.seq {
            // The outcome of a `Pure` step may still wait to be written; the record of this failure takes it along.
            return Err(ToolError::retry(format!("{handle} is no handle that is written yet")));
        }
        let records = journal.read(session, before, 1).await.map_err(|error| store(error.into()))?;
        let record = records.first().filter(|record| record.header.seq == handle).ok_or_else(no_handle)?;
        let keys = core.keyring.session(entry.key, false).await.map_err(store)?;
        match open(journal, &keys, record).await.map_err(store)?.body {
            Body::StepSucceeded { output, .. } => Ok(text_of(&output.value())),
            // What an operator says that the step returned.
            Body::StepResolved { resolution: Resolution::Applied(output), .. } => Ok(text_of(&output)),
            // Planners of hosts tell models of such steps, too.
            Body::WaitEnded { end: WaitEnd::Signalled(payload), .. } => Ok(text_of(&payload.value())),
            Body::ModelAnswered { answer, .. } => {
                let answer = Answer::deserialize(&*answer.value()).map_err(|_| no_handle())?;
                Ok(answer.text())
            }
            _ => Err(no_handle()),
        }
    }
}

/// Whose record a handle names. A fork goes on with the numbers of its parent: up to a number they name the parent's records.
async fn named_by(
    core: &Core,
    mut session: SessionId,
    handle: Seq,
) -> std::result::Result<(SessionId, Seq), ToolError> {
    let store = |error: crate::words::Error| ToolError::retry(error.to_string());
    let journal = &*core.store.journal;
    loop {
        let records = journal.read(session, Seq::new(1), 1).await.map_err(|error| store(error.into()))?;
        let Some(second) = records.first().filter(|record| record.header.kind.as_str() == FORKED) else {
            return Ok((session, handle));
        };
        let entry = journal.session(session).await.map_err(|error| store(error.into()))?;
        let Some(entry) = entry else { return Ok((session, handle)) };
        let keys = core.keyring.session(entry.key, false).await.map_err(store)?;
        match open(journal, &keys, second).await.map_err(store)?.body {
            Body::SessionForked { parent, handles_from, .. } if handle.number() <= handles_from => {
                session = parent
            }
            Body::SessionForked { handles_from, .. } => {
                return Ok((session, Seq::new(handle.number() - handles_from)));
            }
            _ => return Ok((session, handle)),
        }
    }
}

#[async_trait]
impl DynTool for ReadOutput {
    fn contract(&self) -> &ToolContract {
        &self.contract
    }

    fn check(&self, input: &Value) -> std::result::Result<(), InvalidArguments> {
        let read: std::result::Result<Part, _> = Part::deserialize(input);
        read.map(drop).map_err(|error| InvalidArguments { reason: error.to_string() })
    }

    async fn run(&self, input: Arc<Value>, call: Call) -> std::result::Result<Value, ToolError> {
        let part = Part::deserialize(&*input)?;
        let text = self.text(call.session, Seq::new(part.handle)).await?;
        let bytes = part.bytes.unwrap_or(BYTES).min(MOST_BYTES);
        let place = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
        let begin = boundary(&text, place(part.offset));
        let end = boundary(&text, place(part.offset.saturating_add(bytes)));
        Ok(json!({ "offset": begin, "bytes": text.len(), "text": &text[begin..end] }))
    }

    async fn probe(&self, _: Arc<Value>, _: Call) -> std::result::Result<ProbeAnswer, ToolError> {
        Err(ToolError::refused("it changes nothing, so there is nothing to ask"))
    }
}

fn text_of(output: &Value) -> String {
    match output {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
