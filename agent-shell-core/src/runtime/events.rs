//! Events: what a session tells others, written into the outbox by the append that makes it so.
//!
//! Only what happens to turns and to their rests becomes an event, and what took longer than its latency budget, so that
//! a step costs nothing. No event holds a text
//! of a user: it names a turn and the place of a record, which who may read the journal can look up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use super::core::Core;
use super::keyring::SessionKeys;
use super::session::NameAndSubject;
use crate::data::{Body, Envelope, FailureCode, Outcome, Resolution, WaitFor, is_undo};
use crate::machine::{Entry, Folded, Phase};
use crate::ports::{Bus, Outgoing, SessionEntry};
use crate::words::{OutgoingId, Result, Seq, SessionId, StepId, Tenant, Timestamp, TopicName, TurnId};

/// The topic of what the runtime tells.
pub(crate) const TOPIC: &str = "agent-shell.events";

/// What the parts of a shell share that has to do with events.
pub(crate) struct Events {
    pub(crate) source: String,
    pub(crate) topic: TopicName,
    pub(crate) bus: Option<Arc<dyn Bus>>,
    /// Appends of this process that brought envelopes.
    written: AtomicU64,
    /// The number of those after which the bus was last seen to have everything.
    published: AtomicU64,
    wake: Notify,
    /// Whether this process is the one that publishes.
    publishing: watch::Sender<bool>,
}

impl Events {
    pub(crate) fn new(source: String, topic: TopicName, bus: Option<Arc<dyn Bus>>) -> Self {
        let (written, published) = (AtomicU64::new(0), AtomicU64::new(0));
        Self {
            source,
            topic,
            bus,
            written,
            published,
            wake: Notify::new(),
            publishing: watch::Sender::new(false),
        }
    }

    /// Envelopes are durable in the outbox.
    pub(crate) fn were_written(&self) {
        self.written.fetch_add(1, Ordering::AcqRel);
        self.wake.notify_one();
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// The bus has what was written up to here.
    pub(crate) fn were_published(&self, written: u64) {
        self.published.fetch_max(written, Ordering::AcqRel);
    }

    /// Whether there is nothing that this process should still publish.
    pub(crate) fn are_published(&self) -> bool {
        !*self.publishing.borrow() || self.published.load(Ordering::Acquire) >= self.written()
    }

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(crate) fn publishes(&self, publishing: bool) {
        self.publishing.send_if_modified(|before| std::mem::replace(before, publishing) != publishing);
    }

    /// Returns when this process is, or is not, the one that publishes.
    pub(crate) async fn until_publishing(&self, wanted: bool) {
        let mut watch = self.publishing.subscribe();
        // The sender lives in `self`, so the wait can't fail.
        let _ = watch.wait_for(|publishing| *publishing == wanted).await;
    }
}

/// Makes the envelopes of one session, under one owner.
pub(crate) struct Emitter {
    events: Arc<Events>,
    keys: SessionKeys,
    tenant: Tenant,
    session: SessionId,
    subject: Option<String>,
    sequence: u64,
    /// The rests that are open, each with the event that told of it.
    open: BTreeMap<StepId, OutgoingId>,
    /// The latest attempt of each optimistic step of the turn that was outdated: such a step may ask for approval again.
    outdated: BTreeMap<StepId, u32>,
}

impl Emitter {
    /// For a session that was just claimed and folded; none when the shell tells of nothing.
    pub(crate) async fn begin(
        core: &Core,
        entry: &SessionEntry,
        keys: &SessionKeys,
        state: &Folded,
    ) -> Result<Option<Self>> {
        let Some(events) = core.events.clone() else { return Ok(None) };
        let NameAndSubject { subject, .. } = NameAndSubject::open(keys, entry)?;
        let mut emitter = Self {
            events,
            keys: keys.clone(),
            tenant: entry.tenant.clone(),
            session: entry.id,
            subject: core.keyring.subject_pseudonym(&entry.tenant, &subject).await?,
            sequence: entry.sequence,
            open: BTreeMap::new(),
            outdated: BTreeMap::new(),
        };
        for step in state.turn.iter().flat_map(|turn| turn.active.iter().map(|&place| &turn.steps[place])) {
            let turn = state.turn.as_ref().map(|turn| turn.id).unwrap_or(TurnId::from_bytes([0; 16]));
            let id = match &step.phase {
                Phase::Waiting(WaitFor::Approval { .. }) | Phase::Parked { .. } if step.undoes.is_some() => {
                    emitter.id_of_undo(turn, &step.step.id, step.rested)
                }
                Phase::Waiting(WaitFor::Approval { .. }) => {
                    emitter.id_of_rest(turn, &step.step.id, step.attempt)
                }
                Phase::InDoubt { .. } => emitter.id_of_rest(turn, &step.step.id, step.attempt),
                _ => continue,
            };
            emitter.open.insert(step.step.id.clone(), id);
        }
        let steps = state.turn.iter().flat_map(|turn| &turn.steps);
        let outdated = steps.filter(|step| step.step.optimistic && step.attempt > 0);
        emitter.outdated = outdated.map(|step| (step.step.id.clone(), step.attempt)).collect();
        Ok(Some(emitter))
    }

