//! What was reached: every transition of the machine's table, every fault.

use std::collections::BTreeMap;

use agent_shell_core::data::BodyKind;
use agent_shell_core::machine::{Stage, TRANSITIONS, Transition};
use agent_shell_core::simulation::{Fault, FaultCounts, Operation};
use serde_json::{Value, json};

use super::sights::Sight;

macro_rules! world_faults {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// What goes wrong elsewhere than between a process and its store.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum WorldFault { $($(#[$doc])* $variant,)+ }

        impl WorldFault {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

world_faults! {
    /// Steps of a turn that does not succeed are undone.
    Undone = "steps are undone",
    /// Somebody cancels a turn.
    Cancelled = "somebody cancels a turn",
    /// A process dies between two polls.
    Crash = "crash between two polls",
    /// A process stands still.
    Pause = "pause shorter than the lease",
    /// A process stands still for longer than its lease.
    LongPause = "pause longer than the lease",
    /// A process is cut off from the store.
    CutOff = "cut off from the store",
    /// A process shuts down and hands over.
    Shutdown = "shutdown",
    /// A wall clock jumps forward.
    WallForward = "wall clock forward",
    /// A wall clock jumps back.
    WallBack = "wall clock back",
    /// An effect happens when its caller is gone.
    LateAct = "late act",
    /// A tool says that it did not apply.
    ToolRefused = "tool refuses",
    /// A tool can't say.
    ToolAmbiguous = "tool is ambiguous",
    /// A tool does not come back.
    ToolHung = "tool hangs",
    /// A tool panics.
    ToolPanicked = "tool panics",
    /// A target can't be asked.
    ProbeFailed = "probe fails",
    /// A target does not answer.
    ProbeHung = "probe hangs",
    /// A target refuses an act that is late.
    ActFenced = "target refuses a late act",
    /// A planner fails.
    PlannerFailed = "planner fails",
    /// A planner does not come back.
    PlannerHung = "planner hangs",
    /// A planner panics.
    PlannerPanicked = "planner panics",
    /// A model can't be reached.
    ModelUnavailable = "model is unavailable",
    /// Too much was asked of a model.
    ModelRateLimited = "model limits the rate",
    /// A model says that its answer was cut off.
    ModelCutOff = "model says that it was cut off",
    /// A model takes no such request.
    ModelInvalidRequest = "model refuses the request",
    /// A request is too long for a model.
    ModelTooLong = "model finds the request too long",
    /// A model does not take the key.
    ModelDenied = "model denies access",
    /// A model can't do that.
    ModelUnsupported = "model does not support it",
    /// A model does not come back.
    ModelHung = "model hangs",
    /// A model is slow.
    ModelSlow = "model is slow",
    /// The stream of an answer ends before the answer.
    ModelStreamEnded = "stream of an answer ends early",
    /// A model panics.
    ModelPanicked = "model panics",
    /// An answer reached its bound of tokens.
    ModelLength = "answer reaches its bound of tokens",
    /// A model declines.
    ModelDeclined = "model declines",
    /// A summary says nothing.
    ModelEmptySummary = "summary is empty",
    /// A model thinks, or says what only its wire understands.
    ModelOpaque = "answer with an opaque part",
    /// A model calls a tool that there is not.
    CallUnknown = "call of an unknown tool",
    /// A model calls a tool with arguments that it does not take.
    CallInvalid = "call with arguments that no tool takes",
    /// A model writes arguments that are no JSON.
    CallUnreadable = "call with arguments that are no JSON",
    /// A model calls several tools at once.
    CallsBeside = "several calls in one answer",
    /// A model is told again of the same failing call.
    CallRepeated = "the same failing call is told again",
    /// A turn ended before the model was told of its calls.
    CallsClosed = "calls closed at the end of a turn",
    /// What became of a call that was held back is told when its turn has ended.
    HeldTold = "a call that was held back is told of after its turn",
    /// A turn ended when a call was done, and before the model was told.
    CallDoneUntold = "call that is done and not told in its turn",
    /// A model is told that its call is held back.
    ResultHeld = "result of a held call",
    /// A model is shown a handle.
    ResultHandle = "result as a handle",
    /// A model is told that its answer has not the form that is wanted.
    AnswerCorrected = "answer corrected",
    /// The beginning of a conversation is let go.
    WindowSlid = "window slides",
    /// A turn is larger than what may be shown.
    WindowTooSmall = "turn larger than its window",
    /// The beginning of a conversation is summarised.
    Summarised = "summary is made",
    /// A question is asked by another owner than the one before.
    AskedAgain = "question asked again by the next owner",
    /// A loop gives up.
    LoopStuck = "loop is stuck",
    /// A loop has no answer.
    LoopUnanswered = "loop without an answer",
    /// A step is not begun because another one failed.
    StepSkipped = "step skipped because another failed",
    /// What an attempt may spend is set aside, and it begins.
    BudgetTaken = "budget set aside for an attempt that begins",
    /// What an attempt may spend does not fit under a ceiling.
    BudgetExceeded = "budget that does not suffice",
    /// An account is closed that an attempt would be charged to.
    BudgetClosed = "budget that an overrun has closed",
    /// More is spent than was set aside.
    BudgetOverrun = "overrun of a budget",
    /// A step is refused by a budget.
    BudgetRefused = "step refused by a budget",
    /// A session is purged while a turn runs or rests.
    PurgedRunning = "purge of a session with a turn",
    /// A session is purged that has no turn.
    PurgedQuiet = "purge of a session without a turn",
    /// A session is closed whose key is gone already.
    PurgedUnread = "purge of a session whose key is gone",
    /// Somebody asks for a purge that was asked for before.
    PurgeRepeated = "purge asked for again",
    /// Owners did not close their sessions in time.
    PurgeUnfinished = "purge whose sessions are not closed in time",
    /// A purge is not answered.
    PurgeDied = "crash or error in the middle of a purge",
    /// The bus loses all that it has.
    BusLost = "the whole bus is lost",
    /// The bus loses the ends of partitions.
    BusTailLost = "a tail of the bus is lost",
    /// Other messages stand where some were lost.
    BusOverwritten = "a tail of the bus is overwritten",
    /// The bus has no room.
    BusFull = "the bus is full",
    /// A handler fails before its effect.
    HandlerFailed = "handler fails before its effect",
    /// A handler fails when its effect has happened.
    HandlerFailedLate = "handler fails after its effect",
    /// A handler hangs before its effect.
    HandlerHung = "handler hangs before its effect",
    /// A handler hangs when its effect has happened.
    HandlerHungLate = "handler hangs after its effect",
    /// A handler panics.
    HandlerPanicked = "handler panics",
    /// A group is given an event again whose effect has happened.
    EventAgain = "event comes again after its effect",
    /// The outbox lets go of rows.
    RowsTrimmed = "rows leave the outbox",
    /// A group misses events that the outbox has let go of.
    EventsMissed = "events are missed past their horizon",
    /// A guard denies.
    GuardDenied = "guard denies",
    /// A guard wants a person to approve.
    GuardAsked = "guard asks",
    /// A guard puts something else in the place of what it is shown.
    GuardRewrote = "guard rewrites",
    /// A guard rules what can't be done in its place.
    GuardMisruled = "guard rules what can't be done there",
    /// A guard can't tell.
    GuardFailed = "guard fails",
    /// A guard does not come back.
    GuardHung = "guard hangs",
    /// A guard panics.
    GuardPanicked = "guard panics",
    /// A guard takes its time, and sometimes too much of it.
    GuardSlow = "guard is slow",
}

/// No turn kills its process so often in a simulation that it is not tried again: these rows are not among those that a
/// run must reach.
const NOT_SIMULATED: BodyKind = BodyKind::TurnInterrupted;

/// No shell of a simulation has latency budgets, and no session has forks.
fn is_of_others(row: &Transition) -> bool {
    use BodyKind::{LatencyBreached, SessionForked, StepInDoubt};
    matches!(row.record, LatencyBreached | SessionForked)
        || (row.record, row.from) == (StepInDoubt, Stage::Delegated)
}

/// Whether a simulation can come there.
fn is_simulated(row: &Transition) -> bool {
    row.record != NOT_SIMULATED && !is_of_others(row)
}

/// What was reached, and how often.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Coverage {
    /// The rows of the machine's table.
    pub transitions: BTreeMap<Transition, u64>,
    /// Faults at calls of ports.
    pub faults: FaultCounts,
    /// Other faults.
    pub world: BTreeMap<WorldFault, u64>,
    /// What was there to be judged.
    pub sights: BTreeMap<Sight, u64>,
}

impl Coverage {
    pub(super) fn count(&mut self, fault: WorldFault) {
        *self.world.entry(fault).or_default() += 1;
    }

    pub(super) fn see(&mut self, sight: Sight) {
        *self.sights.entry(sight).or_default() += 1;
    }

    /// Adds what another run reached.
    pub fn add(&mut self, other: &Self) {
        for (row, count) in &other.transitions {
            *self.transitions.entry(*row).or_default() += count;
        }
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (fault, count) in &other.world {
            *self.world.entry(*fault).or_default() += count;
        }
        for (sight, count) in &other.sights {
            *self.sights.entry(*sight).or_default() += count;
        }
    }

    /// Every row and every fault with how often it was reached, those never reached included: the table's rows, other
    /// faults, faults at all ports together, and faults at appends.
    pub fn rows(&self) -> Vec<(String, u64)> {
        let transitions = TRANSITIONS
            .iter()
            .filter(|row| is_simulated(row))
            .map(|row| (format!("transition {row}"), self.transitions.get(row).copied().unwrap_or_default()));
        let world = WorldFault::ALL.iter().map(|fault| {
            (format!("fault {}", fault.name()), self.world.get(fault).copied().unwrap_or_default())
        });
        let sights = Sight::ALL.iter().map(|sight| {
            (format!("seen {}", sight.name()), self.sights.get(sight).copied().unwrap_or_default())
        });
        let of_ports = Fault::ALL.iter().map(|fault| {
            let counts = self.faults.iter().filter(|((of, _), _)| of == fault);
            (format!("fault of any port: {}", fault.name()), counts.map(|(_, count)| count).sum())
        });
        let of_appends = Fault::ALL.iter().map(|fault| {
            let count = self.faults.get(&(*fault, Operation::Append)).copied().unwrap_or_default();
            (format!("fault of {}: {}", Operation::Append.name(), fault.name()), count)
        });
        let others = [Operation::Publish, Operation::SaveMarks, Operation::CommitBus];
        let of_others = others.iter().flat_map(|operation| {
            Fault::ALL.iter().filter(|fault| **fault != Fault::Reordered).filter_map(|fault| {
                // A member's calls end with it.
                let is_possible = *operation != Operation::CommitBus || *fault != Fault::Posthumous;
                let count = self.faults.get(&(*fault, *operation)).copied().unwrap_or_default();
                is_possible.then(|| (format!("fault of {}: {}", operation.name(), fault.name()), count))
            })
        });
        let ledger = [Operation::Reserve, Operation::Sweep];
        let of_ledger = Fault::ALL.iter().filter(|fault| **fault != Fault::Reordered).map(|fault| {
            let counts =
                self.faults.iter().filter(|((of, operation), _)| of == fault && ledger.contains(operation));
            (format!("fault of the ledger: {}", fault.name()), counts.map(|(_, count)| count).sum())
        });
        let keys = [Operation::CreateKey, Operation::FetchKey, Operation::DestroyKey];
        let of_keys = Fault::ALL.iter().map(|fault| {
            let counts =
                self.faults.iter().filter(|((of, operation), _)| of == fault && keys.contains(operation));
            (format!("fault of the key store: {}", fault.name()), counts.map(|(_, count)| count).sum())
        });
        let of_stores = of_appends.chain(of_others).chain(of_ledger).chain(of_keys);
        transitions.chain(world).chain(sights).chain(of_ports).chain(of_stores).collect()
    }

    /// What was reached less often than `least` times.
    pub fn missing(&self, least: u64) -> Vec<(String, u64)> {
        self.rows().into_iter().filter(|(_, count)| *count < least).collect()
    }

    pub(super) fn json(&self) -> Value {
        let mut ports: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for ((fault, operation), count) in &self.faults {
            ports.entry(operation.name()).or_default().insert(fault.name(), *count);
        }
        json!({ "rows": self.rows().into_iter().collect::<BTreeMap<_, _>>(), "faults_of_ports": ports })
    }
}
