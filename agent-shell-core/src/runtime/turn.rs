//! A turn, as a host holds it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, Stopping};
use super::manager::TurnManager;
use super::reader::{corrupt, is_archived, load, open};
use super::rest::{Needs, Rest};
use super::session::{Opened, post};
use super::watchers::TurnView;
use crate::data::{Body, Kind, Lane, Mail, Outcome, Resolution, Undone};
use crate::ports::{SessionStatus, TurnEntry};
use crate::words::{Actor, Error, ErrorKind, Result, Seq, SessionId, StepId, Timestamp, TurnId};

/// A turn: one input and its end. Cheap to clone. It can be held, and asked, by any process that has the store open.
#[derive(Clone)]
pub struct Turn {
    core: Arc<Core>,
    manager: TurnManager,
    session: Option<SessionId>,
    id: TurnId,
}

impl Turn {
    pub(crate) fn new(core: Arc<Core>, manager: TurnManager, session: Option<SessionId>, id: TurnId) -> Self {
        Self { core, manager, session, id }
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The same turn, when its session is known.
    pub(super) fn in_session(&self, session: SessionId) -> Self {
        Self { session: Some(session), ..self.clone() }
    }

    /// Another turn, in a session that is known.
    pub(super) fn of_session(&self, session: SessionId, id: TurnId) -> Self {
        Self { session: Some(session), id, ..self.clone() }
    }

    /// The turn's id.
    pub fn id(&self) -> TurnId {
        self.id
    }

    /// Waits until the turn has ended, and returns how. Once returned it never changes. A turn that waits behind another
    /// one of its session waits for as long as that one does, one whose child rests for as long as the child does, and a
    /// child's turn, of which something can be undone, until its parent's has ended.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such turn. [`ErrorKind::Purged`] when it had ended before its subject
    /// was purged, for then its outcome is erased. [`ErrorKind::Archived`] when it stands in a file. [`ErrorKind::AtRest`] when nothing but a person can move the turn:
    /// see [`Turn::rests`]. Else what the store says, or `ShuttingDown`.
    ///
    /// # Cancel safety
    /// Dropping the future does not touch the turn.
    pub async fn outcome(&self) -> Result<Outcome> {
        self.wait(|view| {
            if let Some(outcome) = &view.outcome {
                return Some(Ok(outcome.clone()));
            }
            view.rests.then(|| {
                let of = |rest: &Rest| match rest.needs {
                    Needs::Approval { .. } => format!("step `{}` waits for an approval", rest.step),
                    Needs::Resolution { .. } => {
                        format!("step `{}` is in doubt, and a person must say what became of it", rest.step)
                    }
                    Needs::Undo { ref undoes, .. } => {
                        format!("step `{undoes}` can't be undone, and a person must say how it goes on")
                    }
                };
                let open: Vec<String> = view.open.iter().map(of).collect();
                let message = format!("the turn rests: {} (see `Turn::rests`)", open.join(", "));
                Err(Error::new(ErrorKind::AtRest, message))
            })
        })
        .await?
    }

    /// What waits for a person in this turn, now. How each is answered, [`Rest`] says.
    ///
    /// # Errors
    /// What the store says.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn rests(&self) -> Result<Vec<Rest>> {
        Ok(self.look().await?.open)
    }

