//! Asking the guards of a shell: one after another, each within its time, and closed when one fails.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select};
use serde::Deserialize;
use serde_json::Value;

use super::core::Core;
use super::guarded::{guarded, message_of};
use crate::data::{Answer, CallStatus, GuardPlace, GuardPlaces, GuardRuling, Message, ToolResult, Verdict};
use crate::machine::too_large;
use crate::ports::{Guard, GuardRequest, Ruling};
use crate::words::{Error, ErrorKind, GuardName, Limits, Result};

/// The guards of a shell, in their order.
#[derive(Default)]
pub(crate) struct Guards {
    all: Vec<Watching>,
    places: GuardPlaces,
}

struct Watching {
    name: GuardName,
    places: GuardPlaces,
    guard: Arc<dyn Guard>,
}

/// What the guards of a place ruled.
pub(crate) struct Rulings {
    pub(crate) rulings: Vec<GuardRuling>,
    /// What they left in the place of what they were shown, when any rewrote it.
    pub(crate) rewritten: Option<Value>,
}

impl Guards {
    /// Asks each where it watches.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is wrong or there twice, and for a guard that panics when it is asked for it.
    pub(crate) fn new(guards: Vec<Arc<dyn Guard>>) -> Result<Self> {
        let invalid = |message: String| Error::new(ErrorKind::InvalidInput, message);
        let mut all: Vec<Watching> = Vec::new();
        let mut places = GuardPlaces::NONE;
        for guard in guards {
            let name = guarded(|| GuardName::new(guard.name())).map_err(|panic| {
                invalid(format!("a guard panicked when it was asked for its name: {panic}"))
            })??;
            if all.iter().any(|known| known.name == name) {
                return Err(invalid(format!("two guards are called `{name}`: give each its own name")));
            }
            let mut watches = GuardPlaces::NONE;
            for place in GuardPlace::ALL {
                let asked = guarded(|| guard.watches(place));
                if asked.map_err(|panic| invalid(format!("the guard `{name}` panicked: {panic}")))? {
                    (watches, places) = (watches.with(place), places.with(place));
                }
            }
            all.push(Watching { name, places: watches, guard });
        }
        Ok(Self { all, places })
    }

    /// Where any of them watches.
    pub(crate) fn places(&self) -> GuardPlaces {
        self.places
    }

    /// Every guard that watches the place has failed: what is said when asking them broke where nothing else catches it.
    pub(crate) fn broken(&self, place: GuardPlace, why: &str) -> Rulings {
        let watching = self.all.iter().filter(|guard| guard.places.has(place));
        let failed = |guard: &Watching| GuardRuling::new(guard.name.clone(), Verdict::Failed, why);
        Rulings { rulings: watching.map(failed).collect(), rewritten: None }
    }

    /// Asks those who watch the place. The first that denies, or fails, is the last.
    pub(crate) async fn rule(&self, core: &Core, mut request: GuardRequest) -> Rulings {
        let shown = request.value.clone();
        let mut rulings = Vec::new();
        for watching in self.all.iter().filter(|guard| guard.places.has(request.place)) {
            let (verdict, reason) = match ask(core, &*watching.guard, &request).await {
                Err(problem) => (Verdict::Failed, problem),
                Ok(Ruling::Allow) => (Verdict::Allowed, String::new()),
                Ok(Ruling::Deny { reason }) => (Verdict::Denied, reason),
                Ok(Ruling::Ask { reason }) if request.place.can_ask() => (Verdict::Asked, reason),
                Ok(Ruling::Ask { .. }) => {
                    (Verdict::Failed, "it asks for an approval, and here nothing can be approved".into())
                }
                Ok(Ruling::Rewrite { value }) => match problem_with(&request, &value, &core.limits) {
                    Some(problem) => (Verdict::Failed, problem),
                    None => {
                        request.value = Arc::new(value);
                        (Verdict::Rewritten, String::new())
                    }
                },
            };
            rulings.push(GuardRuling::new(watching.name.clone(), verdict, bounded(reason)));
            if rulings.last().is_some_and(GuardRuling::denies) {
                break;
            }
        }
        let rewritten = (*request.value != *shown).then(|| (*request.value).clone());
        Rulings { rulings, rewritten }
    }
}

async fn ask(core: &Core, guard: &dyn Guard, request: &GuardRequest) -> std::result::Result<Ruling, String> {
    let allowed = Duration::from_millis(core.limits.guard_ms);
    let asked = AssertUnwindSafe(async move { guard.rule(request).await }).catch_unwind();
    let asked = std::pin::pin!(asked);
    match select(asked, core.clock.sleep(allowed)).await {
        Either::Left((Ok(Ok(ruling)), _)) => Ok(ruling),
        Either::Left((Ok(Err(error)), _)) => Err(error.to_string()),
        Either::Left((Err(panic), _)) => Err(format!("it panicked: {}", message_of(&*panic))),
        Either::Right(_) => Err(format!("it took longer than {} ms", core.limits.guard_ms)),
    }
}

/// A reason stands in a record and is told to models: of a very long one, the beginning.
fn bounded(reason: String) -> String {
    const MOST_CHARS: usize = 2_000;
    if reason.len() <= MOST_CHARS { reason } else { reason.chars().take(MOST_CHARS).collect() }
}

/// Why a value can't stand in a place, if it can't.
fn problem_with(request: &GuardRequest, value: &Value, limits: &Limits) -> Option<String> {
    if let Some(problem) = too_large(value, limits.payload_bytes) {
        return Some(format!("what it rewrote {problem}"));
    }
    match request.place {
        GuardPlace::BeforeTool | GuardPlace::AfterTool => None,
        GuardPlace::AfterModel => {
            Answer::deserialize(value).err().map(|error| format!("what it rewrote is no answer: {error}"))
        }
        GuardPlace::BeforeModel => match (said(&request.value), said(value)) {
            (Ok(before), Ok(after)) if same_kinds(&before, &after) => None,
            (_, Err(error)) => Some(format!("what it rewrote is no message: {error}")),
            _ => Some("what it rewrote is another kind of message, or holds results of other calls".into()),
        },
    }
}

/// The messages that a question adds: one, or a list.
fn said(value: &Value) -> std::result::Result<Vec<Message>, serde_json::Error> {
    match value {
        Value::Array(_) => Vec::deserialize(value),
        _ => Message::deserialize(value).map(|said| vec![said]),
    }
}

fn same_kinds(before: &[Message], after: &[Message]) -> bool {
    before.len() == after.len() && before.iter().zip(after).all(|(before, after)| same_kind(before, after))
}

/// Whether one message may stand for another: vendors take each kind in its place alone, and results with their calls.
fn same_kind(before: &Message, after: &Message) -> bool {
    let name = |result: &ToolResult| (result.call.clone(), result.tool.clone());
    let ends = |result: &ToolResult| -> CallStatus { result.status };
    match (before, after) {
        (Message::Results(before), Message::Results(after)) => {
            before.iter().map(name).eq(after.iter().map(name))
                && before.iter().map(ends).eq(after.iter().map(ends))
        }
        (before, after) => std::mem::discriminant(before) == std::mem::discriminant(after),
    }
}
