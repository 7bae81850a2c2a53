//! Guards that are ready to use.

use async_trait::async_trait;

use crate::data::{EffectClass, GuardPlace};
use crate::ports::{Guard, GuardError, GuardRequest, GuardedTool, Ruling};

/// Lets no agent act on what strangers wrote: once untrusted content was read, every call of a tool that is `Irreversible`,
/// or that was declared [`outbound`](crate::Tool::outbound), waits for an approval. Before that, and for other tools, it
/// allows.
///
/// Content is untrusted when it comes from a tool that was declared [`untrusted`](crate::Tool::untrusted). It has been read
/// when it came up in the turn, or stands in the conversation that a model is shown: also across turns and restarts, and
/// in a summary of it. The [`Approval`](crate::Approval) shows where each argument came from.
///
/// ```
/// use agent_shell_core::{Call, HoldUntrusted, Shell, Tool, ToolError};
/// # #[derive(serde::Deserialize, schemars::JsonSchema)] struct Page { address: String }
/// # #[derive(serde::Deserialize, schemars::JsonSchema)] struct Mail { to: String }
///
/// let read = Tool::pure("read_page", "Reads a page", |page: Page, _: Call| async move { Ok::<_, ToolError>(page.address) });
/// let send = Tool::irreversible("send", "Sends a mail", |mail: Mail, _: Call| async move { Ok::<_, ToolError>(mail.to) });
/// let builder = Shell::volatile().tool(read.untrusted()).tool(send.outbound()).guard(HoldUntrusted::new());
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct HoldUntrusted;

impl HoldUntrusted {
    /// The guard.
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Guard for HoldUntrusted {
    fn name(&self) -> &str {
        "hold-untrusted"
    }

    fn watches(&self, place: GuardPlace) -> bool {
        place == GuardPlace::BeforeTool
    }

    async fn rule(&self, request: &GuardRequest) -> Result<Ruling, GuardError> {
        let acts = |tool: &GuardedTool| tool.outbound || tool.class == EffectClass::Irreversible;
        let labels = request.labels;
        if !request.tool.as_ref().is_none_or(acts) || !(labels.untrusted || labels.read_untrusted) {
            return Ok(Ruling::Allow);
        }
        let reason =
            "content from outside was read before, and this call can't be taken back or can carry data out";
        Ok(Ruling::ask(reason))
    }
}
