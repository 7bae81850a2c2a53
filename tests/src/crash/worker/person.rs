//! The person whom a rest waits for: decides on approvals, and says of a step in doubt what the recorder knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agent_shell_core::data::Body;
use agent_shell_core::words::{StepId, TurnId};
use agent_shell_core::{Actor, ErrorKind, Needs, Resolution, Rest, Result, Shell, Turn};

use super::controls::{now, unavailable};
use super::session::pause;
use super::trouble;
use crate::crash::scenario::{Act, Fate, Scenario, ToolKind, TurnKey, Work, output_of, session_name};
use crate::crash::words::{Assignment, Mode};
use crate::random::Random;
use crate::recorder::{RecorderClient, StepName, Truth};

pub(super) struct Person {
    client: RecorderClient,
    pub(super) seed: u64,
    pub(super) life: u64,
    /// Whether everything is decided now, and nothing left to a later life.
    pub(super) hurried: bool,
    /// Those with whose turns nobody meddles.
    sessions: Vec<u64>,
    /// Whether there are others.
    meddles: bool,
    /// The turns that somebody follows, or that were found in the journal.
    known: Mutex<BTreeMap<TurnId, TurnKey>>,
    /// What this life has decided, with the attempt; 0 for an approval.
    decided: Mutex<BTreeSet<(TurnId, StepId, u32)>>,
    /// Turns that no session started with whose turns nobody meddles.
    beyond: Mutex<BTreeSet<TurnId>>,
}

impl Person {
    pub(super) fn new(assignment: &Assignment, client: RecorderClient) -> Self {
        let open = assignment.sessions.iter().flat_map(|session| &session.open);
        let numbers = assignment.sessions.iter().map(|session| session.session);
        Self {
            known: Mutex::new(open.map(|(key, turn)| (*turn, *key)).collect()),
            sessions: numbers.filter(|session| *session < TurnKey::CONTROLS).collect(),
            meddles: assignment.controls > 0,
            client,
            seed: assignment.seed,
            life: assignment.life,
            hurried: matches!(assignment.mode, Mode::Finish | Mode::Attend { .. }),
            decided: Mutex::default(),
            beyond: Mutex::default(),
        }
    }

    pub(super) fn actor(&self) -> Result<Actor> {
        Ok(Actor::named(format!("operator-{}", self.life))?)
    }

    /// Sees to everything that rests in any session, for so long.
    pub(super) async fn attend(&self, shell: &Shell, how_long: Duration) -> Result<()> {
        let end = Instant::now() + how_long;
        while Instant::now() < end {
            self.see_to_all(shell, |_| true).await?;
            pause(10).await;
        }
        Ok(())
    }

    /// Sees to the turns that nobody follows, because the answer to their submit was lost, until this is dropped.
    pub(super) async fn see_to_strangers(&self, shell: &Shell) {
        let mut strangers = BTreeSet::new();
        loop {
            let followed = self.known().keys().copied().collect::<BTreeSet<_>>();
            let is_stranger = |turn: TurnId| strangers.contains(&turn) || !followed.contains(&turn);
            match self.see_to_all(shell, is_stranger).await {
                Ok(seen) => strangers.extend(seen),
                Err(error) if error.kind() == ErrorKind::ShuttingDown => return,
                Err(error) => trouble(format!("seeing to turns that nobody follows: {error:?}")),
            }
            pause(40).await;
        }
    }

