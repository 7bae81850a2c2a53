//! Tools and models that stop where a test wants to look.

use std::sync::Arc;

use agent_shell_core::ports::{AnswerStream, ModelBound, ModelCapabilities, ModelError, ModelRequest};
use agent_shell_core::{Call, Model, Reply, Scripted, Tool, ToolError};
use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::watch;

/// A place at which everything stops until it is opened.
pub(crate) struct Gate {
    came: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { came: watch::Sender::new(0), open: watch::Sender::new(false) }
    }
}

impl Gate {
    /// Stops here.
    pub(crate) async fn pass(&self) {
        self.came.send_modify(|came| *came += 1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
    }

    /// Somebody has come.
    pub(crate) async fn reached(&self) {
        self.came.subscribe().wait_for(|came| *came > 0).await.unwrap();
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    /// An idempotent tool that stops here.
    pub(crate) fn tool(self: &Arc<Self>, name: &'static str) -> Tool {
        let gate = self.clone();
        Tool::idempotent(name, "Waits", move |_: Value, _: Call| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                Ok::<_, ToolError>("waited")
            }
        })
    }

    /// A model whose every answer stops here.
    pub(crate) fn model(self: &Arc<Self>, replies: impl IntoIterator<Item = Reply>) -> Slow {
        Slow { gate: self.clone(), inner: Scripted::new(replies) }
    }
}

#[derive(Clone)]
pub(crate) struct Slow {
    gate: Arc<Gate>,
    inner: Scripted,
}

impl Slow {
    pub(crate) fn requests(&self) -> Vec<Arc<ModelRequest>> {
        self.inner.requests()
    }
}

#[async_trait]
impl Model for Slow {
    fn capabilities(&self) -> ModelCapabilities {
        self.inner.capabilities()
    }

    fn bound(&self, request: &ModelRequest) -> Option<ModelBound> {
        self.inner.bound(request)
    }

    async fn ask(&self, request: Arc<ModelRequest>, call: Call) -> Result<AnswerStream, ModelError> {
        self.gate.pass().await;
        self.inner.ask(request, call).await
    }
}