    /// The rows that tell of these entries. Their sequences are used up: an owner that does not get them into the
    /// journal has lost the session.
    pub(crate) fn tell(&mut self, entries: &[Entry]) -> Vec<Outgoing> {
        let mut rows = Vec::new();
        for entry in entries {
            self.tell_entry(entry, &mut rows);
        }
        rows
    }

    /// To be called when the append that brought rows is durable.
    pub(crate) fn were_written(&self) {
        self.events.were_written();
    }

    fn tell_entry(&mut self, entry: &Entry, rows: &mut Vec<Outgoing>) {
        let record = entry.seq.number();
        match &entry.body {
            Body::TurnStarted { turn, .. } => {
                let id = self.id(*turn, &[b"turn-started"]);
                rows.push(self.row(
                    entry.time,
                    *turn,
                    id,
                    Envelope::TURN_STARTED,
                    None,
                    json!({ "record": record }),
                ));
            }
            Body::WaitOpened { turn, step, wait: WaitFor::Approval { .. } } => {
                let id = match is_undo(step) {
                    true => self.id_of_undo(*turn, step, entry.seq),
                    false => self.id_of_rest(*turn, step, self.outdated.get(step).copied().unwrap_or(0)),
                };
                self.rest_opened(entry, *turn, step, (id, "approval"), rows);
            }
            Body::StepInDoubt { turn, step, attempt, .. } => {
                let id = self.id_of_rest(*turn, step, *attempt);
                self.rest_opened(entry, *turn, step, (id, "resolution"), rows);
            }
            Body::UndoParked { turn, step, .. } => {
                self.rest_ended(entry, *turn, step, "failed", rows);
                let id = self.id_of_undo(*turn, step, entry.seq);
                self.rest_opened(entry, *turn, step, (id, "undo"), rows);
            }
            Body::StepOutdated { step, attempt, .. } => drop(self.outdated.insert(step.clone(), *attempt)),
            Body::WaitEnded { turn, step, .. } => self.rest_ended(entry, *turn, step, "approved", rows),
            Body::StepSucceeded { turn, step, .. } => self.rest_ended(entry, *turn, step, "succeeded", rows),
            Body::StepFailed { turn, step, failure, .. } => {
                let how = match failure.code {
                    FailureCode::Denied => "denied",
                    FailureCode::Expired => "expired",
                    _ => "failed",
                };
                self.rest_ended(entry, *turn, step, how, rows);
            }
            Body::StepResolved { turn, step, resolution, .. } => {
                let how = match resolution {
                    Resolution::Applied(_) => "applied",
                    Resolution::Retry => "retried",
                    Resolution::GiveUp => "given_up",
                };
                self.rest_ended(entry, *turn, step, how, rows);
            }
            Body::LatencyBreached { turn, step, stage, budget_ms, took_ms } => {
                let of_step = step.as_ref().map_or(&[][..], |step| step.as_str().as_bytes());
                let id = self.id(*turn, &[b"latency-breached", stage.name().as_bytes(), of_step]);
                let cause = self.id(*turn, &[b"turn-started"]);
                let data = json!({
                    "record": record, "stage": stage, "budget_ms": budget_ms, "took_ms": took_ms,
                });
                rows.push(self.row(entry.time, *turn, id, Envelope::LATENCY_BREACHED, Some(cause), data));
            }
            Body::TurnEnded { turn, outcome, joined, .. } => {
                self.ended(entry, *turn, outcome, rows);
                for joined in joined {
                    self.turn_ended(entry, *joined, None, outcome, rows);
                }
            }
            Body::SessionPurged { turn: Some(turn), .. } => self.ended(entry, *turn, &Outcome::Purged, rows),
            Body::MailRefused { turn: Some(turn), .. } | Body::TurnWithdrawn { turn, .. } => {
                if let Some(outcome) = Outcome::recorded(&entry.body) {
                    self.turn_ended(entry, *turn, None, &outcome, rows);
                }
            }
            _ => {}
        }
    }

