//! A session's mail as its owner reads it: opened, in its lanes, and only when some may wait.

use std::sync::Arc;

use super::core::Core;
use super::keyring::{Place, SessionKeys};
use super::reader::corrupt;
use super::session::NameAndSubject;
use crate::data::{Body, Lane, Mail, MailKind, WaitFor};
use crate::machine::{Event, Folded, Phase};
use crate::ports::{MailItem, SessionEntry};
use crate::words::{Error, ErrorKind, MailId, Pseudonym, Result, SessionId, SignalName};

/// Control mail read at once.
const PAGE: usize = 64;

/// Mail, opened.
pub(crate) struct Letter {
    pub(crate) id: MailId,
    pub(crate) actor: Pseudonym,
    /// The event, or the record that refuses what was damaged.
    pub(crate) event: std::result::Result<Event, Body>,
    /// The request that it withdraws: that of a turn which waits for its start, and is cancelled.
    pub(crate) withdraws: Option<MailId>,
}

/// The reading end of a session's mailbox.
pub(crate) struct Inbox {
    core: Arc<Core>,
    session: SessionId,
    keys: SessionKeys,
    control: bool,
    input: bool,
    steer: bool,
}

impl Inbox {
    pub(crate) fn new(core: Arc<Core>, session: SessionId, keys: SessionKeys) -> Self {
        Self { core, session, keys, control: true, input: true, steer: true }
    }

    /// Some mail may have come since the last look.
    pub(crate) fn mail_arrived(&mut self) {
        (self.control, self.input, self.steer) = (true, true, true);
    }

    /// Whether an input may wait.
    pub(crate) fn may_have_input(&self) -> bool {
        self.input
    }

    /// The record of a session that has none yet.
    pub(crate) fn opening(&self, entry: &SessionEntry) -> Result<Body> {
        let NameAndSubject { name, subject, child_of } = NameAndSubject::open(&self.keys, entry)?;
        Ok(Body::SessionOpened { name, subject, child_of })
    }

    /// The request by which a session that has no records yet is forked, if one waits. None when the store can't say now, and
    /// nothing beside a purge.
    pub(crate) async fn fork(&self) -> Result<Option<Option<Letter>>> {
        let waiting = if_available(self.page(Lane::Control, None).await)?;
        let Some(waiting) = waiting else { return Ok(None) };
        if waiting.iter().any(|item| item.kind == MailKind::Purge) {
            return Ok(Some(None));
        }
        let fork = waiting.into_iter().find(|item| item.kind == MailKind::Fork);
        fork.map(|item| self.read(item)).transpose().map(Some)
    }

    /// With what its texts are opened.
    pub(crate) fn keys(&self) -> &SessionKeys {
        &self.keys
    }

    /// Whether more decisions or signals may wait than were read.
    pub(crate) fn may_have_control(&self) -> bool {
        self.control
    }

    /// Whether a purge waits: it is not held up by what runs elsewhere.
    pub(crate) async fn has_purge(&self) -> Result<bool> {
        if !self.control {
            return Ok(false);
        }
        Ok(if_available(waiting_purge(&self.core, self.session).await)?.flatten().is_some())
    }

    /// The decisions and signals that can be taken now, each kind in order. A signal for which there is no room, and
    /// for which no step waits, stays in the mailbox. None when the store can't say now what waits.
    pub(crate) async fn control(&mut self, state: &Folded) -> Result<Option<Vec<Letter>>> {
        if !std::mem::take(&mut self.control) {
            return Ok(Some(Vec::new()));
        }
        let letters = if_available(self.control_now(state).await)?;
        self.control |= letters.is_none();
        Ok(letters)
    }

    async fn control_now(&mut self, state: &Folded) -> Result<Vec<Letter>> {
        let decisions = self.page(Lane::Control, None).await?;
        // Nothing else counts beside a purge, which erases it.
        if let Some(purge) = decisions.iter().position(|item| item.kind == MailKind::Purge) {
            return Ok(vec![self.read(decisions.into_iter().nth(purge).expect("it was found there"))?]);
        }
        self.control = decisions.len() == PAGE;
        let read = |item| self.read(item);
        let mut letters: Vec<Letter> = decisions.into_iter().map(read).collect::<Result<_>>()?;
        for letter in &mut letters {
            letter.withdraws = self.withdrawn_by(letter, state).await?;
        }
        let mut room = self.core.limits.buffered_signals.saturating_sub(state.signals.len());
        let mut after = None;
        // Without room and without a step that waits, no signal can be taken.
        if room == 0 && !waits_for_any(state) {
            return Ok(letters);
        }
        loop {
            let signals = self.page(Lane::Signal, after).await?;
            let is_last = signals.len() < PAGE;
            after = signals.last().map(|item| item.id);
            for item in signals {
                let letter = self.read(item)?;
                let is_waited_for = match &letter.event {
                    Ok(Event::Mail { mail: Mail::Signal { name, .. }, .. }) => waits_for(state, name),
                    _ => true,
                };
                if is_waited_for || room > 0 {
                    room = room.saturating_sub(usize::from(!is_waited_for));
                    letters.push(letter);
                }
            }
            // What is taken must be on its way before more is read.
            if is_last || letters.len() >= PAGE {
                self.control |= !is_last && room > 0;
                return Ok(letters);
            }
        }
    }

