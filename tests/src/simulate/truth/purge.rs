//! What is true of purges: who was asked to be forgotten, and what may still be there of them.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use agent_shell_core::backends::volatile::VolatileKeys;
use agent_shell_core::data::{Body, DataKey, KeyId, OpenAct};
use agent_shell_core::machine::Entry;
use agent_shell_core::ports::{KeyError, KeyStore};
use agent_shell_core::runtime::PurgeReceipt;
use agent_shell_core::words::{Digest, SessionId, StepId, Tenant, TurnId};

use super::mirror::Mirror;
use super::{Facts, Truth};
use crate::crash::scenario::TurnKey;
use crate::random::Random;
use crate::simulate::coverage::{Coverage, WorldFault};
use crate::simulate::rule::Rule;
use crate::simulate::settings::Settings;

/// The user of a tenant whose sessions are purged, if they are.
pub(in crate::simulate) const USER: &str = "forgotten";

/// A subject: the user of this tenant.
pub(in crate::simulate) type SubjectOf = u64;

/// The name of a tenant.
pub(in crate::simulate) fn tenant_name(tenant: u64) -> String {
    format!("tenant-{tenant}")
}

/// A subject that is to be forgotten.
pub(super) struct Forgotten {
    due: Duration,
    /// Whether anybody has asked for it.
    begun: bool,
    /// When it was first answered that its keys are destroyed.
    answered: Option<Duration>,
    /// Whether all its sessions were closed by then.
    complete: bool,
}

pub(super) fn draw(settings: &Settings) -> BTreeMap<SubjectOf, Forgotten> {
    let mut random = Random::of(&[settings.seed, 0xf09e]);
    let mut forgotten = BTreeMap::new();
    for tenant in 0..2 {
        let has_sessions = (0..settings.sessions).any(|session| settings.subject(session) == Some(tenant));
        let due = Duration::from_millis(random.below(settings.storm.as_millis() as u64 * 5 / 4));
        if random.percent(60) && has_sessions {
            let _ =
                forgotten.insert(tenant, Forgotten { due, begun: false, answered: None, complete: false });
        }
    }
    forgotten
}

/// A key, from a key store in memory, which answers in the first poll.
pub(super) fn fetch(keys: &VolatileKeys, id: KeyId) -> Result<DataKey, KeyError> {
    match pin!(keys.fetch(id)).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => Err(KeyError::Unavailable { detail: "it waits".into() }),
    }
}

fn tenant_key(keys: &VolatileKeys, tenant: &str) -> Option<DataKey> {
    fetch(keys, KeyId(Digest::of([b"agent-shell/tenant-key/1\0", tenant.as_bytes()].concat()))).ok()
}

/// The key of a subject's data.
pub(super) fn subject_key(keys: &VolatileKeys, tenant: u64) -> Option<KeyId> {
    let key = tenant_key(keys, &tenant_name(tenant))?;
    Some(KeyId(key.digest("subject-key", &[USER.as_bytes()])))
}

/// The key of what a tenant has that belongs to nobody.
pub(super) fn data_key(keys: &VolatileKeys, tenant: &Tenant) -> Option<DataKey> {
    let key = tenant_key(keys, tenant.as_str())?;
    fetch(keys, KeyId(key.digest("tenant-data-key", &[]))).ok()
}

/// A purge that somebody waits for. When this is dropped unanswered, its process has died.
pub(in crate::simulate) struct Purging {
    truth: Truth,
    pub(in crate::simulate) asked: Duration,
    is_answered: bool,
}

impl Purging {
    pub(in crate::simulate) fn was_answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Purging {
    fn drop(&mut self) {
        if !self.is_answered {
            self.truth.count(WorldFault::PurgeDied);
        }
    }
}

impl Facts {
    fn forgotten(&self, subject: Option<SubjectOf>) -> Option<&Forgotten> {
        self.forgotten.get(&subject?)
    }

    fn subject_of(&self, session: SessionId) -> Option<SubjectOf> {
        self.sessions.get(&session)?.subject
    }

    /// Whether a subject was forgotten before this instant, as somebody was told.
    fn was_forgotten(&self, subject: Option<SubjectOf>, before: Duration) -> bool {
        self.forgotten(subject).and_then(|of| of.answered).is_some_and(|at| at < before)
    }

    /// Whether it was asked to forget the subject of a turn.
    pub(super) fn is_being_forgotten(&self, settings: &Settings, key: TurnKey) -> bool {
        self.forgotten(settings.subject(key.session)).is_some_and(|of| of.begun)
    }

    /// Whether nothing more will come of a turn: its subject is forgotten, and it is in no session that is open.
    pub(super) fn is_gone(&self, settings: &Settings, key: TurnKey, turn: Option<TurnId>) -> bool {
        let is_forgotten = self.forgotten(settings.subject(key.session)).is_some_and(|of| of.complete);
        is_forgotten && turn.is_none_or(|turn| self.is_purged(turn))
    }

