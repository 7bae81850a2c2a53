//! Deliberate faults of models, policies and loops.

#![deny(clippy::missing_trait_methods)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use agent_shell_core::data::Message;
use agent_shell_core::ports::{
    AnswerStream, Conversation, History, HistoryPolicy, ModelBound, ModelCapabilities, ModelError,
    ModelHeadroom, ModelRequest, PlannerError,
};
use agent_shell_core::words::SessionId;
use agent_shell_core::{Call, Model, PlanView, Planned, Planner, ShellBuilder};
use async_trait::async_trait;
use serde_json::json;

use super::bugs::Bug;
use super::model::SimModel;
use super::steering::Seen;
use super::talking::{LoopSpec, Policy};
use super::truth::Truth;

/// The shell with a loop, with a deliberate fault or without.
pub(super) fn planned(
    builder: ShellBuilder,
    name: String,
    spec: LoopSpec,
    variant: u64,
    truth: &Truth,
) -> ShellBuilder {
    let bug = truth.settings().bug;
    let is = |other: Bug| bug == Some(other);
    let made = spec.planner(variant, |policy| {
        if is(Bug::BoundIgnored) { Policy::Other(Box::new(Everything)) } else { policy }
    });
    if is(Bug::LoopUnbounded) {
        builder.named_planner(name, seen(truth, made.corrections(u32::MAX).repeats(u32::MAX)))
    } else if is(Bug::AnswerChanged) {
        builder.named_planner(name, seen(truth, Liar(Box::new(made))))
    } else {
        builder.named_planner(name, seen(truth, made))
    }
}

fn seen<P>(truth: &Truth, inner: P) -> Seen<P> {
    Seen { truth: truth.clone(), inner }
}

/// The shell with the model, with a deliberate fault or without.
pub(super) fn answered(builder: ShellBuilder, model: SimModel, bug: Option<Bug>) -> ShellBuilder {
    match bug {
        Some(bug @ (Bug::ResultsReordered | Bug::AskedAgain)) => {
            builder.model(Faulty { inner: model, bug, before: Mutex::default() })
        }
        _ => builder.model(model),
    }
}

/// A policy that shows everything.
struct Everything;

impl HistoryPolicy for Everything {
    fn history(&self, conversation: &Conversation) -> Result<History, PlannerError> {
        Ok(History::from(conversation.first))
    }
}

/// A planner that answers in words of its own.
struct Liar(Box<dyn Planner>);

#[async_trait]
impl Planner for Liar {
    async fn plan(&self, view: PlanView) -> Result<Planned, PlannerError> {
        Ok(match self.0.plan(view).await? {
            Planned::Answer(_) => Planned::Answer(json!("what the model did not say")),
            other => other,
        })
    }
}

/// A model that is asked otherwise than the runtime asked.
struct Faulty {
    inner: SimModel,
    bug: Bug,
    /// What each session asked before.
    before: Mutex<BTreeMap<SessionId, (Arc<ModelRequest>, Call)>>,
}

#[async_trait]
impl Model for Faulty {
    fn capabilities(&self) -> ModelCapabilities {
        self.inner.capabilities()
    }

    fn headroom(&self) -> ModelHeadroom {
        self.inner.headroom()
    }

    fn bound(&self, request: &ModelRequest) -> Option<ModelBound> {
        self.inner.bound(request)
    }

    async fn ask(&self, request: Arc<ModelRequest>, call: Call) -> Result<AnswerStream, ModelError> {
        if self.bug == Bug::ResultsReordered {
            return self.inner.ask(Arc::new(reordered(&request)), call).await;
        }
        let asked = (request.clone(), call.clone());
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).insert(call.session, asked);
        if let Some((request, call)) = before {
            drop(self.inner.ask(request, call).await);
        }
        self.inner.ask(request, call).await
    }
}

/// The same request with the latest results in another order.
fn reordered(request: &ModelRequest) -> ModelRequest {
    let mut request = request.clone();
    if let Some(last) = request.messages.last_mut()
        && let Message::Results(results) = &**last
    {
        *last = Arc::new(Message::Results(results.iter().rev().cloned().collect()));
    }
    request
}
