//! Driving one session: turns are submitted, their signals sent, their ends told to the harness.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::{Actor, Error, ErrorKind, Request, Session, Shell, Turn};
use serde_json::json;
use tokio::task::JoinSet;

use super::person::Person;
use super::{PLANNER, controls, say, trouble};
use crate::crash::control::turn::{Meets, Submission};
use crate::crash::scenario::{Act, Scenario, TurnKey, session_name};
use crate::crash::words::{Assignment, Event, Mode, SessionWork};
use crate::crash::{CrashError, control, talk};
use crate::random::Random;

pub(super) struct Driver {
    shell: Shell,
    session: Session,
    person: Arc<Person>,
    seed: u64,
    depth: usize,
    owners: u64,
    mode: Mode,
    work: SessionWork,
    random: Random,
    /// One task for each open turn: with several owners nobody knows which of them runs first.
    open: JoinSet<()>,
    closed: bool,
}

impl Driver {
    pub(super) fn new(
        shell: &Shell,
        person: Arc<Person>,
        assignment: &Assignment,
        work: SessionWork,
    ) -> Result<Self, CrashError> {
        Ok(Self {
            shell: shell.clone(),
            session: shell.session(session_name(work.session))?,
            person,
            seed: assignment.seed,
            depth: assignment.depth,
            owners: assignment.owners,
            mode: assignment.mode,
            random: Random::of(&[assignment.seed, assignment.life, work.session]),
            work,
            open: JoinSet::new(),
            closed: false,
        })
    }

    pub(super) async fn drive(mut self) -> Result<(), CrashError> {
        self.take_up().await?;
        loop {
            while self.open.len() < self.depth {
                let Some(scenario) = self.next() else { break };
                self.submit(scenario).await?;
            }
            match self.open.join_next().await {
                None => return Ok(()),
                Some(ended) => {
                    ended.map_err(|error| CrashError::system("following a turn")(io::Error::other(error)))?;
                }
            }
        }
    }

    /// Takes up what is known of earlier lives. An accepted turn is found by its id, or submitted again, which must
    /// make no difference; one whose answer was lost is submitted again.
    async fn take_up(&mut self) -> Result<(), CrashError> {
        for (key, id) in std::mem::take(&mut self.work.open) {
            let scenario = self.scenario(key);
            if self.random.percent(30) {
                self.submit(scenario).await?;
            } else {
                self.follow(scenario, self.shell.turn(id));
            }
        }
        for key in std::mem::take(&mut self.work.orphans) {
            let scenario = self.scenario(key);
            self.send_signals(&scenario);
        }
        for key in std::mem::take(&mut self.work.unanswered) {
            let scenario = self.scenario(key);
            self.submit(scenario).await?;
        }
        Ok(())
    }

    fn scenario(&self, key: TurnKey) -> Scenario {
        Scenario::draw(self.seed, key)
    }

    /// The next turn to submit, if there is one.
    fn next(&mut self) -> Option<Scenario> {
        let number = match self.mode {
            Mode::UntilKilled | Mode::Leave { .. } => self.work.next,
            Mode::Finish if !self.closed => TurnKey::CLOSING,
            _ => return None,
        };
        self.work.next += self.owners;
        self.closed = number == TurnKey::CLOSING;
        Some(self.scenario(TurnKey { session: self.work.session, number }))
    }

