//! The planner of the run: it draws a turn again from its input, and fails where the drawing says so.

use std::future::pending;

use agent_shell_core::{PlanView, Planned, Planner, PlannerError};
use async_trait::async_trait;
use serde_json::json;

use super::coverage::WorldFault;
use super::nested::Place;
use super::steering::{again, taken};
use super::truth::Truth;
use super::work::{WildEnd, Work};

pub(super) struct Drawn {
    pub(super) seed: u64,
    pub(super) truth: Truth,
}

#[async_trait]
impl Planner for Drawn {
    async fn plan(&self, view: PlanView) -> Result<Planned, PlannerError> {
        self.truth.pause().await;
        let place = Place::read(&view.input).ok_or_else(|| PlannerError::new("nobody asked for that"))?;
        let round = view.round as usize - 1;
        let (key, path) = (place.key(), place.path());
        let taken = taken(self.seed, key, &view);
        let work = Work::draw(self.seed, key).at(path);
        let wild = match work.ok_or_else(|| PlannerError::new("there is no such child"))? {
            Work::Drawn(scenario) if round >= scenario.rounds => return again(self.seed, key, &view),
            Work::Drawn(scenario) => {
                let plan = scenario.draft(round).takes_up(taken).build()?;
                return Ok(if round + 1 == scenario.rounds {
                    Planned::Whole(plan)
                } else {
                    Planned::Next(plan)
                });
            }
            Work::Wild(wild) => wild,
            Work::Talk(_) => return Err(PlannerError::new("a loop plans it")),
        };
        let is_over = round >= wild.rounds() && wild.ends != WildEnd::Answer;
        if is_over && !view.steers.is_empty() {
            return again(self.seed, key, &view);
        }
        let plan = |round| wild.draft(round, path).takes_up(taken).build();
        let is_last = round + 1 >= wild.rounds();
        match wild.ends {
            WildEnd::Answer if round >= wild.rounds() => Ok(Planned::Answer(json!({ "rounds": round }))),
            WildEnd::Answer => Ok(Planned::Next(plan(round)?)),
            WildEnd::Error if is_last => {
                self.truth.count(WorldFault::PlannerFailed);
                Err(PlannerError::new("it fails on purpose"))
            }
            WildEnd::Panic if is_last => {
                self.truth.count(WorldFault::PlannerPanicked);
                // No message on standard error, as a hook would write for `panic!`.
                std::panic::resume_unwind(Box::new("it panics on purpose"))
            }
            WildEnd::Hang if is_last => {
                self.truth.count(WorldFault::PlannerHung);
                pending().await
            }
            _ if is_last => Ok(Planned::Whole(plan(round)?)),
            _ => Ok(Planned::Next(plan(round)?)),
        }
    }
}
