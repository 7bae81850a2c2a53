//! When a session sleeps, hurries, or is let go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::PlanExecutor;
use crate::data::{Body, Resolution, WaitEnd, WaitFor};
use crate::machine::{Entry, is_suspect, json_bytes, next_wake};
use crate::ports::SessionStatus;
use crate::runtime::core::Core;
use crate::words::Monotonic;

/// How long a session without work is held before it is let go.
const IDLE: Duration = Duration::from_secs(30);
/// The longest sleep of a session that waits for nothing in particular.
const LONG: Duration = Duration::from_secs(3600);
/// The longest sleep of a session that waits for an instant.
const LOOK: Duration = Duration::from_secs(5);
/// What an append holds before it is sent without waiting for more.
const HEAVY_BYTES: usize = 8 << 20;

impl PlanExecutor {
    /// Whether what is pending should go before more is added: an append has a largest size.
    pub(super) fn is_heavy(&self) -> bool {
        self.pending_bytes > HEAVY_BYTES
    }

    /// Whether nothing but mail or an instant can move the session.
    pub(super) fn is_idle(&self) -> bool {
        self.handles.is_empty() && self.pending.is_empty() && self.mark.status != SessionStatus::Running
    }

    /// How much longer an idle session is held: not at all when others wait for its place, or it is to be
    /// archived.
    fn held_for(&self) -> Duration {
        let registry = &self.core.registry;
        let crowded = registry.len() + registry.demand() > self.core.limits.held_sessions;
        let idle = self.core.clock.monotonic().since(self.active_at);
        if crowded || self.handle.is_asked_to_leave() { Duration::ZERO } else { IDLE.saturating_sub(idle) }
    }

    /// Whether the session has had no work for long enough to be let go.
    pub(super) fn may_go(&self) -> bool {
        self.is_idle() && self.held_for() == Duration::ZERO
    }

    /// Takes the one place for work that is suspected of ending the process when the session has such, and gives it back when
    /// it has none any more.
    pub(super) fn keep_apart(&mut self) {
        if !is_suspect(&self.state) {
            self.apart = Apart::default();
        } else if self.apart.0.is_none() {
            self.apart.0 = self.core.apart.clone().try_acquire_owned().ok();
        }
        self.live.apart = self.apart.0.is_some();
    }

    pub(super) fn rides_too_long(&self) -> bool {
        let riding = Duration::from_millis(self.core.limits.riding_ms);
        self.riding_since.is_some_and(|since| self.core.clock.monotonic().since(since) >= riding)
    }

    pub(super) fn sleep_for(&self) -> Duration {
        // The wall clock may jump, and the machine may have slept: no wake-up is relied on alone.
        let until_wake =
            next_wake(&self.state, &self.live).map(|wake| wake.since(self.core.clock.now()).min(LOOK));
        let until_ride = self.riding_since.map(|since| {
            let riding = Duration::from_millis(self.core.limits.riding_ms);
            riding.saturating_sub(self.core.clock.monotonic().since(since))
        });
        // Nobody tells when the place is free.
        let waits_for_place = is_suspect(&self.state) && self.apart.0.is_none();
        let until_place = waits_for_place.then(|| Duration::from_millis(self.core.limits.poll_ms));
        let until_idle = self.is_idle().then(|| self.held_for());
        self.handle.set_idle(until_idle.is_some());
        [until_wake, until_ride, until_place, until_idle].into_iter().flatten().min().unwrap_or(LONG)
    }
}

/// The place for work that is suspected of ending the process, when the session has it.
#[derive(Default)]
pub(super) struct Apart(Option<OwnedSemaphorePermit>);

/// A timer that is set again only for an earlier instant: the session does not mind being woken too early, and most
/// that it waits for comes long before.
#[derive(Default)]
pub(super) struct Timer {
    set: Option<(Monotonic, BoxFuture<'static, ()>)>,
}

impl Timer {
    /// Returns after `duration`, or earlier.
    pub(super) async fn sleep(&mut self, core: &Arc<Core>, duration: Duration) {
        let now = core.clock.monotonic();
        let until = now.plus(duration);
        let set = match self.set.take() {
            // One whose instant has passed may have been set before the machine slept.
            Some(set) if now < set.0 && set.0 <= until => set,
            _ => {
                let core = core.clone();
                (until, Box::pin(async move { core.clock.sleep(duration).await }) as BoxFuture<'static, ()>)
            }
        };
        self.set.insert(set).1.as_mut().await;
        self.set = None;
    }
}

/// About how many bytes an entry has besides a fixed part that does not count.
pub(super) fn weight(entry: &Entry) -> usize {
    let merged = |context: &BTreeMap<_, Value>| context.values().map(json_bytes).sum();
    match &entry.body {
        Body::StepSucceeded { output, context, .. } | Body::ModelAnswered { answer: output, context, .. } => {
            json_bytes(&output.value()) + merged(context)
        }
        Body::StepResolved { resolution: Resolution::Applied(output), context, .. } => {
            json_bytes(output) + merged(context)
        }
        Body::WaitEnded { end: WaitEnd::Signalled(payload), context, .. } => {
            json_bytes(&payload.value()) + merged(context)
        }
        Body::WaitEnded { context, .. } => merged(context),
        Body::StepStarted { input: Some(payload), .. }
        | Body::TurnStarted { input: payload, .. }
        | Body::ChildStarted { input: payload, .. }
        | Body::TurnAnswered { answer: payload, .. }
        | Body::PromptSet { prompt: payload, .. }
        | Body::PlanAnswered { answer: payload, .. }
        | Body::SignalReceived { payload, .. }
        | Body::GuardRuled { value: Some(payload), .. }
        | Body::StepReturned { output: payload, .. }
        | Body::WaitOpened { wait: WaitFor::Approval { shown: payload, .. }, .. }
        | Body::TurnEnded { answer: Some(payload), .. } => json_bytes(&payload.value()),
        _ => 0,
    }
}
