//! `PlanExecutor`: the one loop that drives a session, and the only writing caller of the fold.
//!
//! Mail, completions and instants become events; the machine turns them into records; the records are folded,
//! appended, and only then acted on. While an append is under way, further completions wait in a bounded channel and
//! go into the next one together. Nothing is done here that the folded state does not ask for, so a session that was
//! taken over goes on as if nothing had been.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::AbortHandle;
use tokio::sync::mpsc;

use self::latency::Stopwatch;
use self::pace::{Apart, Timer, weight};
use self::reports::Reports;
use self::shown::ends;
use self::work::Work;
use super::admission::Place;
use super::budget::{Purse, SessionBudget, Spent};
use super::core::{Core, Stopping};
use super::follow::News;
use super::inbox::Inbox;
use super::manager::TurnManager;
use super::processor::Completion;
use super::registry::SessionHandle;
use super::writer::{Beside, SessionWriter};
use crate::data::{Body, RequirementId};
use crate::failpoint::reach;
use crate::machine::{Entry, Env, Folded, Live, Parcel, fold, owed, parcels, status};
use crate::ports::{Mark, SessionEntry, SessionStatus};
use crate::words::{Error, ErrorKind, MailId, Monotonic, Pseudonym, Result, SessionId, Timestamp, TurnId};

mod latency;
mod mail;
mod pace;
mod reports;
mod shown;
mod work;

/// How often a session that drains looks whether an outcome has waited long enough for company.
const DRAINING: Duration = Duration::from_millis(20);

/// Drives one session.
pub(crate) struct PlanExecutor {
    pub(super) core: Arc<Core>,
    pub(super) handle: Arc<SessionHandle>,
    /// Sees to it that what is posted to other sessions is read.
    manager: TurnManager,
    pub(super) entry: SessionEntry,
    pub(super) state: Folded,
    live: Live,
    writer: SessionWriter,
    inbox: Inbox,
    /// Folded, and not yet durable.
    pending: Vec<Entry>,
    /// About how many bytes `pending` holds.
    pending_bytes: usize,
    consumed: Vec<MailId>,
    /// Mail to other sessions that goes out with what is pending.
    parcels: Vec<Parcel>,
    /// What attempts cost that have ended, to be settled with what is pending.
    spent: Vec<Spent>,
    budget: SessionBudget,
    purse: Option<(TurnId, Option<Arc<Purse>>)>,
    reports: Reports,
    letters_read: u64,
    /// When the mailbox was read last, with nothing left in it.
    heard: Timestamp,
    /// Whether `pending` holds more than outcomes of `Pure` steps, which may wait for company.
    urgent: bool,
    riding_since: Option<Monotonic>,
    /// When anything was recorded last, or the session was taken: being asked in vain keeps nothing held.
    active_at: Monotonic,
    mark: Mark,
    requires: Vec<RequirementId>,
    /// The turn, and its round of planning, from which `requires` was made.
    required_by: Option<(TurnId, u32)>,
    /// Which lease this process held when it took the session.
    lease: u64,
    handles: BTreeMap<Work, AbortHandle>,
    done: (mpsc::Sender<Completion>, mpsc::Receiver<Completion>),
    place: Option<Place>,
    apart: Apart,
    /// What this shell does not have and the turn needs: the session is let go for another to take.
    lacks: Option<String>,
    /// What is measured of the turn, where its budgets ask for it.
    stopwatch: Option<Box<Stopwatch>>,
}

