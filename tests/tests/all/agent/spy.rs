//! A model that answers as a closure says, and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use agent_shell_core::Call;
use agent_shell_core::Model;
use agent_shell_core::data::{Answer, Message, Said, ToolCall};
use agent_shell_core::ports::{
    AnswerStream, Chunk, ModelBound, ModelCapabilities, ModelError, ModelErrorKind, ModelRequest,
};
use futures::StreamExt;
use serde_json::Value;

type Reply = dyn Fn(&ModelRequest) -> Result<Answer, ModelError> + Send + Sync;

#[derive(Clone)]
pub(super) struct Spy {
    reply: Arc<Reply>,
    asked: Arc<Mutex<Vec<Arc<ModelRequest>>>>,
}

impl Spy {
    pub(super) fn new(
        reply: impl Fn(&ModelRequest) -> Result<Answer, ModelError> + Send + Sync + 'static,
    ) -> Self {
        Self { reply: Arc::new(reply), asked: Arc::default() }
    }

    /// Answers in order, and then not at all.
    pub(super) fn script(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers: VecDeque<Answer> = answers.into_iter().collect();
        let answers = Mutex::new(answers);
        Self::new(move |_| {
            let next = answers.lock().unwrap().pop_front();
            next.ok_or_else(|| ModelError::new(ModelErrorKind::InvalidRequest, "the script is at its end"))
        })
    }

    pub(super) fn asked(&self) -> Vec<Arc<ModelRequest>> {
        self.asked.lock().unwrap().clone()
    }
}

pub(super) fn says(text: &str) -> Answer {
    Answer::new(vec![Said::text(text)])
}

/// Calls, under the ids `c1`, `c2` and so on.
pub(super) fn calls(calls: impl IntoIterator<Item = (&'static str, Value)>) -> Answer {
    let said = calls.into_iter().enumerate().map(|(place, (tool, arguments))| {
        Said::Call(ToolCall::new(format!("c{}", place + 1), tool, arguments))
    });
    Answer::new(said.collect())
}

/// What the last message of a request says, as JSON.
pub(super) fn last(request: &ModelRequest) -> Value {
    serde_json::json!(request.messages.last().unwrap())
}

/// Whether a request asks for a summary.
pub(super) fn is_summary(request: &ModelRequest) -> bool {
    last(request)["note"].as_str().is_some_and(|note| note.starts_with("Summarise"))
}

pub(super) fn answers_in(request: &ModelRequest) -> usize {
    request.messages.iter().filter(|message| matches!(***message, Message::Model(_))).count()
}

#[async_trait::async_trait]
impl Model for Spy {
    fn capabilities(&self) -> ModelCapabilities {
        let mut capabilities = ModelCapabilities::default();
        capabilities.tools = true;
        capabilities
    }

    fn bound(&self, _: &ModelRequest) -> Option<ModelBound> {
        None
    }

    async fn ask(&self, request: Arc<ModelRequest>, _: Call) -> Result<AnswerStream, ModelError> {
        self.asked.lock().unwrap().push(request.clone());
        let answer = (self.reply)(&request)?;
        let parts = [Ok(Chunk::Text(answer.text())), Ok(Chunk::Answer(Box::new(answer)))];
        Ok(futures::stream::iter(parts).boxed())
    }
}
