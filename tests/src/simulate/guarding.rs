//! Guards of a run. Some lives of processes have one and others do not, as while a fleet is being renewed: what was recorded
//! under a guard holds for all. Turns whose outcome is known are let pass.

use std::future::pending;
use std::sync::Arc;

use agent_shell_core::data::GuardPlace;
use agent_shell_core::simulation::SeededEntropy;
use agent_shell_core::words::Entropy;
use agent_shell_core::{Guard, GuardError, GuardRequest, Ruling};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::coverage::WorldFault;
use super::truth::Truth;
use super::work::{FLAKY, Work};
use crate::crash::scenario;

/// The guard of one life of a process.
pub(super) struct Keeper {
    pub(super) truth: Truth,
    pub(super) entropy: Arc<SeededEntropy>,
}

#[async_trait]
impl Guard for Keeper {
    fn name(&self) -> &str {
        "keeper"
    }

    async fn rule(&self, request: &GuardRequest) -> Result<Ruling, GuardError> {
        self.truth.pause().await;
        let is_wild = matches!(self.truth.work_of(request.turn), Some((_, Work::Wild(_))));
        if !is_wild || self.truth.is_calm() {
            return Ok(Ruling::Allow);
        }
        let (fault, ruling) = match self.entropy.below(100) {
            0..6 => (WorldFault::GuardDenied, Ok(Ruling::deny("denied on purpose"))),
            6..14 if request.place == GuardPlace::BeforeTool => {
                (WorldFault::GuardAsked, Ok(Ruling::ask("asked on purpose")))
            }
            14..28 => match rewritten(request) {
                Some(value) => (WorldFault::GuardRewrote, Ok(Ruling::rewrite(value))),
                None => return Ok(Ruling::Allow),
            },
            28..31 => (WorldFault::GuardFailed, Err(GuardError::new("it can't tell"))),
            31..33 => {
                self.truth.count(WorldFault::GuardHung);
                return pending().await;
            }
            33..35 => {
                self.truth.count(WorldFault::GuardPanicked);
                // No message on standard error, as a hook would write for `panic!`.
                std::panic::resume_unwind(Box::new("it panics on purpose"))
            }
            _ => return Ok(Ruling::Allow),
        };
        self.truth.count(fault);
        ruling
    }
}

/// Other arguments, or another output, of the same form. What is said to models and by them stays.
fn rewritten(request: &GuardRequest) -> Option<Value> {
    match request.place {
        GuardPlace::BeforeTool => {
            let work: scenario::Work = serde_json::from_value((*request.value).clone()).ok()?;
            (work.own + 1 < FLAKY).then(|| json!(scenario::Work { own: work.own + 1, ..work }))
        }
        GuardPlace::AfterTool => {
            let mut output = (*request.value).clone();
            let number = output.get_mut("n")?;
            *number = json!(number.as_u64()? + 1);
            Some(output)
        }
        _ => None,
    }
}