impl PlanExecutor {
    pub(crate) fn new(
        core: Arc<Core>,
        (handle, manager): (Arc<SessionHandle>, TurnManager),
        entry: SessionEntry,
        state: Folded,
        writer: SessionWriter,
        inbox: Inbox,
        budget: SessionBudget,
    ) -> Self {
        let live = Live { durable: state.seq, ..Live::default() };
        let active_at = core.clock.monotonic();
        // Room for every act and probe that runs; one more waits with its completion, and holds up nobody.
        let done = mpsc::channel(2 * core.limits.parallel_steps + 2);
        Self {
            lease: core.lease.generation(),
            mark: entry.mark,
            requires: entry.requires.clone(),
            required_by: None,
            core,
            handle,
            manager,
            entry,
            state,
            live,
            writer,
            inbox,
            pending: Vec::new(),
            pending_bytes: 0,
            consumed: Vec::new(),
            parcels: Vec::new(),
            spent: Vec::new(),
            budget,
            purse: None,
            reports: Reports::default(),
            letters_read: 0,
            heard: Timestamp::default(),
            urgent: false,
            riding_since: None,
            active_at,
            handles: BTreeMap::new(),
            done,
            place: None,
            apart: Apart::default(),
            lacks: None,
            stopwatch: None,
        }
    }

    /// Drives the session until it is let go.
    ///
    /// # Errors
    /// What ended it otherwise: `Fenced`, `Poisoned`, `Corrupt`, or the shell's own stop.
    pub(crate) async fn run(&mut self) -> Result<()> {
        self.handle.set_driven(true);
        let mut stop = self.core.stop.watch();
        let mut timer = Timer::default();
        loop {
            let stopping = *stop.borrow_and_update();
            let mut can_read = true;
            match stopping {
                Stopping::No => {
                    can_read = self.take_mail().await?;
                    if can_read {
                        self.settle().await?;
                    }
                    if self.state.purged {
                        return Ok(());
                    }
                }
                Stopping::Draining if self.handles.is_empty() => return self.leave().await,
                Stopping::Draining if self.urgent || self.rides_too_long() => self.flush().await?,
                Stopping::Draining => {}
                _ => return Err(Error::new(ErrorKind::ShuttingDown, "the shell has stopped")),
            }
            let has_input = self.state.turn.is_none() && self.inbox.may_have_input();
            if stopping == Stopping::No && can_read && (has_input || self.inbox.may_have_control()) {
                continue;
            }
            let sleep = if stopping == Stopping::No && can_read { self.sleep_for() } else { DRAINING };
            tokio::select! {
                biased;
                completion = self.done.1.recv() => self.complete(completion)?,
                () = self.handle.woken() => {}
                _ = stop.changed() => {}
                () = timer.sleep(&self.core, sleep) => {
                    if self.rides_too_long() {
                        self.urgent = true;
                    } else if self.may_go() && self.core.registry.remove(self.entry.id, &self.handle, false) {
                        return self.leave().await;
                    }
                }
            }
        }
    }

    /// Folds, records and commands until nothing more is owed, and all that is urgent is durable.
    async fn settle(&mut self) -> Result<()> {
        loop {
            self.watch();
            // What an attempt has spent is settled before another one reserves: what stays set aside for it could be refused to
            // that one.
            if !self.spent.is_empty() {
                self.flush().await?;
            }
            self.keep_apart();
            let owed = owed(&self.state, &self.live, &self.env());
            if !owed.records.is_empty() {
                self.urgent = true;
                self.take_and_send(owed.records, Pseudonym::RUNTIME).await?;
                continue;
            }
            let mut again = false;
            for command in owed.commands {
                again |= self.obey(command)?;
                if self.is_heavy() {
                    self.flush().await?;
                }
            }
            if again {
                // A step whose intent is among the new records begins only once they are durable.
                self.urgent = true;
                continue;
            }
            if !self.urgent && !self.is_heavy() {
                break;
            }
            self.flush().await?;
        }
        if self.mark.status != SessionStatus::Running {
            (self.place, self.apart) = (None, Apart::default());
        }
        match self.lacks.take() {
            Some(lacking) => Err(Error::new(ErrorKind::Unsupported, lacking)),
            None => Ok(()),
        }
    }

