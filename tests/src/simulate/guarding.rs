//! Guards of a run. Some lives of processes have them and others do not, as while a fleet is being renewed: what was recorded
//! under a guard holds for all. What they rule follows from the seed and from what they are asked, and now and then from
//! chance, so that the next owner would be told otherwise.

use std::future::pending;
use std::time::Duration;

use agent_shell_core::data::{Answer, Content, GuardPlace, Message, Said};
use agent_shell_core::{Guard, GuardError, GuardRequest, Ruling};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::coverage::WorldFault;
use super::truth::{LifeId, Truth};
use super::work::{FLAKY, Work};
use crate::crash::scenario;
use crate::random::Random;

/// The guards of a shell that has two, in their order.
pub(super) const NAMES: [&str; 2] = ["keeper", "warden"];

/// What a guard adds to what is said.
const SEEN: &str = " (seen)";

/// A guard of one life of a process.
pub(super) struct Keeper {
    pub(super) truth: Truth,
    pub(super) life: LifeId,
    /// Which of the guards of its shell it is.
    pub(super) place: usize,
}

#[async_trait]
impl Guard for Keeper {
    fn name(&self) -> &str {
        NAMES[self.place]
    }

    async fn rule(&self, request: &GuardRequest) -> Result<Ruling, GuardError> {
        let asked = self.truth.asks_guard(self.life, self.name(), request);
        self.truth.pause().await;
        let (fault, ruling) = match self.draw(request).below(100) {
            _ if self.spares(request) => (None, Ok(Ruling::Allow)),
            0..4 => (Some(WorldFault::GuardDenied), Ok(Ruling::deny("denied on purpose"))),
            4..14 if request.place.can_ask() => {
                (Some(WorldFault::GuardAsked), Ok(Ruling::ask("asked on purpose")))
            }
            4 => (Some(WorldFault::GuardMisruled), Ok(Ruling::ask("here nothing can be approved"))),
            5 if request.place == GuardPlace::BeforeModel || request.place == GuardPlace::AfterModel => {
                (Some(WorldFault::GuardMisruled), Ok(Ruling::rewrite(json!(["no message"]))))
            }
            14..28 => match rewritten(request) {
                Some(value) => (Some(WorldFault::GuardRewrote), Ok(Ruling::rewrite(value))),
                None => (None, Ok(Ruling::Allow)),
            },
            28..38 if !self.truth.is_calm() => self.trouble().await,
            _ => (None, Ok(Ruling::Allow)),
        };
        fault.into_iter().for_each(|fault| self.truth.count(fault));
        self.truth.guard_says(self.life, request, asked, &ruling);
        ruling
    }
}

impl Keeper {
    /// What its ruling is drawn from.
    fn draw(&self, request: &GuardRequest) -> Random {
        let shown = json!([self.name(), request.place, request.step, request.value]).to_string();
        let asked = shown
            .bytes()
            .fold(0xcbf2, |mixed: u64, byte| (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let chance = if self.truth.chance(30) { self.truth.number() } else { 0 };
        Random::of(&[self.truth.settings().seed, asked, chance, 0x64a4])
    }

    /// Half of the turns whose outcome is known are let pass, so that it stays known.
    fn spares(&self, request: &GuardRequest) -> bool {
        let Some((key, Work::Drawn(_))) = self.truth.work_of(request.turn) else { return false };
        Random::of(&[self.truth.settings().seed, key.session, key.number, 0x5a4e]).percent(50)
    }

    /// It can't tell, or not in time.
    async fn trouble(&self) -> (Option<WorldFault>, Result<Ruling, GuardError>) {
        match self.truth.number() % 4 {
            0 => (Some(WorldFault::GuardFailed), Err(GuardError::new("it can't tell"))),
            1 => {
                self.truth.count(WorldFault::GuardHung);
                pending().await
            }
            2 => {
                self.truth.count(WorldFault::GuardPanicked);
                // No message on standard error, as a hook would write for `panic!`.
                std::panic::resume_unwind(Box::new("it panics on purpose"))
            }
            _ => {
                self.truth.count(WorldFault::GuardSlow);
                self.truth.lie(Duration::from_millis(500)).await;
                (None, Ok(Ruling::Allow))
            }
        }
    }
}

/// Other arguments, another output, other words of the same form.
fn rewritten(request: &GuardRequest) -> Option<Value> {
    let value = (*request.value).clone();
    match request.place {
        GuardPlace::BeforeTool => {
            let work: scenario::Work = serde_json::from_value(value).ok()?;
            (work.own + 1 < FLAKY).then(|| json!(scenario::Work { own: work.own + 1, ..work }))
        }
        GuardPlace::AfterTool => {
            let mut output = value;
            let number = output.get_mut("n")?;
            *number = json!(number.as_u64()? + 1);
            Some(output)
        }
        GuardPlace::BeforeModel => {
            let message = match serde_json::from_value(value).ok()? {
                Message::User(mut said) => {
                    said.push(Content::Text(SEEN.into()));
                    Message::User(said)
                }
                Message::Note(text) => Message::Note(text + SEEN),
                Message::Results(mut results) => {
                    let last = results.last_mut()?;
                    last.output = json!([last.output, SEEN]);
                    Message::Results(results)
                }
                _ => return None,
            };
            Some(json!(message))
        }
        _ => {
            let mut answer: Answer = serde_json::from_value(value).ok()?;
            let is_text = |part: &&mut Said| matches!(part, Said::Text { .. });
            let Some(Said::Text { text, .. }) = answer.said.iter_mut().find(is_text) else { return None };
            text.push_str(SEEN);
            Some(json!(answer))
        }
    }
}