    /// Whether the session of a turn was purged.
    fn is_purged(&self, turn: TurnId) -> bool {
        let session = self.posted.get(&turn).and_then(|session| self.sessions.get(session));
        session.is_some_and(|mirror| mirror.state.purged)
    }

    pub(super) fn is_purge_shown_rightly(&self, turn: TurnId) -> bool {
        let ended = self.turns.get(&turn).and_then(|turn| turn.outcome.as_ref());
        self.is_purged(turn) && ended.is_none_or(|outcome| *outcome == agent_shell_core::Outcome::Purged)
    }

    pub(super) fn are_purges_done(&self) -> bool {
        self.forgotten.values().all(|of| of.complete)
    }

    pub(super) fn check_forgotten(&self, keys: &VolatileKeys, found: &mut Vec<(Rule, String)>) {
        for (id, mirror) in &self.sessions {
            let of = self.forgotten(mirror.subject);
            let key = fetch(keys, mirror.key);
            let problem = match of {
                Some(of) if of.complete && !matches!(key, Err(KeyError::Destroyed)) => "its key is there",
                Some(_) => continue,
                None if mirror.state.purged => "it was purged, and its subject was not",
                None if key.is_err() => "its key is gone, and its subject was not purged",
                None => continue,
            };
            found.push((Rule::Purge, format!("session {id}: {problem}")));
        }
        for (tenant, of) in self.forgotten.iter().filter(|(_, of)| !of.complete) {
            found.push((
                Rule::Stuck,
                format!("the purge in tenant {tenant} did not end, begun: {}", of.begun),
            ));
        }
    }
}

/// The record of a purge: somebody has asked for it, and it tells of what was open.
pub(super) fn check_purge(
    mirror: &Mirror,
    entry: &Entry,
    forgotten: Option<&Forgotten>,
    coverage: &mut Coverage,
) -> Option<String> {
    let Body::SessionPurged { turn, open } = &entry.body else { return None };
    if !forgotten.is_some_and(|of| of.begun) {
        return Some("it is purged, and nobody has asked for that".into());
    }
    let running = mirror.state.turn.as_ref();
    let fault = match (open, running) {
        (None, _) => WorldFault::PurgedUnread,
        (Some(_), Some(_)) => WorldFault::PurgedRunning,
        (Some(_), None) => WorldFault::PurgedQuiet,
    };
    coverage.count(fault);
    let Some(open) = open else {
        let is_gone = matches!(fetch(&mirror.keys, mirror.key), Err(KeyError::Destroyed));
        return (!is_gone).then(|| "its purge does not say what was open, and its key is there".into());
    };
    if *turn != running.map(|turn| turn.id) {
        return Some(format!("its purge ends turn {turn:?}, and {:?} runs", running.map(|turn| turn.id)));
    }
    let expected = open_acts(mirror);
    let mut said: Vec<_> = open.iter().map(|act: &OpenAct| (act.key.clone(), act.attempt)).collect();
    said.sort();
    (said != expected).then(|| format!("its purge says that {said:?} are open, and {expected:?} are"))
}

/// The acts of a running turn that may have taken effect, as its records say: key and latest attempt.
fn open_acts(mirror: &Mirror) -> Vec<(String, u32)> {
    /// What is known of a step: whether its latest attempt is open, and whether an earlier one may have been applied.
    #[derive(Default)]
    struct Known {
        key: String,
        attempt: u32,
        open: bool,
        unknown: BTreeSet<u32>,
    }

    let Some(turn) = &mirror.state.turn else { return Vec::new() };
    let mut steps: BTreeMap<StepId, Known> = BTreeMap::new();
    for entry in mirror.entries.iter().filter(|entry| entry.body.turn() == Some(turn.id)) {
        let Some(step) = entry.body.step() else { continue };
        let known = steps.entry(step.clone()).or_default();
        match &entry.body {
            Body::StepStarted { key, attempt, .. } => {
                // An attempt whose end nobody recorded may have been applied.
                if known.open {
                    known.unknown.insert(known.attempt);
                }
                (known.key, known.attempt, known.open) = (key.clone(), *attempt, true);
            }
            Body::AttemptFailed { attempt, not_applied, .. } => {
                // A probe may have said so later of an attempt that was unknown.
                match not_applied {
                    true => drop(known.unknown.remove(attempt)),
                    false => drop(known.unknown.insert(*attempt)),
                }
                known.open = false;
            }
            Body::StepInDoubt { .. } => known.open = true,
            Body::StepReturned { .. }
            | Body::StepSucceeded { .. }
            | Body::StepFailed { .. }
            | Body::StepResolved { .. }
            | Body::UndoParked { .. } => {
                (known.open, known.unknown) = (false, BTreeSet::new());
            }
            _ => {}
        }
    }
    let mut open: Vec<_> = steps
        .into_iter()
        // What is `Pure` bears no key.
        .filter(|(_, known)| !known.key.is_empty() && (known.open || !known.unknown.is_empty()))
        .map(|(_, known)| (known.key, known.attempt))
        .collect();
    open.sort();
    open
}

impl Truth {
    /// A turn was posted.
    pub(in crate::simulate) fn posted(&self, turn: TurnId, session: SessionId) {
        let _ = self.facts().posted.insert(turn, session);
    }