    /// Makes a turn known that somebody follows.
    pub(super) fn follows(&self, key: TurnKey, turn: TurnId) {
        self.known().insert(turn, key);
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<TurnId, TurnKey>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to what rests in the turns among `wanted`. Returns those turns.
    async fn see_to_all(&self, shell: &Shell, wanted: impl Fn(TurnId) -> bool) -> Result<BTreeSet<TurnId>> {
        let rests = shell.rests().await?;
        let turns: BTreeSet<TurnId> = rests.iter().map(|rest| rest.turn).collect();
        let is_known = |turn: &TurnId| self.known().contains_key(turn) || self.beyond().contains(turn);
        if turns.iter().any(|turn| wanted(*turn) && !is_known(turn)) {
            self.read_journal(shell).await?;
        }
        let mut seen = BTreeSet::new();
        for turn in turns {
            let key = self.known().get(&turn).copied();
            match key {
                Some(key) if !key.is_controlled() => {
                    if wanted(turn) {
                        seen.insert(turn);
                        self.see_to(&Scenario::draw(self.seed, key), &shell.turn(turn)).await?;
                    }
                }
                None if !self.meddles => {
                    trouble(format!("turn {turn} rests, and no journal of a session holds its start"));
                }
                _ => {
                    self.beyond().insert(turn);
                    for rest in rests.iter().filter(|rest| rest.turn == turn) {
                        self.see_to_controlled(shell, rest).await?;
                    }
                }
            }
        }
        Ok(seen)
    }

    fn beyond(&self) -> MutexGuard<'_, BTreeSet<TurnId>> {
        self.beyond.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds the names of all turns that have started.
    async fn read_journal(&self, shell: &Shell) -> Result<()> {
        for &session in &self.sessions {
            let mut history = shell.session(session_name(session))?.history().await?;
            loop {
                let entries = history.next(512).await?;
                if entries.is_empty() {
                    break;
                }
                for entry in entries {
                    if let Body::TurnStarted { turn, input, .. } = &entry.body
                        && let Ok(key) = serde_json::from_value((*input.value()).clone())
                    {
                        self.follows(key, *turn);
                    }
                }
            }
        }
        Ok(())
    }

    /// Sees to what rests in a turn, as far as this life does so.
    pub(super) async fn see_to(&self, scenario: &Scenario, turn: &Turn) -> Result<()> {
        let rests = turn.rests().await?;
        if rests.is_empty() {
            return Ok(());
        }
        let mut random = Random::of(&[self.seed, self.life, scenario.key.session, scenario.key.number]);
        let approves = self.hurried || random.percent(65);
        let resolves = self.hurried || random.percent(80);
        for rest in &rests {
            match &rest.needs {
                Needs::Approval { .. } if approves => self.decide(scenario, turn).await?,
                Needs::Resolution { .. } if resolves => self.resolve(scenario, turn, rest).await?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Decides on the first approval that the turn asks for.
    async fn decide(&self, scenario: &Scenario, turn: &Turn) -> Result<()> {
        let Some(approval) = turn.approval().await? else { return Ok(()) };
        if scenario.key.talks() {
            return match self.is_first(turn.id(), &approval.step, 0) {
                true => approval.approve(&self.actor()?).await,
                false => Ok(()),
            };
        }
        let place = scenario.place(approval.step.as_str());
        let Some(place) = place.filter(|_| self.is_first(turn.id(), &approval.step, 0)) else {
            return Ok(());
        };
        let expected = match (scenario.work_of(place), scenario.steps[place].act) {
            (Some(work), _) => serde_json::json!(work),
            (None, Act::Approval) => serde_json::json!({ "own": scenario.steps[place].own }),
            _ => serde_json::Value::Null,
        };
        if *approval.shown != expected {
            let shown = &approval.shown;
            trouble(format!(
                "{} step {}: shows {shown} for approval, not {expected}",
                scenario.key, approval.step
            ));
        }
        match scenario.steps[place].fate {
            Fate::Denied => approval.deny("denied on purpose", &self.actor()?).await,
            _ => approval.approve(&self.actor()?).await,
        }
    }

    /// Says what became of a step in doubt, once no attempt can take effect any more.
    async fn resolve(&self, scenario: &Scenario, turn: &Turn, rest: &Rest) -> Result<()> {
        let Needs::Resolution { tool, input, key, attempt, not_applied_from, .. } = &rest.needs else {
            return Ok(());
        };
        let (kind, work) = if scenario.key.talks() {
            let kind = tool.as_ref().and_then(|tool| ToolKind::named(tool.as_str()));
            let (Some(kind), Ok(work)) = (kind, serde_json::from_value::<Work>((**input).clone())) else {
                trouble(format!("{} step {}: rests, and calls no tool", scenario.key, rest.step));
                return Ok(());
            };
            (kind, work)
        } else {
            let Some(place) = scenario.place(rest.step.as_str()) else { return Ok(()) };
            let (Act::Tool(kind), Some(work)) = (scenario.steps[place].act, scenario.work_of(place)) else {
                return Ok(());
            };
            (kind, work)
        };
        if now() < *not_applied_from || !self.is_first(turn.id(), &rest.step, *attempt) {
            return Ok(());
        }
        let name = StepName { turn: turn.id().to_string(), step: rest.step.to_string() };
        let truth = self.truth(name).await?;
        if truth.keys.iter().any(|used| used != key) {
            trouble(format!(
                "{} step {}: rests with key {key}, called with {:?}",
                scenario.key, rest.step, truth.keys
            ));
        }
        let resolution = match truth.applied {
            Some(_) => Resolution::Applied(output_of(kind, &work)),
            None if scenario.gives_up => Resolution::GiveUp,
            None => Resolution::Retry,
        };
        match turn.resolve_rest(rest, resolution, &self.actor()?).await {
            // A mail of an earlier life has settled it meanwhile.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => Ok(()),
            resolved => resolved,
        }
    }

    /// Whether this life has not decided this before.
    pub(super) fn is_first(&self, turn: TurnId, step: &StepId, attempt: u32) -> bool {
        let mut decided = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        decided.insert((turn, step.clone(), attempt))
    }

    /// What the recorder knows of a step.
    pub(super) async fn truth(&self, name: StepName) -> Result<Truth> {
        let client = self.client.clone();
        let truth = tokio::task::spawn_blocking(move || client.truth(&name)).await;
        truth.map_err(|error| unavailable(error.to_string()))?.map_err(|error| unavailable(error.to_string()))
    }
}
