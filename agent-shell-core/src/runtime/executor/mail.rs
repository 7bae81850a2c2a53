//! Reading a session's mail into its state, and waiting for the place that a turn needs.

use std::collections::BTreeSet;

use super::PlanExecutor;
use crate::data::{Body, Mail, MailKind};
use crate::failpoint::reach;
use crate::machine::{Event, doubts, next_wake, react};
use crate::runtime::core::Stopping;
use crate::runtime::forking;
use crate::runtime::inbox::Letter;
use crate::runtime::reader::corrupt;
use crate::words::{Error, ErrorKind, Head, MailId, Pseudonym, Result};

impl PlanExecutor {
    /// Reads what waits in the mailbox, if anything may. False when the store can't say now what waits: then nothing
    /// must expire either.
    pub(super) async fn take_mail(&mut self) -> Result<bool> {
        if self.state.opened.is_none() && !self.state.purged && !self.open().await? {
            return Ok(false);
        }
        // A decision counts by the time when it was posted, so the mailbox is read before anything expires.
        let now = self.core.clock.now();
        if self.handle.take_mail() || next_wake(&self.state, &self.live).is_some_and(|wake| wake <= now) {
            self.inbox.mail_arrived();
        }
        let has_turn = self.state.turn.is_some() || !self.state.next.is_empty();
        if has_turn && self.place.is_none() && !self.inbox.has_purge().await? {
            self.enter().await?;
        }
        loop {
            if self.take_control().await?.is_none() {
                return Ok(false);
            }
            if self.state.purged || !self.inbox.may_have_control() {
                break;
            }
            // The mailbox shows what was read until this is durable. All of it counts before anything expires.
            self.flush().await?;
        }
        self.heard = now;
        if !self.take_steers().await? {
            return Ok(false);
        }
        if self.state.turn.is_none() && self.state.next.is_empty() && !self.state.purged {
            match self.inbox.input().await? {
                None => {
                    // What was read above still waits in the mailbox, and would be read again.
                    self.flush().await?;
                    return Ok(false);
                }
                Some(None) => {}
                Some(Some(letter)) => {
                    self.enter().await?;
                    if names_no_planner(&letter) {
                        // A hand-off that was posted before it may have come since the decisions were read. What was read
                        // then still waits in the mailbox.
                        self.flush().await?;
                        self.inbox.mail_arrived();
                        let Some(withdrawn) = self.take_control().await? else { return Ok(false) };
                        if self.state.purged || withdrawn.contains(&letter.id) {
                            return Ok(true);
                        }
                    }
                    self.read(letter, &mut BTreeSet::new()).await?;
                }
            }
        }
        Ok(true)
    }

    /// Reads decisions and signals. Returns the requests that they withdrew; none when the store can't say now what waits.
    async fn take_control(&mut self) -> Result<Option<BTreeSet<MailId>>> {
        let Some(mut letters) = self.inbox.control(&self.state).await? else { return Ok(None) };
        // A request that is consumed already, and still shows in the mailbox because that is not durable, has started a turn.
        for letter in &mut letters {
            letter.withdraws = letter.withdraws.filter(|request| !self.consumed.contains(request));
        }
        let mut withdrawn = BTreeSet::new();
        for letter in letters {
            self.read(letter, &mut withdrawn).await?;
        }
        if !withdrawn.is_empty() {
            // Until then the mailbox shows these requests, and they would be read as the next input.
            self.flush().await?;
        }
        Ok(Some(withdrawn))
    }

