//! What is true in a run, whatever any process believes: what is in the store, what happened in the world, and what hosts
//! were told. Every event is checked here in the moment in which it happens.

mod asked;
mod begun;
mod book;
mod budget;
mod children;
mod end;
mod events;
mod follow;
mod guard;
mod heed;
mod mirror;
mod purge;
mod records;
mod shapes;
mod steer;
mod talk;
mod undo;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_shell_core::Outcome;
use agent_shell_core::backends::volatile::VolatileKeys;
use agent_shell_core::machine::Folded;
use agent_shell_core::ports::{Append, AppendError, Appended, SessionEntry, Spawn};
use agent_shell_core::runtime::Observer;
use agent_shell_core::simulation::{SeededEntropy, SimClock, SimTime};
use agent_shell_core::words::{Entropy, Epoch, OwnerId, Pseudonym, SessionId, StepId, Timestamp, TurnId};

use self::book::Known;
use self::budget::BudgetBook;
use self::children::{Child, Owed};
use self::events::EventFacts;
use self::follow::FollowBook;
use self::guard::GuardBook;
use self::mirror::Mirror;
use self::purge::Forgotten;
use self::world::Target;
use super::bugs::Bug;
use super::coverage::{Coverage, WorldFault};
use super::rule::{Breach, Rule};
use super::settings::Settings;
use crate::crash::scenario::TurnKey;

pub(super) use self::asked::Mishap;
pub(super) use self::budget::Asked;
pub(super) use self::events::LifeId;
pub(super) use self::follow::Watching;
pub(super) use self::purge::{SubjectOf, USER, tenant_name};
pub(super) use self::world::{End, Probing, ToolSpec, Verdict};

/// The truth of one run. Clones are the same.
#[derive(Clone)]
pub(super) struct Truth {
    shared: Arc<Shared>,
}

struct Shared {
    time: SimTime,
    settings: Settings,
    entropy: SeededEntropy,
    keys: Arc<VolatileKeys>,
    /// Spawns what goes on in the world, whoever lives.
    world: Arc<dyn Spawn>,
    facts: Mutex<Facts>,
}

#[derive(Default)]
struct Facts {
    calm: bool,
    breaches: Vec<Breach>,
    /// What happened, when somebody wants to read it.
    trace: Option<Vec<String>>,
    coverage: Coverage,
    sessions: BTreeMap<SessionId, Mirror>,
    /// Until when each owner's lease lasts.
    leases: BTreeMap<OwnerId, Duration>,
    people: BTreeSet<Pseudonym>,
    /// The step that each idempotency key belongs to.
    keys: BTreeMap<String, (TurnId, StepId)>,
    turns: BTreeMap<TurnId, TurnFacts>,
    started: BTreeMap<TurnKey, TurnId>,
    targets: BTreeMap<(TurnId, StepId), Target>,
    book: BTreeMap<TurnKey, Known>,
    events: EventFacts,
    budgets: BudgetBook,
    follow: FollowBook,
    guards: GuardBook,
    /// The attempts at which compensations were called.
    undoing: BTreeSet<(TurnId, StepId, Epoch, u32)>,
    /// The life of a process that each owner is.
    owners: BTreeMap<OwnerId, LifeId>,
    /// The sessions in which turns were posted.
    posted: BTreeMap<TurnId, SessionId>,
    forgotten: BTreeMap<SubjectOf, Forgotten>,
    heeded: heed::Heeded,
    /// The children that have started, by their turns.
    children: BTreeMap<TurnId, Child>,
    /// The mail that the records of an append owe to parents and children.
    owed: Vec<Owed>,
}

/// What the records say of a turn.
struct TurnFacts {
    key: TurnKey,
    outcome: Option<Outcome>,
    /// Whether it was said to another turn, and has not started.
    waits: bool,
}

