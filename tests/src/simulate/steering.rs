//! What hosts say to turns that run: which turns are asked for so, and what planners do with it. No seed has both guards and
//! steers: what guards make of what was said to a turn is not simulated.

use agent_shell_core::data::Template;
use agent_shell_core::{Plan, PlanView, Planned, Planner, PlannerError, Step};
use async_trait::async_trait;
use serde_json::json;

use super::bugs::Bug;
use super::settings::Settings;
use super::truth::Truth;
use crate::crash::scenario::TurnKey;
use crate::random::Random;

/// What a request does that meets a running turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meets {
    Queues,
    Steers,
    Interrupts,
}

impl Meets {
    /// The same each time, for a request that is made again must be the same. Where processes may have guards, all queue.
    pub(super) fn of(settings: &Settings, key: TurnKey) -> Self {
        let seed = settings.seed;
        if settings.guarded > 0 || !Random::of(&[seed, 0x57ee]).percent(55) {
            return Self::Queues;
        }
        match Random::of(&[seed, key.session, key.number, 0x57e1]).below(10) {
            0..3 => Self::Steers,
            3..6 => Self::Interrupts,
            _ => Self::Queues,
        }
    }
}

/// How many of the inputs that came a plan takes up: all, or no more than before.
pub(super) fn taken(seed: u64, key: TurnKey, view: &PlanView) -> u32 {
    let parts = [seed, key.session, key.number, u64::from(view.round), view.steers.len() as u64, 0x7a4e];
    let takes = Random::of(&parts).percent(70);
    if takes { u32::try_from(view.steers.len()).unwrap_or(u32::MAX) } else { 0 }
}

/// What is planned for a turn whose plans are all made and that was interrupted: one step more, or an answer.
pub(super) fn again(seed: u64, key: TurnKey, view: &PlanView) -> Result<Planned, PlannerError> {
    let round = view.round;
    let mut random = Random::of(&[seed, key.session, key.number, u64::from(round), 0xa9a1]);
    if random.percent(35) {
        return Ok(Planned::Answer(json!({ "interrupted": round })));
    }
    let input = Template::object([
        ("own", Template::from(random.below(1_000))),
        ("of", Template::list([0_u64; 0])),
        ("refuse", Template::from(false)),
    ]);
    let step = Step::tool(format!("again-{round}"), "put", input);
    Ok(Planned::Whole(Plan::builder().step(step).takes_up(taken(seed, key, view)).build()?))
}

/// A planner, and what it is shown of what was said while its turn ran.
pub(super) struct Seen<P> {
    pub(super) truth: Truth,
    pub(super) inner: P,
}

#[async_trait]
impl<P: Planner> Planner for Seen<P> {
    async fn plan(&self, mut view: PlanView) -> Result<Planned, PlannerError> {
        // A deliberate fault.
        if self.truth.settings().bug == Some(Bug::SteersUnshown) {
            view.steers.clear();
        }
        self.truth.shown_steers(&view);
        self.inner.plan(view).await
    }
}
