//! A session's mail as its owner reads it: opened, in its lanes, and only when some may wait.

use std::sync::Arc;

use super::core::Core;
use super::keyring::{Place, SessionKeys};
use super::reader::corrupt;
use super::session::NameAndSubject;
use crate::data::WaitFor;
use crate::data::{Body, Lane, Mail};
use crate::machine::{Event, Folded, Phase};
use crate::ports::{MailItem, SessionEntry};
use crate::words::{MailId, Pseudonym, Result, SessionId};

/// Control mail read at once.
const PAGE: usize = 64;

/// Mail, opened.
pub(crate) struct Letter {
    pub(crate) id: MailId,
    pub(crate) actor: Pseudonym,
    /// The event, or the record that refuses what can't be read.
    pub(crate) event: std::result::Result<Event, Body>,
}

/// The reading end of a session's mailbox.
pub(crate) struct Inbox {
    core: Arc<Core>,
    session: SessionId,
    keys: SessionKeys,
    control: bool,
    input: bool,
}

impl Inbox {
    pub(crate) fn new(core: Arc<Core>, session: SessionId, keys: SessionKeys) -> Self {
        Self { core, session, keys, control: true, input: true }
    }

    /// Some mail may have come since the last look.
    pub(crate) fn mail_arrived(&mut self) {
        (self.control, self.input) = (true, true);
    }

    /// Whether an input may wait.
    pub(crate) fn may_have_input(&self) -> bool {
        self.input
    }

    /// The record of a session that has none yet.
    pub(crate) fn opening(&self, entry: &SessionEntry) -> Result<Body> {
        let NameAndSubject { name, subject } = NameAndSubject::open(&self.keys, entry)?;
        Ok(Body::SessionOpened { name, subject })
    }

    /// The control mail that can be taken now, in order. A signal for which there is no room, and no step that waits
    /// for it, stays in the mailbox.
    pub(crate) async fn control(&mut self, state: &Folded) -> Result<Vec<Letter>> {
        if !std::mem::take(&mut self.control) {
            return Ok(Vec::new());
        }
        let items = self.core.store.mailbox.waiting(self.session, Lane::Control, None, PAGE).await?;
        self.control = items.len() == PAGE;
        let mut room = self.core.limits.buffered_signals.saturating_sub(state.signals.len());
        let mut letters = Vec::with_capacity(items.len());
        for item in items {
            let letter = self.read(item);
            if let Ok(Event::Mail { mail: Mail::Signal { name, .. }, .. }) = &letter.event {
                let waited = |phase: &Phase| matches!(phase, Phase::Waiting(WaitFor::Signal { name: waited, .. }) if waited == name);
                let taken =
                    state.turn.as_ref().is_some_and(|turn| turn.steps.iter().any(|step| waited(&step.phase)));
                if !taken && room == 0 {
                    self.control = false;
                    continue;
                }
                room = room.saturating_sub(usize::from(!taken));
            }
            letters.push(letter);
        }
        Ok(letters)
    }

    /// The next input, if one waits.
    pub(crate) async fn input(&mut self) -> Result<Option<Letter>> {
        if !self.input {
            return Ok(None);
        }
        let items = self.core.store.mailbox.waiting(self.session, Lane::Input, None, 1).await?;
        self.input = !items.is_empty();
        Ok(items.into_iter().next().map(|item| self.read(item)))
    }

    fn read(&self, item: MailItem) -> Letter {
        let MailItem { id, kind, actor, posted, sealed } = item;
        let opened = self
            .keys
            .open(Place::Mail(self.session, kind.as_str()), &sealed)
            .map_err(|error| error.to_string());
        let mail = opened.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
        let event = match mail {
            Ok(mail) => Ok(Event::Mail { id, mail, posted }),
            Err(reason) => {
                let error = corrupt(format!("mail {id} of session {}: {reason}", self.session));
                tracing::error!(%error, "mail that can't be read is refused");
                Err(Body::MailRefused { mail: id, mail_kind: kind, reason })
            }
        };
        Letter { id, actor, event }
    }
}