impl Truth {
    pub(super) fn new(
        time: SimTime,
        settings: Settings,
        keys: Arc<VolatileKeys>,
        world: Arc<dyn Spawn>,
    ) -> Self {
        let entropy = SeededEntropy::of(&[settings.seed, 0x7247]);
        let facts = Mutex::new(Facts {
            book: book::draw(&settings),
            forgotten: purge::draw(&settings),
            ..Facts::default()
        });
        Self { shared: Arc::new(Shared { time, settings, entropy, keys, world, facts }) }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.shared.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Duration {
        self.shared.time.now()
    }

    /// The wall time of a process whose clock is right.
    fn wall(&self) -> Timestamp {
        SimClock::START.plus(self.now())
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    pub(super) fn count(&self, fault: WorldFault) {
        self.facts().coverage.count(fault);
    }

    pub(super) fn say(&self, rule: Rule, what: impl Into<String>) {
        let breach = Breach::new(rule, self.now(), what.into());
        self.facts().breaches.push(breach);
    }

    /// Keeps what happens from now on, to be read.
    pub(super) fn keep_trace(&self) {
        self.facts().trace = Some(Vec::new());
    }

    /// Keeps a line, if anybody wants to read it.
    pub(super) fn tell(&self, line: impl FnOnce() -> String) {
        let now = self.now();
        if let Some(trace) = &mut self.facts().trace {
            trace.push(format!("{:>12.6} {}", now.as_secs_f64(), line()));
        }
    }

    /// What was kept.
    pub(super) fn trace(&self) -> Vec<String> {
        self.facts().trace.take().unwrap_or_default()
    }

    pub(super) fn is_broken(&self) -> bool {
        !self.facts().breaches.is_empty()
    }

    pub(super) fn take(&self) -> (Vec<Breach>, Coverage) {
        let mut facts = self.facts();
        (std::mem::take(&mut facts.breaches), std::mem::take(&mut facts.coverage))
    }

    /// From now on the world does what it is asked.
    pub(super) fn calm_down(&self) {
        self.facts().calm = true;
    }

    pub(super) fn is_calm(&self) -> bool {
        self.facts().calm
    }

    /// A short while.
    pub(super) async fn pause(&self) {
        let micros = self.shared.entropy.below(5_000);
        self.shared.time.sleep(Duration::from_micros(micros)).await;
    }

    pub(super) fn named(&self, actor: Pseudonym) {
        self.facts().people.insert(actor);
    }

    /// A lease began. An owner whose lease had run out holds nothing any more.
    pub(super) fn enlisted(&self, owner: OwnerId, lasts: Duration) {
        let now = self.now();
        if self.facts().leases.get(&owner).is_none_or(|until| *until <= now) {
            self.resigned(owner);
        }
        self.leased(owner, lasts);
    }

    /// A lease lasts so much longer.
    pub(super) fn leased(&self, owner: OwnerId, lasts: Duration) {
        let until = self.now() + lasts;
        self.facts().leases.insert(owner, until);
    }

    pub(super) fn resigned(&self, owner: OwnerId) {
        let mut facts = self.facts();
        facts.leases.remove(&owner);
        for mirror in facts.sessions.values_mut() {
            mirror.owner.take_if(|of| *of == owner);
        }
    }

    pub(super) fn opened(&self, entry: &SessionEntry) {
        let mut facts = self.facts();
        if facts.sessions.contains_key(&entry.id) {
            return;
        }
        match Mirror::of(entry, &self.shared.keys, self.now()) {
            Some(mirror) => drop(facts.sessions.insert(entry.id, mirror)),
            None => {
                drop(facts);
                self.say(Rule::Trouble, format!("session {}: its key is not there", entry.id));
            }
        }
    }

    /// A claim was committed: the epoch grew, and nobody alive was robbed.
    pub(super) fn claimed(&self, owner: OwnerId, entry: &SessionEntry) {
        let now = self.now();
        let mut facts = self.facts();
        let Facts { sessions, leases, trace: facts_trace, .. } = &mut *facts;
        let Some(mirror) = sessions.get_mut(&entry.id) else { return };
        let line = format!(
            "{:>12.6} claim of {} by {owner} under epoch {}",
            now.as_secs_f64(),
            entry.id,
            entry.epoch
        );
        facts_trace.iter_mut().for_each(|trace| trace.push(line.clone()));
        let mut found = Vec::new();
        if entry.epoch <= mirror.epoch {
            found.push(format!("epoch {} follows {}", entry.epoch, mirror.epoch));
        }
        if let Some(robbed) = mirror.owner.filter(|robbed| *robbed != owner)
            && leases.get(&robbed).is_some_and(|until| *until > now)
        {
            found.push(format!("was taken from {robbed}, whose lease runs"));
        }
        (mirror.owner, mirror.epoch) = (Some(owner), entry.epoch);
        mirror.owners.insert(entry.epoch, owner);
        drop(facts);
        found.into_iter().for_each(|found| self.say(Rule::Epoch, format!("session {}: {found}", entry.id)));
    }

    pub(super) fn released(&self, owner: OwnerId, session: SessionId, epoch: Epoch) {
        if let Some(mirror) = self.facts().sessions.get_mut(&session)
            && mirror.epoch == epoch
        {
            mirror.owner.take_if(|of| *of == owner);
        }
    }

    /// The store answered an append.
    pub(super) fn appended(&self, append: &Append, answer: &Result<Appended, AppendError>) {
        let now = self.now();
        let mut facts = self.facts();
        if facts.trace.is_some() {
            let kinds: Vec<String> = append
                .records
                .iter()
                .map(|record| format!("{} {}", record.header.seq, record.header.kind.as_str()))
                .collect();
            let line = format!(
                "{:>12.6} append {} to {} by {:?}: {kinds:?}: {}",
                now.as_secs_f64(),
                append.id,
                append.session,
                append.fence,
                match answer {
                    Ok(_) => "done".to_owned(),
                    Err(error) => error.to_string(),
                }
            );
            facts.trace.iter_mut().for_each(|trace| trace.push(line.clone()));
        }
        let found = match answer {
            Ok(answer) => facts.take_append(append, answer, self),
            Err(AppendError::Corrupt { detail }) => vec![(Rule::Chain, detail.clone())],
            Err(_) => Vec::new(),
        };
        let at = |(rule, what)| Breach::new(rule, now, format!("session {}: {what}", append.session));
        facts.breaches.extend(found.into_iter().map(at));
    }

    /// Every session's records, one after another, and the events as they were written and given: what two runs of one seed must have alike.
    pub(super) fn journals(&self) -> Vec<u8> {
        let facts = self.facts();
        let records = facts.sessions.values().flat_map(|mirror| mirror.stored.iter().copied());
        records.chain(facts.events.bytes()).collect()
    }

    /// How many records there are.
    pub(super) fn records(&self) -> u64 {
        self.facts().sessions.values().map(|mirror| mirror.entries.len() as u64).sum()
    }
}

/// The truth, as the shell of one life of a process tells it what it holds.
pub(super) struct OfLife {
    pub(super) truth: Truth,
    pub(super) life: LifeId,
}

impl Observer for OfLife {
    fn holds(&self, owner: OwnerId, epoch: Epoch, state: &Folded) {
        self.truth.facts().owners.insert(owner, self.life);
        self.truth.holds(owner, epoch, state);
    }
}

impl Truth {
    fn holds(&self, owner: OwnerId, epoch: Epoch, state: &Folded) {
        // This rule would find the fault first; another one is to find it by itself.
        if self.settings().bug == Some(Bug::IntentAfterAct) {
            return;
        }
        let facts = self.facts();
        let Some(mirror) = facts.sessions.get(&state.session) else { return };
        let problem = if state.seq > mirror.state.seq {
            Some(format!("up to record {}, and durable are {}", state.seq, mirror.state.seq))
        } else if state.seq == mirror.state.seq && *state != mirror.state {
            Some(format!("at record {} {state:?}, and the records fold to {:?}", state.seq, mirror.state))
        } else {
            None
        };
        drop(facts);
        if let Some(problem) = problem {
            self.say(
                Rule::Held,
                format!("owner {owner} holds session {} under epoch {epoch} {problem}", state.session),
            );
        }
    }
}