    /// Begins a session that has no records yet: with its name, and with what it is forked from, if it is. False when the
    /// store can't say that now.
    async fn open(&mut self) -> Result<bool> {
        let Some(letter) = self.inbox.fork().await? else { return Ok(false) };
        let opened = self.inbox.opening(&self.entry)?;
        let (id, actor, parent, at, effects) = match letter {
            Some(Letter { id, actor, event: Ok(Event::Mail { mail, .. }), .. }) => match mail {
                Mail::Fork { parent, seq, hash, effects } => (id, actor, parent, Head { seq, hash }, effects),
                _ => return Err(corrupt("mail of another kind stands in the place of a fork".into())),
            },
            // Damaged mail is refused when it is read with the rest.
            _ => return self.take(vec![opened], Pseudonym::RUNTIME).map(|()| true),
        };
        let turn = self.core.ids.make();
        // Boxed, because few sessions are forks, and all would hold the room for it.
        let made = Box::pin(forking::records(
            &self.core,
            self.inbox.keys(),
            (&self.entry, turn),
            (parent, at, effects),
        ));
        let records = match made.await {
            Ok(records) => records,
            Err(error) if error.kind() == ErrorKind::Unavailable => return Ok(false),
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Poisoned) => {
                return Err(error);
            }
            Err(error) => {
                let reason = error.to_string();
                vec![Body::MailRefused { mail: id, mail_kind: MailKind::Fork, turn: None, reason }]
            }
        };
        reach!(MailRead);
        self.consumed.push(id);
        // All of it stands in one append: a fork is whole, or not there.
        self.take(vec![opened], Pseudonym::RUNTIME)?;
        self.take(records, actor)?;
        let doubts = doubts(&self.state, &self.env());
        self.take(doubts, Pseudonym::RUNTIME)?;
        self.flush().await?;
        Ok(true)
    }

    /// Reads what was said to the turn that runs, or starts one with it. False when the store can't say now what waits.
    async fn take_steers(&mut self) -> Result<bool> {
        // What is the next turn already comes first.
        if self.state.purged || (self.state.turn.is_none() && !self.state.next.is_empty()) {
            return Ok(true);
        }
        let Some(letters) = self.inbox.steers(&self.state).await? else {
            // What was read before still waits in the mailbox, and would be read again.
            self.flush().await?;
            return Ok(false);
        };
        let has_any = !letters.is_empty();
        for letter in letters {
            self.enter().await?;
            if self.state.turn.is_none() && names_no_planner(&letter) {
                // As with an input: a hand-off that was posted before it may have come.
                self.flush().await?;
                self.inbox.mail_arrived();
                let Some(withdrawn) = self.take_control().await? else { return Ok(false) };
                if self.state.purged || withdrawn.contains(&letter.id) {
                    return Ok(true);
                }
            }
            self.read(letter, &mut BTreeSet::new()).await?;
        }
        if has_any {
            // The mailbox shows them until this is durable.
            self.flush().await?;
        }
        Ok(true)
    }

    /// Takes mail. A request is withdrawn once.
    async fn read(&mut self, letter: Letter, withdrawn: &mut BTreeSet<MailId>) -> Result<()> {
        reach!(MailRead);
        self.consumed.push(letter.id);
        self.urgent = true;
        let withdraws = letter.withdraws.filter(|request| withdrawn.insert(*request));
        let records = match letter.event {
            Ok(Event::Mail { ref mail, .. })
                if let (Some(request), Some((turn, reason))) = (withdraws, mail.cancels()) =>
            {
                self.consumed.push(request);
                react(&self.state, Event::Withdrawn { turn, reason: reason.into() }, &self.env())
            }
            Ok(event) => react(&self.state, event, &self.env()),
            Err(refusal) => vec![refusal],
        };
        self.take_and_send(records, letter.actor).await
    }

    /// Waits for a place among the running turns.
    async fn enter(&mut self) -> Result<()> {
        if self.place.is_none() {
            self.place = tokio::select! {
                biased;
                place = self.core.admission.enter(&self.entry.tenant) => Some(place),
                () = self.core.stop.reached(Stopping::Draining) => {
                    return Err(Error::new(ErrorKind::ShuttingDown, "the shell is shutting down"));
                }
            };
        }
        Ok(())
    }
}

/// Whether mail asks for a turn without a word of who plans it.
fn names_no_planner(letter: &Letter) -> bool {
    match &letter.event {
        Ok(Event::Mail { mail: Mail::Submit { by_default, .. }, .. }) => *by_default,
        Ok(Event::Mail { mail: Mail::Steer { request, .. }, .. }) => request.by_default,
        _ => false,
    }
}
