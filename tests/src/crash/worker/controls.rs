//! People who meddle: they cancel turns and hand sessions over at any time, and see to what rests in these sessions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent_shell_core::words::Timestamp;
use agent_shell_core::{
    Actor, Error, ErrorKind, Needs, Request, Resolution, Rest, Result, Session, Shell, Turn,
};
use serde_json::{Value, json};

use super::person::Person;
use super::session::{may_be_repeated, pause};
use super::{say, trouble};
use crate::crash::control::tools::{class_of, output_of};
use crate::crash::control::turn::Input;
use crate::crash::control::{DEFAULTS, PLANNER};
use crate::crash::scenario::TurnKey;
use crate::crash::words::{Deed, Event};
use crate::random::Random;
use crate::recorder::StepName;

/// The turn that is run in each fork.
const AGAIN: &str = "/again";

/// Meddles with a turn that was just accepted, in the background, as often as this life does so.
pub(super) fn meddle(person: &Person, key: TurnKey, session: &Session, turn: &Turn) {
    let mut random = Random::of(&[person.seed, person.life, key.session, key.number, 0x6d65_6464]);
    let reason = format!("{key} in life {}", person.life);
    let Ok(actor) = person.actor() else { return };
    let wait = Duration::from_millis(random.below(260));
    if random.percent(14) {
        let (turn, reason, actor) = (turn.clone(), reason.clone(), actor.clone());
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let cancel = || turn.cancel(reason.clone(), &actor);
            if done("a cancel", cancel).await {
                say(&Event::Done { deed: Deed::Cancelled { turn: turn.id(), reason: reason.clone() } });
            }
        });
    }
    if random.percent(7) {
        let (session, actor) = (session.clone(), actor.clone());
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            fork(&session, key, &actor).await;
        });
    }
    if random.percent(6) {
        let session = session.clone();
        let to = random.pick(&DEFAULTS).copied().unwrap_or(DEFAULTS[0]);
        tokio::spawn(async move {
            tokio::time::sleep(wait / 2).await;
            let hand_off = || session.hand_off(to, reason.clone(), &actor);
            let Ok(id) = session.id().await else { return };
            if done("a hand-off", hand_off).await {
                say(&Event::Done { deed: Deed::HandedOff { session: id, reason: reason.clone() } });
            }
        });
    }
}

/// Forks a session as it is now, under a name that is the same in each life, and runs a turn in the fork.
async fn fork(session: &Session, key: TurnKey, actor: &Actor) {
    let name = format!("fork-{key}");
    let fork = loop {
        match session.fork(&name).actor(actor.clone()).await {
            Ok(fork) => break fork,
            Err(error) if may_be_repeated(&error) => pause(5).await,
            // There may be no record yet.
            Err(error) if matches!(error.kind(), ErrorKind::ShuttingDown | ErrorKind::InvalidInput) => return,
            Err(error) => return trouble(format!("`{name}`: {error:?}")),
        }
    };
    let Ok(id) = fork.id().await else { return };
    say(&Event::Done { deed: Deed::Forked { name, fork: id } });
    let again = Input { key, path: AGAIN.to_owned() };
    let again = || async {
        let request = Request::new(json!(again)).planner(PLANNER);
        fork.submit(request).dedupe(AGAIN).await.map(drop)
    };
    done("a turn in a fork", again).await;
}

/// Does it until there is an answer. False when there is nothing left to be done it to.
async fn done<F: Future<Output = Result<()>>>(what: &str, deed: impl Fn() -> F) -> bool {
    loop {
        match deed().await {
            Ok(()) => return true,
            Err(error) if may_be_repeated(&error) => pause(5).await,
            Err(error) => {
                if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ShuttingDown) {
                    trouble(format!("{what}: {error:?}"));
                }
                return false;
            }
        }
    }
}

impl Person {
    /// Sees to a rest of a turn with which people meddle, as far as this life does so.
    pub(super) async fn see_to_controlled(&self, shell: &Shell, rest: &Rest) -> Result<()> {
        let number = |bytes: &[u8]| {
            bytes.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(131).wrapping_add(u64::from(*byte)))
        };
        let (turn, step) = (number(&rest.turn.to_bytes()), number(rest.step.as_str().as_bytes()));
        let mut of_turn = Random::of(&[self.seed, self.life, turn]);
        let answers = self.hurried || of_turn.percent(75);
        if !answers {
            return Ok(());
        }
        let (Needs::Resolution { attempt, .. } | Needs::Undo { attempt, .. }) = &rest.needs else {
            let actor = self.actor()?;
            if self.is_first(rest.turn, &rest.step, 0) {
                if Random::of(&[self.seed, turn, step]).percent(20) {
                    done("a denial", || shell.deny(rest, "denied on purpose", &actor)).await;
                } else {
                    done("an approval", || shell.approve(rest, &actor)).await;
                }
            }
            return Ok(());
        };
        let mut random = Random::of(&[self.seed, self.life, turn, step, u64::from(*attempt)]);
        let resolution = match &rest.needs {
            Needs::Undo { .. } => match random.below(3) {
                0 => Resolution::Retry,
                1 => Resolution::Applied(Value::Null),
                _ => Resolution::GiveUp,
            },
            Needs::Resolution { not_applied_from, .. } if now() < *not_applied_from => return Ok(()),
            _ => self.found(rest, random.percent(30)).await?,
        };
        if !self.is_first(rest.turn, &rest.step, attempt.saturating_add(1)) {
            return Ok(());
        }
        let actor = self.actor()?;
        // A mail of an earlier life may have settled it meanwhile, and the turn may have ended.
        done("a resolution", || shell.resolve(rest, resolution.clone(), &actor)).await;
        Ok(())
    }

    /// What the recorder says of a step in doubt.
    async fn found(&self, rest: &Rest, gives_up: bool) -> Result<Resolution> {
        let Needs::Resolution { tool, input, key, .. } = &rest.needs else { return Ok(Resolution::GiveUp) };
        let truth = self.truth(StepName { turn: rest.turn.to_string(), step: rest.step.to_string() }).await?;
        if truth.keys.iter().any(|used| used != key) {
            let (turn, step) = (rest.turn, &rest.step);
            trouble(format!("turn {turn} step {step}: rests with key {key}, called with {:?}", truth.keys));
        }
        let name = tool.as_ref().map_or("", |tool| tool.as_str());
        // What a child had begun for the session that was forked is in doubt in the fork.
        if tool.is_some() && class_of(name).is_none() {
            trouble(format!("turn {} step {}: rests, and calls {tool:?}", rest.turn, rest.step));
        }
        Ok(match truth.applied {
            Some(_) => Resolution::Applied(output_of(name, input)),
            None if gives_up => Resolution::GiveUp,
            None => Resolution::Retry,
        })
    }
}

/// The time.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::default().plus(since)
}

/// What a call that could not be carried out says.
pub(super) fn unavailable(error: String) -> Error {
    Error::new(ErrorKind::Unavailable, error)
}
