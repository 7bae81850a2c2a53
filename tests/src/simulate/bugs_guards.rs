//! Guards that are at fault, or asked wrongly, and tools that undo what they should not.

#![deny(clippy::missing_trait_methods)]

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use agent_shell_core::data::GuardPlace;
use agent_shell_core::words::SessionId;
use agent_shell_core::{Guard, GuardError, GuardRequest, Ruling, ShellBuilder};
use async_trait::async_trait;

use super::bugs::Bug;
use super::guarding::{Keeper, NAMES};
use super::truth::{LifeId, Truth};

/// The shell of a life of a process with its guards, if it has any: with a deliberate fault or without.
pub(super) fn guarded(builder: ShellBuilder, truth: &Truth, life: LifeId) -> ShellBuilder {
    let settings = truth.settings();
    if !settings.has_guards(life) {
        return builder;
    }
    let keepers = (0..settings.guards()).map(|place| Keeper { truth: truth.clone(), life, place });
    keepers.fold(builder, |builder, keeper| match settings.bug {
        Some(bug @ (Bug::GuardsIgnored | Bug::GuardsAskedAgain)) => {
            builder.guard(Faulty { inner: keeper, bug, before: Mutex::default() })
        }
        _ => builder.guard(keeper),
    })
}

/// A guard whose ruling is not what counts.
struct Faulty {
    inner: Keeper,
    bug: Bug,
    /// What each session asked before.
    before: Mutex<BTreeMap<SessionId, GuardRequest>>,
}

#[async_trait]
impl Guard for Faulty {
    fn name(&self) -> &str {
        NAMES[self.inner.place]
    }

    fn watches(&self, place: GuardPlace) -> bool {
        self.inner.watches(place)
    }

    async fn rule(&self, request: &GuardRequest) -> Result<Ruling, GuardError> {
        if self.bug == Bug::GuardsIgnored {
            return Ok(match self.inner.rule(request).await? {
                Ruling::Deny { .. } => Ruling::Allow,
                other => other,
            });
        }
        let asked = request.clone();
        let before =
            self.before.lock().unwrap_or_else(PoisonError::into_inner).insert(request.session, asked);
        if let Some(before) = before {
            // What it says is not listened to.
            drop(self.inner.rule(&before).await);
        }
        self.inner.rule(request).await
    }
}