    /// Whether anybody has asked for a purge.
    pub(in crate::simulate) fn is_anybody_forgotten(&self) -> bool {
        self.facts().forgotten.values().any(|of| of.begun)
    }

    /// The subjects that are to be forgotten by now, and whether they are.
    pub(in crate::simulate) fn to_forget(&self) -> Vec<(SubjectOf, bool)> {
        let (now, is_calm) = (self.now(), self.is_calm());
        let facts = self.facts();
        let due = facts.forgotten.iter().filter(|(_, of)| of.due <= now || is_calm);
        due.map(|(subject, of)| (*subject, of.complete)).collect()
    }

    /// Somebody asks to forget a subject.
    pub(in crate::simulate) fn forgetting(&self, subject: SubjectOf) -> Purging {
        let mut facts = self.facts();
        let again =
            facts.forgotten.get_mut(&subject).is_some_and(|of| std::mem::replace(&mut of.begun, true));
        if again {
            facts.coverage.count(WorldFault::PurgeRepeated);
        }
        drop(facts);
        self.tell(|| format!("a purge in tenant {subject} is asked for"));
        Purging { truth: self.clone(), asked: self.now(), is_answered: false }
    }

    /// A purge was answered.
    pub(in crate::simulate) fn forgot(&self, subject: SubjectOf, asked: Duration, receipt: &PurgeReceipt) {
        let now = self.now();
        self.tell(|| format!("the purge in tenant {subject} is answered: {receipt:?}"));
        let keys = &self.shared.keys;
        let mut found = Vec::new();
        let mut facts = self.facts();
        let key = subject_key(keys, subject).map(|key| fetch(keys, key));
        if !matches!(key, Some(Err(KeyError::Destroyed))) {
            found.push("its receipt says that the key was destroyed".to_owned());
        }
        for purged in &receipt.sessions {
            let mirror = facts.sessions.get(&purged.session).filter(|mirror| mirror.subject == Some(subject));
            let last = mirror.and_then(|mirror| Some((mirror.entries.last()?, mirror.head)));
            let is_right = last.is_some_and(|(last, head)| {
                let Body::SessionPurged { turn, open } = &last.body else { return false };
                (turn, open, last.actor, last.time, head)
                    == (&purged.turn, &purged.open, purged.actor, purged.closed, purged.head)
            });
            if !is_right {
                found.push(format!("{purged:?} is not what the records say: {last:?}"));
            }
        }
        let of_subject = facts.sessions.iter().filter(|(_, mirror)| mirror.subject == Some(subject));
        let listed = |id: &SessionId| {
            receipt.unfinished.contains(id) || receipt.sessions.iter().any(|purged| purged.session == *id)
        };
        for (id, _) in of_subject.filter(|(id, mirror)| mirror.opened < asked && !listed(id)) {
            found.push(format!("session {id} is missing in its receipt"));
        }
        for id in receipt.unfinished.iter().filter(|id| facts.subject_of(**id) != Some(subject)) {
            found.push(format!("session {id} is another subject's"));
        }
        if !receipt.unfinished.is_empty() {
            facts.coverage.count(WorldFault::PurgeUnfinished);
        }
        if let Some(of) = facts.forgotten.get_mut(&subject) {
            of.answered = of.answered.or(Some(now));
            of.complete |= receipt.unfinished.is_empty();
        }
        drop(facts);
        found
            .into_iter()
            .for_each(|what| self.say(Rule::Purge, format!("the purge in tenant {subject}: {what}")));
    }

    /// Something was shown of a session, or taken for it, that was asked for at this time: not when its subject had been
    /// forgotten before.
    pub(in crate::simulate) fn check_not_forgotten(
        &self,
        subject: Option<SubjectOf>,
        asked: Duration,
        what: impl FnOnce() -> String,
    ) {
        if self.facts().was_forgotten(subject, asked) {
            self.say(Rule::Purge, format!("{}, and its subject had been forgotten", what()));
        }
    }

    /// The subject of a turn.
    pub(in crate::simulate) fn subject_of_turn(&self, turn: TurnId) -> Option<SubjectOf> {
        let facts = self.facts();
        facts.subject_of(*facts.posted.get(&turn)?)
    }

    /// The subject of a session.
    pub(in crate::simulate) fn subject_of_session(&self, session: SessionId) -> Option<SubjectOf> {
        self.facts().subject_of(session)
    }
}