    fn rest_opened(
        &mut self,
        entry: &Entry,
        turn: TurnId,
        step: &StepId,
        (id, needs): (OutgoingId, &str),
        rows: &mut Vec<Outgoing>,
    ) {
        let cause = self.id(turn, &[b"turn-started"]);
        let data = json!({ "record": entry.seq.number(), "needs": needs });
        rows.push(self.row(entry.time, turn, id, Envelope::REST_OPENED, Some(cause), data));
        self.open.insert(step.clone(), id);
    }

    /// Tells that a rest is over, if the step rested.
    fn rest_ended(
        &mut self,
        entry: &Entry,
        turn: TurnId,
        step: &StepId,
        how: &str,
        rows: &mut Vec<Outgoing>,
    ) {
        let Some(opened) = self.open.remove(step) else { return };
        let id = self.id(turn, &[b"rest-ended", &opened.to_bytes()]);
        let data = json!({ "record": entry.seq.number(), "how": how });
        rows.push(self.row(entry.time, turn, id, Envelope::REST_ENDED, Some(opened), data));
    }

    /// Tells that a turn has ended that had started, and with it what rested.
    fn ended(&mut self, entry: &Entry, turn: TurnId, outcome: &Outcome, rows: &mut Vec<Outgoing>) {
        for step in self.open.keys().cloned().collect::<Vec<_>>() {
            self.rest_ended(entry, turn, &step, "turn_ended", rows);
        }
        self.outdated.clear();
        let cause = self.id(turn, &[b"turn-started"]);
        self.turn_ended(entry, turn, Some(cause), outcome, rows);
    }

    fn turn_ended(
        &mut self,
        entry: &Entry,
        turn: TurnId,
        cause: Option<OutgoingId>,
        outcome: &Outcome,
        rows: &mut Vec<Outgoing>,
    ) {
        let (name, code) = match outcome {
            Outcome::Answered(_) => ("answered", None),
            Outcome::Failed(failure) => ("failed", Some(failure.code)),
            Outcome::Cancelled => ("cancelled", None),
            Outcome::Expired => ("expired", None),
            Outcome::Abandoned { .. } => ("abandoned", None),
            Outcome::Purged => ("purged", None),
        };
        let mut data = json!({ "record": entry.seq.number(), "outcome": name });
        if let Some(code) = code {
            data["code"] = json!(code);
        }
        let id = self.id(turn, &[b"turn-ended"]);
        rows.push(self.row(entry.time, turn, id, Envelope::TURN_ENDED, cause, data));
    }

    fn row(
        &mut self,
        time: Timestamp,
        turn: TurnId,
        id: OutgoingId,
        event_type: &str,
        cause: Option<OutgoingId>,
        mut data: Value,
    ) -> Outgoing {
        self.sequence += 1;
        data["turn"] = json!(turn);
        let of = (self.tenant.clone(), self.session, self.sequence);
        let mut envelope = Envelope::new(id, self.events.source.as_str(), event_type, time, of, data);
        envelope.subject = self.subject.clone();
        envelope.causation = cause.map(|cause| cause.to_string());
        envelope.correlation = Some(turn.to_string());
        Outgoing {
            id,
            sequence: self.sequence,
            topic: self.events.topic.to_string(),
            written: time,
            envelope: serde_json::to_vec(&envelope)
                .expect("an envelope has string keys and whole numbers only"),
        }
    }

    fn id_of_rest(&self, turn: TurnId, step: &StepId, attempt: u32) -> OutgoingId {
        self.id(turn, &[b"rest-opened", step.as_str().as_bytes(), &attempt.to_be_bytes()])
    }

    /// What undoes another step may wait and rest more than once without an attempt in between.
    fn id_of_undo(&self, turn: TurnId, step: &StepId, opened: Seq) -> OutgoingId {
        self.id(turn, &[b"undo-rests", step.as_str().as_bytes(), &opened.number().to_be_bytes()])
    }

    /// The id of an event follows from what it tells, so that whoever takes the session over can name it as a cause.
    /// Its time is that of the turn's id; the rest is a keyed digest, which gives no name of a step away.
    fn id(&self, turn: TurnId, parts: &[&[u8]]) -> OutgoingId {
        let (of_session, of_turn) = (self.session.to_bytes(), turn.to_bytes());
        let all: Vec<&[u8]> =
            [&of_session[..], &of_turn[..]].into_iter().chain(parts.iter().copied()).collect();
        let digest = self.keys.event_digest(&all);
        let mut id = of_turn;
        id[6..].copy_from_slice(&digest.as_bytes()[..10]);
        OutgoingId::from_bytes(id)
    }
}
