//! Guards, the labels of content from outside, and who may do what.

mod crashed;
mod labels;
mod roles;
mod rulings;

use std::sync::{Arc, Mutex};

use agent_shell_core::data::{Body, GuardPlace, GuardRuling, Verdict};
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::{Guard, GuardError, GuardRequest, Ruling, Shell};
use serde_json::Value;

type Rule = dyn Fn(&GuardRequest) -> Result<Ruling, GuardError> + Send + Sync;

/// A guard that rules as a closure says, in one place, and remembers what it was asked.
#[derive(Clone)]
pub(super) struct On {
    name: &'static str,
    place: GuardPlace,
    rule: Arc<Rule>,
    asked: Arc<Mutex<Vec<GuardRequest>>>,
}

impl On {
    pub(super) fn new(
        name: &'static str,
        place: GuardPlace,
        rule: impl Fn(&GuardRequest) -> Result<Ruling, GuardError> + Send + Sync + 'static,
    ) -> Self {
        Self { name, place, rule: Arc::new(rule), asked: Arc::default() }
    }

    pub(super) fn always(place: GuardPlace, ruling: Ruling) -> Self {
        Self::new("strict", place, move |_| Ok(ruling.clone()))
    }

    pub(super) fn asked(&self) -> Vec<GuardRequest> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait::async_trait]
impl Guard for On {
    fn name(&self) -> &str {
        self.name
    }

    fn watches(&self, place: GuardPlace) -> bool {
        place == self.place
    }

    async fn rule(&self, request: &GuardRequest) -> Result<Ruling, GuardError> {
        self.asked.lock().unwrap().push(request.clone());
        (self.rule)(request)
    }
}

pub(super) async fn history(shell: &Shell, session: &str) -> Vec<HistoryEntry> {
    shell.session(session).unwrap().history().await.unwrap().next(10_000).await.unwrap()
}

/// What was ruled in a session: place, rulings, and the value in its place.
pub(super) async fn ruled(
    shell: &Shell,
    session: &str,
) -> Vec<(GuardPlace, Vec<GuardRuling>, Option<Value>)> {
    let all = history(shell, session).await;
    let ruled = all.into_iter().filter_map(|entry| match entry.body {
        Body::GuardRuled { place, rulings, value, .. } => {
            Some((place, rulings, value.map(|value| (*value.value()).clone())))
        }
        _ => None,
    });
    ruled.collect()
}

pub(super) fn verdicts(rulings: &[GuardRuling]) -> Vec<(&str, Verdict)> {
    rulings.iter().map(|ruling| (ruling.guard.as_str(), ruling.verdict)).collect()
}