    /// The request that mail withdraws, if it cancels a turn that waits for its start.
    async fn withdrawn_by(&self, letter: &Letter, state: &Folded) -> Result<Option<MailId>> {
        let Ok(Event::Mail { mail, .. }) = &letter.event else { return Ok(None) };
        let Some((turn, _)) = mail.cancels() else { return Ok(None) };
        if state.turn.as_ref().is_some_and(|running| running.id == turn) {
            return Ok(None);
        }
        for lane in [Lane::Input, Lane::Steer] {
            let mut after = None;
            loop {
                let inputs = self.page(lane, after).await?;
                if let Some(found) = inputs.iter().find(|input| input.turn == Some(turn)) {
                    return Ok(Some(found.id));
                }
                match inputs.last() {
                    Some(last) if inputs.len() == PAGE => after = Some(last.id),
                    _ => break,
                }
            }
        }
        Ok(None)
    }

    /// What was said to the turn that runs, or to the next one, as far as there is room for it. None when the store can't say
    /// now what waits.
    pub(crate) async fn steers(&mut self, state: &Folded) -> Result<Option<Vec<Letter>>> {
        let room = self.core.limits.buffered_steers.saturating_sub(state.waiting_steers());
        // Between turns one after another starts.
        let room = if state.turn.is_none() { room.min(1) } else { room };
        if room == 0 || !std::mem::take(&mut self.steer) {
            return Ok(Some(Vec::new()));
        }
        let items = self.core.store.mailbox.waiting(self.session, Lane::Steer, None, room).await;
        let items = if_available(items.map_err(Error::from))?;
        self.steer = items.as_ref().is_none_or(|items| items.len() == room);
        items.map(|items| items.into_iter().map(|item| self.read(item)).collect()).transpose()
    }

    async fn page(&self, lane: Lane, after: Option<MailId>) -> Result<Vec<MailItem>> {
        Ok(self.core.store.mailbox.waiting(self.session, lane, after, PAGE).await?)
    }

    /// The next input, if one waits. None when the store can't say now what waits.
    pub(crate) async fn input(&mut self) -> Result<Option<Option<Letter>>> {
        if !self.input {
            return Ok(Some(None));
        }
        let items = self.core.store.mailbox.waiting(self.session, Lane::Input, None, 1).await;
        let Some(items) = if_available(items.map_err(Error::from))? else { return Ok(None) };
        self.input = !items.is_empty();
        items.into_iter().next().map(|item| self.read(item)).transpose().map(Some)
    }

    /// Opens mail. What does not open was damaged: it is refused by a record. What opens and is not understood was
    /// posted by another version, and stays for a process that understands it.
    fn read(&self, item: MailItem) -> Result<Letter> {
        let MailItem { id, kind, actor, posted, turn, sealed } = item;
        if kind == MailKind::Purge {
            let event = Ok(Event::Mail { id, mail: Mail::Purge, posted });
            return Ok(Letter { id, actor, event, withdraws: None });
        }
        let event = match self.keys.open(Place::Mail(self.session, kind.as_str()), &sealed) {
            Ok(text) => {
                let mail = serde_json::from_slice(&text).map_err(|error| {
                    let message =
                        format!("mail {id} of session {} is of another version: {error}", self.session);
                    Error::new(ErrorKind::Unsupported, message)
                })?;
                Ok(Event::Mail { id, mail, posted })
            }
            Err(error) => {
                let reason = error.to_string();
                let error = corrupt(format!("mail {id} of session {}: {reason}", self.session));
                tracing::error!(%error, "mail that can't be read is refused");
                Err(Body::MailRefused { mail: id, mail_kind: kind, turn, reason })
            }
        };
        Ok(Letter { id, actor, event, withdraws: None })
    }
}

/// The purge that waits in a session, if one does. It can be seen without a key.
pub(crate) async fn waiting_purge(core: &Core, session: SessionId) -> Result<Option<MailItem>> {
    let decisions = core.store.mailbox.waiting(session, Lane::Control, None, PAGE).await?;
    Ok(decisions.into_iter().find(|item| item.kind == MailKind::Purge))
}

/// None for what a store can't do now.
fn if_available<T>(asked: Result<T>) -> Result<Option<T>> {
    match asked {
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            tracing::warn!(%error, "the mailbox was not read; it is tried again");
            Ok(None)
        }
        asked => asked.map(Some),
    }
}

/// Whether a step waits for a signal of this name.
fn waits_for(state: &Folded, name: &SignalName) -> bool {
    awaited(state).any(|awaited| awaited == name)
}

fn waits_for_any(state: &Folded) -> bool {
    awaited(state).next().is_some()
}

/// The names of the signals that steps wait for.
fn awaited(state: &Folded) -> impl Iterator<Item = &SignalName> {
    let active = state.turn.iter().flat_map(|turn| turn.active.iter().map(|&place| &turn.steps[place].phase));
    active.filter_map(|phase| match phase {
        Phase::Waiting(WaitFor::Signal { name, .. }) => Some(name),
        _ => None,
    })
}