    /// Takes records one by one, and appends what has become too much to wait.
    async fn take_and_send(&mut self, records: Vec<Body>, actor: Pseudonym) -> Result<()> {
        for record in records {
            self.take(vec![record], actor)?;
            if self.is_heavy() {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Takes records into the state. From here on they are on their way to the journal.
    fn take(&mut self, records: Vec<Body>, actor: Pseudonym) -> Result<()> {
        if !records.is_empty() {
            self.active_at = self.core.clock.monotonic();
        }
        for body in records {
            let is_of_turn = body.turn().is_some();
            if is_of_turn {
                self.tell_late()?;
            }
            self.take_one(body, actor)?;
            if is_of_turn {
                self.tell_late()?;
            }
        }
        Ok(())
    }

    fn take_one(&mut self, body: Body, actor: Pseudonym) -> Result<()> {
        let (seq, time) = (self.state.seq.next(), self.core.clock.now());
        let actor = self.state.asker_of(&body).unwrap_or(actor);
        let entry = Entry { seq, epoch: self.entry.epoch, time, actor, body };
        let parcels = parcels(&self.state, &entry.body);
        fold(&mut self.state, &entry).map_err(|error| super::reader::corrupt(error.to_string()))?;
        self.note(&entry);
        self.warn(&entry.body);
        if matches!(entry.body, Body::TurnEnded { .. } | Body::SessionPurged { .. }) {
            self.handles.values().for_each(AbortHandle::abort);
            self.handles.clear();
            self.live = Live { durable: self.live.durable, ..Live::default() };
            self.reports = Reports::default();
        }
        self.parcels.extend(parcels);
        self.pending_bytes += weight(&entry);
        self.pending.push(entry);
        Ok(())
    }

    /// Appends what is pending before the session is let go, and what no record has told yet.
    async fn leave(&mut self) -> Result<()> {
        self.tell_late()?;
        self.flush().await
    }

    /// Appends what is pending. What is shown to others is shown after.
    async fn flush(&mut self) -> Result<()> {
        self.urgent = false;
        self.riding_since = None;
        if self.pending.is_empty() {
            return Ok(());
        }
        let entries = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let ended = ends(&entries);
        let running = self.turn().map(|turn| turn.id);
        let news = News::of(self.entry.id, running, &entries);
        let intends = entries.iter().any(|entry| matches!(entry.body, Body::StepStarted { .. }));
        let mark = status(&self.state, &self.live);
        let required_by = self.state.turn.as_ref().map(|turn| (turn.id, turn.round));
        // Only a round of planning changes what the turn requires.
        let changed = required_by.is_none() || required_by != self.required_by;
        let requires = changed.then(|| self.core.required_by(&self.state));
        let requires = requires.filter(|requires| *requires != self.requires);
        let spent = std::mem::take(&mut self.spent);
        let beside = Beside {
            consume_mail: std::mem::take(&mut self.consumed),
            requires: requires.clone(),
            mark: (mark != self.mark).then_some(mark),
            settle: spent.iter().map(|spent| spent.settlement.clone()).collect(),
            parcels: std::mem::take(&mut self.parcels),
        };
        let receivers: BTreeSet<SessionId> = beside.parcels.iter().map(|parcel| parcel.to).collect();
        self.letters_read += beside.consume_mail.len() as u64;
        self.append_begins();
        self.writer.append(entries, beside, Some(&self.state)).await.map_err(Error::from)?;
        self.append_ends();
        self.live.durable = self.writer.head().seq;
        self.mark = mark;
        self.required_by = required_by;
        self.requires = requires.unwrap_or_else(|| std::mem::take(&mut self.requires));
        spent.iter().for_each(Spent::alarm);
        if intends {
            reach!(IntentDurable);
        }
        receivers.into_iter().for_each(|session| self.manager.attend(session));
        self.core.live.durable(self.live.durable, news);
        self.show(ended);
        Ok(())
    }

    fn env(&self) -> Env<'_> {
        Env {
            epoch: self.entry.epoch,
            now: self.core.clock.now(),
            heard: self.heard,
            limits: &self.core.limits,
            random: self.core.entropy.below(u64::MAX),
            guards: self.core.guards.places(),
            latency: self.core.latency.as_deref(),
        }
    }
}
