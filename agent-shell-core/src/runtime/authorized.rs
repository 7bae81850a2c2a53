//! Whether somebody may: asked before anything is written.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select};

use super::core::Core;
use super::keyring::SessionKeys;
use super::reader::load;
use crate::data::{Decision, Mail};
use crate::ports::{Authorizer, Deed, Intention, SessionEntry, SessionStatus};
use crate::words::{Actor, Error, ErrorKind, Pseudonym, Result, Tenant, TurnId};

impl Core {
    /// Whether an actor may do a deed in a tenant, where that is asked.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`] when it may not.
    pub(super) async fn authorize(&self, actor: &Actor, deed: Deed, tenant: &Tenant) -> Result<()> {
        match &self.authorizer {
            None => Ok(()),
            Some(authorizer) => {
                let asked = Intention::new(actor.clone(), deed, tenant.clone());
                // Boxed, because most shells ask nobody, and all would hold the room for it.
                Box::pin(self.ask_authorizer(&**authorizer, &asked)).await
            }
        }
    }

    /// Whether an actor may post mail to a session that is there, where that is asked.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`] when it may not; else what the store says.
    pub(super) async fn authorize_mail(
        &self,
        actor: &Actor,
        mail: &Mail,
        session: (&SessionEntry, &SessionKeys),
    ) -> Result<()> {
        match &self.authorizer {
            None => Ok(()),
            Some(authorizer) => Box::pin(self.ask_about_mail(&**authorizer, actor, mail, session)).await,
        }
    }

    async fn ask_about_mail(
        &self,
        authorizer: &dyn Authorizer,
        actor: &Actor,
        mail: &Mail,
        (entry, keys): (&SessionEntry, &SessionKeys),
    ) -> Result<()> {
        let (deed, turn, step) = match mail {
            Mail::Submit { .. } | Mail::Steer { .. } => (Deed::Submit, None, None),
            Mail::Signal { .. } => (Deed::Signal, None, None),
            Mail::Decide { turn, step, decision: Decision::Approved, .. } => {
                (Deed::Approve, Some(*turn), Some(step.clone()))
            }
            Mail::Decide { turn, step, decision: Decision::Denied { .. }, .. } => {
                (Deed::Deny, Some(*turn), Some(step.clone()))
            }
            Mail::Resolve { turn, step, .. } => (Deed::Resolve, Some(*turn), Some(step.clone())),
            Mail::Cancel { turn, .. } => (Deed::Cancel, Some(*turn), None),
            Mail::Abandon { turn, .. } => (Deed::Abandon, Some(*turn), None),
            Mail::Fork { .. } => (Deed::Fork, None, None),
            Mail::HandOff { .. } => (Deed::HandOff, None, None),
            // No host posts it.
            Mail::Child(_) => (Deed::Cancel, None, None),
            Mail::Purge => (Deed::Purge, None, None),
        };
        let is_own = match turn {
            Some(turn) => self.is_own(actor, turn, (entry, keys)).await?,
            None => None,
        };
        let mut asked = Intention::new(actor.clone(), deed, entry.tenant.clone());
        (asked.session, asked.turn, asked.step, asked.is_own) = (Some(entry.id), turn, step, is_own);
        self.ask_authorizer(authorizer, &asked).await
    }

    /// Whether an actor submitted a turn, said something to it while it ran, or did so to a turn whose child it is; none when the
    /// turn does not run.
    async fn is_own(
        &self,
        actor: &Actor,
        turn: TurnId,
        (entry, keys): (&SessionEntry, &SessionKeys),
    ) -> Result<Option<bool>> {
        // Its name is not kept before it may act.
        let pseudonym = match actor {
            Actor::Host => Pseudonym::HOST,
            Actor::Runtime => Pseudonym::RUNTIME,
            Actor::Named(name) => self.keyring.pseudonym(&entry.tenant, name).await?,
        };
        let loaded = load(&*self.store.journal, keys, entry).await?;
        let Some(running) = loaded.state.turn.filter(|running| running.id == turn) else { return Ok(None) };
        if running.was_asked_by(pseudonym) {
            return Ok(Some(true));
        }
        let mut parent = loaded.state.child_of.filter(|of| of.child == turn);
        while let Some(of) = parent.take() {
            let Some(entry) = self.store.journal.session(of.session).await? else { break };
            if entry.mark.status == SessionStatus::Purged {
                break;
            }
            let keys = self.keyring.session(entry.key, false).await?;
            let state = load(&*self.store.journal, &keys, &entry).await?.state;
            let Some(above) = state.turn.filter(|above| above.id == of.turn) else { break };
            if above.was_asked_by(pseudonym) {
                return Ok(Some(true));
            }
            parent = state.child_of.filter(|grand| grand.child == of.turn);
        }
        Ok(Some(false))
    }

    async fn ask_authorizer(&self, authorizer: &dyn Authorizer, asked: &Intention) -> Result<()> {
        let allowed = Duration::from_millis(self.limits.guard_ms);
        let answer = AssertUnwindSafe(async move { authorizer.authorize(asked).await }).catch_unwind();
        let answer = std::pin::pin!(answer);
        let refused = match select(answer, self.clock.sleep(allowed)).await {
            Either::Left((Ok(Ok(())), _)) => return Ok(()),
            Either::Left((Ok(Err(refusal)), _)) => refusal.to_string(),
            Either::Left((Err(_), _)) => {
                "it could not be told whether the actor may: the authorizer panicked".to_owned()
            }
            Either::Right(_) => {
                "it could not be told in time whether the actor may: see `Limits::guard_ms`".to_owned()
            }
        };
        Err(Error::new(ErrorKind::Forbidden, refused))
    }
}
