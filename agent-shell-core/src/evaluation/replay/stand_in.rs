//! What stands in for an agent's models and tools.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use serde_json::Value;

use super::stage::Stage;
use crate::data::ToolContract;
use crate::ports::{
    AnswerStream, Call, Chunk, DynTool, InvalidArguments, Model, ModelBound, ModelCapabilities, ModelError,
    ModelErrorKind, ModelHeadroom, ModelRequest, ProbeAnswer, ToolError,
};

/// A model that is never asked: the record answers.
pub(super) struct ModelStandIn {
    model: Arc<dyn Model>,
    stage: Arc<Stage>,
}

/// A tool that is never called: the record answers.
pub(super) struct ToolStandIn {
    contract: ToolContract,
    tool: Arc<dyn DynTool>,
    stage: Arc<Stage>,
}

impl ModelStandIn {
    pub(super) fn new(model: Arc<dyn Model>, stage: Arc<Stage>) -> Self {
        Self { model, stage }
    }
}

impl ToolStandIn {
    pub(super) fn new(tool: Arc<dyn DynTool>, stage: Arc<Stage>) -> Self {
        let mut contract = tool.contract().clone();
        // Whether somebody approved is in the record.
        (contract.ask_first, contract.approval_ms) = (false, None);
        Self { contract, tool, stage }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Model for ModelStandIn {
    fn capabilities(&self) -> ModelCapabilities {
        self.model.capabilities()
    }

    /// How the model stands now says nothing of a record.
    fn headroom(&self) -> ModelHeadroom {
        ModelHeadroom::default()
    }

    fn bound(&self, request: &ModelRequest) -> Option<ModelBound> {
        self.model.bound(request)
    }

    async fn ask(&self, request: Arc<ModelRequest>, call: Call) -> Result<AnswerStream, ModelError> {
        match self.stage.question(&call.step, &request) {
            Err(message) => Err(ModelError::new(ModelErrorKind::InvalidRequest, message)),
            Ok(answer) => {
                let parts = [Ok(Chunk::Text(answer.text())), Ok(Chunk::Answer(Box::new((*answer).clone())))];
                Ok(stream::iter(parts).boxed())
            }
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl DynTool for ToolStandIn {
    fn contract(&self) -> &ToolContract {
        &self.contract
    }

    fn check(&self, input: &Value) -> Result<(), InvalidArguments> {
        let checked = self.tool.check(input);
        if let Err(error) = &checked {
            self.stage.refused(self.contract.name.as_str(), input, &error.reason);
        }
        checked
    }

    async fn run(&self, input: Arc<Value>, call: Call) -> Result<Value, ToolError> {
        let output = self.stage.call(&call.step, self.contract.name.as_str(), &input);
        output.map(|output| (*output).clone()).map_err(ToolError::refused)
    }

    async fn probe(&self, _: Arc<Value>, _: Call) -> Result<ProbeAnswer, ToolError> {
        Err(ToolError::refused("nothing is asked of the world in a replay"))
    }
}