    /// Submits a turn until there is an answer. The harness learns of it before and after.
    async fn submit(&mut self, scenario: Scenario) -> Result<(), CrashError> {
        let key = scenario.key;
        if key.is_controlled() {
            pause(Submission::draw(self.seed, key).pause_ms).await;
        }
        say(&Event::Submitting { key });
        let turn = loop {
            let submission = Submission::draw(self.seed, key);
            let mut request = match scenario.planned {
                true if key.is_controlled() && !submission.names => Request::new(scenario.input()),
                true if key.is_controlled() => Request::new(scenario.input()).planner(control::PLANNER),
                true if key.talks() => Request::new(scenario.input()).planner(talk::PLANNER),
                true => Request::new(scenario.input()).planner(PLANNER),
                false => match scenario.plan(0) {
                    Ok(plan) => Request::plan(plan),
                    Err(error) => {
                        trouble(format!("{key} has no valid plan: {error}"));
                        return Ok(());
                    }
                },
            };
            request = request.input(scenario.input());
            let mut submit = self.session.submit(request).dedupe(key.to_string());
            if key.talks() {
                submit = submit.budget(talk::budget(self.seed, key));
            }
            if key.is_controlled() {
                submit = match submission.meets {
                    Meets::Queues => submit,
                    Meets::Steers => submit.steer(),
                    Meets::Interrupts => submit.interrupt(),
                };
                if let Some(deadline) = submission.deadline {
                    submit = submit.deadline(deadline);
                }
            }
            match submit.await {
                Ok(turn) => break turn,
                Err(error) if may_be_repeated(&error) => pause(5).await,
                Err(error) => return Err(error.into()),
            }
        };
        say(&Event::Accepted { key, turn: turn.id() });
        self.follow(scenario, turn);
        Ok(())
    }

    /// Stays with a turn until it has ended.
    fn follow(&mut self, scenario: Scenario, turn: Turn) {
        self.person.follows(scenario.key, turn.id());
        self.send_signals(&scenario);
        if scenario.key.is_controlled() && self.mode != Mode::Finish {
            controls::meddle(&self.person, scenario.key, &self.session, &turn);
        }
        let person = self.person.clone();
        self.open.spawn(async move { follow(&person, &scenario, &turn).await });
    }

    /// Sends the turn's signals, each at an instant of its own. A signal that was sent by an earlier life is not
    /// delivered again, because it bears the same dedupe key.
    fn send_signals(&mut self, scenario: &Scenario) {
        for place in (0..scenario.steps.len()).filter(|&place| scenario.steps[place].act == Act::Signal) {
            let (session, name) = (self.session.clone(), scenario.signal_name(place));
            let payload = json!({ "n": scenario.signal_number(place) });
            let wait = self.random.below(60);
            tokio::spawn(async move {
                pause(wait).await;
                while let Err(error) = session.signal(&name, payload.clone(), Some(&name), &Actor::Host).await
                {
                    match error.kind() {
                        // The next one who follows the turn sends it.
                        ErrorKind::ShuttingDown => return,
                        _ if may_be_repeated(&error) => pause(5).await,
                        _ => return trouble(format!("signal {name}: {error:?}")),
                    }
                }
            });
        }
    }
}

async fn follow(person: &Person, scenario: &Scenario, turn: &Turn) {
    loop {
        let outcome = tokio::select! {
            outcome = turn.outcome() => outcome,
            () = pause(15) => Err(Error::new(ErrorKind::AtRest, "not ended yet")),
        };
        match outcome {
            Ok(outcome) => return say(&Event::Ended { key: scenario.key, outcome }),
            // A worker that leaves: whoever comes after it follows the turn.
            Err(error) if error.kind() == ErrorKind::ShuttingDown => return,
            // What rests there is seen to wherever it rests.
            Err(error) if error.kind() == ErrorKind::AtRest && scenario.key.is_controlled() => {}
            Err(error) if error.kind() == ErrorKind::AtRest => match person.see_to(scenario, turn).await {
                Err(error) if error.kind() == ErrorKind::ShuttingDown => return,
                Err(error) => trouble(format!("{}: {error:?}", scenario.key)),
                Ok(()) => {}
            },
            Err(error) => trouble(format!("{}: {error:?}", scenario.key)),
        }
        pause(4).await;
    }
}

pub(super) fn may_be_repeated(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Indeterminate | ErrorKind::Unavailable | ErrorKind::Overloaded)
}

pub(super) async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