    /// How the turn ended, if it has.
    ///
    /// # Errors
    /// What the store says.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn ended(&self) -> Result<Option<Outcome>> {
        Ok(self.look().await?.outcome)
    }

    /// Says what became of a step in doubt, of the attempt that is in doubt now. Returns when this is on disk; the turn
    /// goes on soon after.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`] when the actor may not. [`ErrorKind::NotFound`] when the step is not in doubt. [`ErrorKind::InvalidInput`] when it is resolved as not
    /// applied while the attempt may still take effect: the message says from when on it may be. Else what the store
    /// says.
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the resolution; a second one is refused by the session.
    pub async fn resolve(&self, step: impl AsRef<str>, resolution: Resolution, actor: &Actor) -> Result<()> {
        let step = StepId::new(step)?;
        let rests = self.rests().await?;
        let in_doubt = |rest: &&Rest| rest.step == step && !matches!(rest.needs, Needs::Approval { .. });
        let Some(rest) = rests.iter().find(in_doubt) else {
            return Err(not_in_doubt(&step));
        };
        self.resolve_rest(rest, resolution, actor).await
    }

    /// Says what became of exactly the attempt that a rest shows. Where several people resolve, this is the call to
    /// use: when another one has settled the rest and a later attempt is in doubt by now, what was found out about the
    /// earlier one is refused, by a record in the session's history.
    ///
    /// # Errors
    /// As [`Turn::resolve`]. [`ErrorKind::NotFound`] when the rest asks for no resolution.
    ///
    /// # Cancel safety
    /// As [`Turn::resolve`].
    pub async fn resolve_rest(&self, rest: &Rest, resolution: Resolution, actor: &Actor) -> Result<()> {
        let (attempt, from) = match rest.needs {
            Needs::Resolution { attempt, not_applied_from, .. } => (attempt, not_applied_from),
            Needs::Undo { attempt, .. } => (attempt, Timestamp::default()),
            Needs::Approval { .. } => return Err(not_in_doubt(&rest.step)),
        };
        if !matches!(resolution, Resolution::Applied(_)) && self.core.clock.now() < from {
            let message = format!(
                "the attempt may still take effect: it can be resolved as not applied from {from} on"
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let (step, attempt) = (rest.step.clone(), Some(attempt));
        self.post(Mail::Resolve { turn: self.id, step, attempt, resolution }, actor).await
    }

    /// Cancels the turn, whether it runs, rests or waits for its start. Returns when this is on disk. Nothing new starts; `Pure`
    /// work is dropped; acts that run may end, and what is not known of them is learned; then what was applied is undone. It
    /// ends as [`Outcome::Cancelled`]. `docs/GUARANTEES.md` has a table of what becomes of each class.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such turn, or it has ended; else what the store says. A turn that can only end
    /// already is not cancelled as well: a record in the session's history says so.
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw it.
    pub async fn cancel(&self, reason: impl Into<String>, actor: &Actor) -> Result<()> {
        if self.entry().await?.ended.is_some() {
            return Err(Error::new(ErrorKind::NotFound, "the turn has ended, so it can't be cancelled"));
        }
        self.post(Mail::Cancel { turn: self.id, reason: reason.into() }, actor).await
    }

    /// What was undone and what stays applied of a turn that did not succeed: the steps other than `Pure` ones that took
    /// effect. Empty for a turn that answered, that had applied nothing, or that has not ended.
    ///
    /// # Errors
    /// What the store says.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn undone(&self) -> Result<Undone> {
        let Some(ended) = self.entry().await?.ended else { return Ok(Undone::default()) };
        match self.read_end(ended).await? {
            Some(Body::TurnEnded { undone: Some(undone), .. }) => Ok(*undone),
            _ => Ok(Undone::default()),
        }
    }

    /// Gives the turn up while it rests, or waits for a signal or an instant. It ends as [`Outcome::Abandoned`]; what was
    /// applied stays applied. While an act runs it is refused, by a record in the session's history.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`] when the actor may not; [`ErrorKind::NotFound`] when there is no such turn, or it has ended; [`ErrorKind::InvalidInput`] when it has not
    /// started and waits behind another; else what the store says.
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw it.
    pub async fn abandon(&self, reason: impl Into<String>, actor: &Actor) -> Result<()> {
        let entry = self.entry().await?;
        if entry.ended.is_some() {
            return Err(Error::new(ErrorKind::NotFound, "the turn has ended, so it can't be abandoned"));
        }
        if entry.started.is_none() {
            let message = "the turn waits for another turn of its session, so there is nothing to abandon yet: \
                           look for what holds the session's queue with `Shell::rests`";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        self.post(Mail::Abandon { turn: self.id, reason: reason.into() }, actor).await
    }

    pub(super) async fn post(&self, mail: Mail, actor: &Actor) -> Result<()> {
        let opened = self.opened().await?;
        self.core.authorize_mail(actor, &mail, (&opened.entry, &opened.keys)).await?;
        post(&self.core, &opened, mail, None, None, actor).await?;
        self.manager.attend(opened.entry.id);
        Ok(())
    }

    async fn session(&self) -> Result<SessionId> {
        if let Some(session) = self.session {
            return Ok(session);
        }
        Ok(self.entry().await?.session)
    }

    pub(super) async fn entry(&self) -> Result<TurnEntry> {
        let entry = self.core.store.journal.turn(self.id).await?;
        entry.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no turn {}", self.id)))
    }

    pub(super) async fn opened(&self) -> Result<Opened> {
        let session = self.session().await?;
        let entry = self.core.store.journal.session(session).await?;
        let entry =
            entry.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no session {session}")))?;
        let keys = self.core.keyring.session(entry.key, false).await?;
        Ok(Opened { entry, keys })
    }

    /// Waits until `found` finds something in what is durable of the turn. A session that this process holds tells of
    /// every change; one that another holds is looked at again and again.
    pub(super) async fn wait<T>(&self, mut found: impl FnMut(&TurnView) -> Option<T>) -> Result<T> {
        let mut changes = self.core.watchers.watch(self.id);
        let poll = Duration::from_millis(self.core.limits.poll_ms.max(1));
        loop {
            let view = self.look().await?;
            if let Some(found) = found(&view) {
                return Ok(found);
            }
            let handle = self.core.registry.find(self.session().await?);
            if let Some(trouble) = handle.as_ref().and_then(|handle| handle.trouble()) {
                return Err(trouble);
            }
            loop {
                tokio::select! {
                    biased;
                    changed = changes.changed() => {
                        if changed.is_err() {
                            break;
                        }
                        let view = changes.borrow_and_update().clone();
                        // A decision that was just posted may not have been read yet: the store knows.
                        if view.rests {
                            break;
                        }
                        if let Some(found) = found(&view) {
                            // The subject may have been purged while the end was written.
                            if view.outcome.as_ref().is_some_and(|outcome| *outcome != Outcome::Purged) {
                                self.opened().await?;
                            }
                            return Ok(found);
                        }
                    }
                    () = self.core.clock.sleep(poll) => {
                        // As long as one task here holds the session, it tells of everything.
                        let held = handle.as_ref().is_some_and(|handle| handle.is_driven());
                        if !held {
                            break;
                        }
                    }
                    () = self.core.stop.reached(Stopping::Draining) => self.core.stop.check()?,
                }
            }
        }
    }

    /// What is durable of the turn.
    async fn look(&self) -> Result<TurnView> {
        let journal = &*self.core.store.journal;
        match self.entry().await? {
            // It waits in the mailbox.
            TurnEntry { started: None, .. } => Ok(TurnView::default()),
            TurnEntry { ended: Some(ended), .. } => {
                Ok(TurnView { outcome: Some(self.read_outcome(ended).await?), ..TurnView::default() })
            }
            TurnEntry { session, .. } => {
                // A decision that is posted and not yet read will move the turn. The mailbox is asked first: what was
                // read by then shows in the entry.
                let decisions = self.core.store.mailbox.waiting(session, Lane::Control, None, 1).await?;
                let Some(entry) = journal.session(session).await? else { return Ok(TurnView::default()) };
                // Approvals can be open while other steps still run, so a running turn is read too, if not often.
                let keys = self.core.keyring.session(entry.key, false).await?;
                let loaded = match load(journal, &keys, &entry).await {
                    // It was purged since it was looked up: the next look finds that the turn has ended.
                    Err(error) if error.kind() == ErrorKind::Purged => return Ok(TurnView::default()),
                    loaded => loaded?,
                };
                if loaded.state.turn.as_ref().is_none_or(|turn| turn.id != self.id) {
                    return Ok(TurnView::default());
                }
                let rests = entry.mark.status == SessionStatus::Resting && decisions.is_empty();
                Ok(TurnView { open: Rest::all(&loaded.state), rests, ..TurnView::default() })
            }
        }
    }

    async fn read_outcome(&self, ended: Seq) -> Result<Outcome> {
        // That the purge ended the turn is said by the record's kind, in the clear.
        let Some(body) = self.read_end(ended).await? else { return Ok(Outcome::Purged) };
        Outcome::recorded(&body)
            .ok_or_else(|| corrupt(format!("record {ended} does not end the turn {}", self.id)))
    }

    /// The record that ended the turn; none when that was a purge.
    async fn read_end(&self, ended: Seq) -> Result<Option<Body>> {
        let (journal, session) = (&*self.core.store.journal, self.session().await?);
        let before = Seq::new(ended.number().saturating_sub(1));
        let records = journal.read(session, before, 1).await?;
        let Some(record) = records.first().filter(|record| record.header.seq == ended) else {
            // Whose key was destroyed is erased wherever its records stand.
            self.opened().await?;
            is_archived(journal, session, before).await?;
            return Err(corrupt(format!("record {ended} of {session} is gone")));
        };
        if record.header.kind.as_str() == Kind::PURGE {
            return Ok(None);
        }
        let Opened { keys, .. } = self.opened().await?;
        Ok(Some(open(journal, &keys, record).await?.body))
    }
}

fn not_in_doubt(step: &StepId) -> Error {
    let message = format!("step `{step}` is neither in doubt nor parked: see `Turn::rests`");
    Error::new(ErrorKind::NotFound, message)
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Turn({})", self.id)
    }
}
