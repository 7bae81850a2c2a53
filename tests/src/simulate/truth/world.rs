//! The world that the tools act on: targets, which remember keys and epochs as their classes promise, and what goes wrong
//! there. Every call is checked in its first poll, every effect when it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_shell_core::Call;
use agent_shell_core::data::{EffectClass, GuardPlace};
use agent_shell_core::simulation::SimClock;
use agent_shell_core::words::{Clock, Entropy, Epoch, StepId, TurnId};
use serde_json::Value;

use super::Truth;
use crate::crash::scenario::Work;
use crate::simulate::coverage::WorldFault;
use crate::simulate::heeding::heeds;
use crate::simulate::rule::Rule;
use crate::simulate::work::FLAKY;

/// A tool as the world knows it.
#[derive(Clone, Copy, Debug)]
pub(in crate::simulate) struct ToolSpec {
    pub(in crate::simulate) name: &'static str,
    pub(in crate::simulate) class: EffectClass,
    /// For how long the target remembers a key, when it forgets at all.
    pub(in crate::simulate) remembers: Option<Duration>,
}

/// The target of one step.
#[derive(Default)]
pub(super) struct Target {
    pub(super) class: Option<EffectClass>,
    pub(super) applied: u32,
    /// When each key was applied.
    keys: BTreeMap<String, Duration>,
    /// What every call bore that is not of a `Pure` tool.
    called: BTreeSet<String>,
    /// What the calls of a `Pure` tool bore in each epoch.
    looked: BTreeMap<Epoch, String>,
    /// The highest epoch that it was called or asked under.
    epoch: Epoch,
    /// The latest attempt that it said of that it was not applied, and will not be.
    refused: Option<(Epoch, u32)>,
    /// Calls that may still take effect.
    pub(super) open: u32,
}

/// What the target did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulate) enum Verdict {
    Applied,
    /// Its key was used.
    Used,
    /// It is too old.
    Stale,
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulate) enum End {
    Answers,
    Refuses,
    Ambiguous,
    Hangs,
    Panics,
}

/// A call under way, drawn when it came.
pub(in crate::simulate) struct Running {
    pub(in crate::simulate) before: Duration,
    pub(in crate::simulate) after: Duration,
    pub(in crate::simulate) end: End,
    /// Whether it is sent to the target at all.
    pub(in crate::simulate) sent: bool,
    late: bool,
    open: Open,
}

/// A call that may still take effect. It may until this is dropped.
struct Open {
    truth: Truth,
    of: (TurnId, StepId),
    is_gone: Arc<AtomicBool>,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(target) = self.truth.facts().targets.get_mut(&self.of) {
            target.open -= 1;
        }
    }
}

/// What becomes of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulate) enum Probing {
    Answers,
    Fails,
    Hangs,
}

/// Whoever made the call waits for it no more when this is dropped.
pub(in crate::simulate) struct Caller(Arc<AtomicBool>);

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Truth {
    fn percent(&self, percent: u64) -> bool {
        self.shared.entropy.below(100) < percent
    }

    fn below(&self, longest: Duration) -> Duration {
        Duration::from_micros(self.shared.entropy.below(longest.as_micros().try_into().unwrap_or(u64::MAX)))
    }

    fn open(&self, call: &Call) -> Open {
        let of = (call.turn, call.step.clone());
        self.facts().targets.entry(of.clone()).or_default().open += 1;
        Open { truth: self.clone(), of, is_gone: Arc::default() }
    }

    /// A tool is called. This is the first poll of the call: what must hold when an act begins must hold now.
    pub(in crate::simulate) fn called(
        &self,
        tool: ToolSpec,
        (work, input): (&Work, &Value),
        call: &Call,
        clock: &SimClock,
    ) -> (Running, Caller) {
        self.check_call(tool, input, call, clock);
        self.tell(|| {
            let Call { turn, step, epoch, attempt, .. } = call;
            format!("call of {} for turn {turn} step {step}, epoch {epoch}, attempt {attempt}", tool.name)
        });
        let end = self.draw_end(work);
        let (before, after) = (self.below(Duration::from_millis(8)), self.below(Duration::from_millis(8)));
        let sent = match end {
            End::Refuses => false,
            End::Answers => true,
            End::Ambiguous | End::Hangs | End::Panics => self.percent(60),
        };
        let late = sent && !self.is_calm() && self.percent(self.settings().world.late);
        let unsure = late && end == End::Answers && tool.class == EffectClass::Probed && self.percent(30);
        if unsure {
            self.count(WorldFault::ToolAmbiguous);
        }
        let end = if unsure { End::Ambiguous } else { end };
        let open = self.open(call);
        let caller = Caller(open.is_gone.clone());
        (Running { before, after, end, sent, late, open }, caller)
    }

    fn draw_end(&self, work: &Work) -> End {
        let rates = &self.settings().world;
        if work.own >= FLAKY {
            self.count(WorldFault::ToolRefused);
            return End::Refuses;
        }
        if work.refuse || self.is_calm() {
            return End::Answers;
        }
        let chances = [
            (End::Refuses, rates.refused, WorldFault::ToolRefused),
            (End::Ambiguous, rates.ambiguous, WorldFault::ToolAmbiguous),
            (End::Hangs, rates.hung, WorldFault::ToolHung),
            (End::Panics, rates.panicked, WorldFault::ToolPanicked),
        ];
        for (end, percent, fault) in chances {
            if self.percent(percent) {
                self.count(fault);
                return end;
            }
        }
        End::Answers
    }

    fn check_call(&self, tool: ToolSpec, input: &Value, call: &Call, clock: &SimClock) {
        let mut found = Vec::new();
        let now = self.now();
        let mut facts = self.facts();
        let target = facts.targets.entry((call.turn, call.step.clone())).or_default();
        target.class = Some(tool.class);
        if tool.class == EffectClass::Pure {
            // A plan of `Pure` steps may be acted on before it is durable, and made anew by the next owner.
            let key = target.looked.entry(call.epoch).or_insert_with(|| call.key().to_owned());
            // A call that heeds the context is another one when that has changed.
            if key != call.key() && !heeds(tool.name) {
                found.push((Rule::Key, "is called under two keys in one epoch".into()));
            }
        } else {
            target.called.insert(call.key().to_owned());
        }
        if target.called.len() > 1 {
            found.push((Rule::Key, format!("is called under the keys {:?}", target.called)));
        }
        let of = (GuardPlace::BeforeTool, tool.class == EffectClass::Pure);
        facts.check_allowed(of, input, call, self.settings(), &mut found);
        facts.check_set_aside(call, self.settings(), &mut found);
        if tool.class != EffectClass::Pure {
            if call.deadline.has_passed(clock) {
                found.push((Rule::Lease, "begins after its deadline".into()));
            }
            facts.check_begun(input, call, now, self.settings().limits.lease_ms, &mut found);
        }
        drop(facts);
        for (rule, problem) in found {
            let Call { turn, step, epoch, attempt, .. } = call;
            self.say(
                rule,
                format!(
                    "turn {turn} step {step} ({}), epoch {epoch}, attempt {attempt}: {problem}",
                    tool.name
                ),
            );
        }
    }

    /// Sends a call to its target, which does it a little later, whoever waits: at the latest as long after the deadline
    /// as an attempt may be late. The receiver hears what came of it.
    pub(in crate::simulate) fn send(
        &self,
        tool: ToolSpec,
        call: &Call,
        running: Running,
        clock: &SimClock,
    ) -> futures::channel::oneshot::Receiver<Verdict> {
        let left = call.deadline.monotonic.since(clock.monotonic());
        // Recorded deadlines are whole milliseconds.
        let longest = (left + self.settings().limits.lateness()).saturating_sub(Duration::from_millis(2));
        let delay =
            if running.late { self.below(longest) } else { self.below(left.min(Duration::from_millis(12))) };
        // A clock that jumps forward lets the target be asked while the call is still on its way.
        if running.late && tool.class == EffectClass::Probed && self.settings().clocks_jump {
            self.count(WorldFault::WallForward);
            clock.jump_ms(2_000);
        }
        let (tell, told) = futures::channel::oneshot::channel();
        let (truth, call, Running { open, .. }) = (self.clone(), call.clone(), running);
        self.shared.world.spawn(Box::pin(async move {
            truth.shared.time.sleep(delay).await;
            let verdict = truth.happens(tool, &call);
            if tool.class != EffectClass::Pure && open.is_gone.load(Ordering::Relaxed) {
                truth.count(WorldFault::LateAct);
            }
            drop(open);
            // Nobody may be there any more to hear it.
            tell.send(verdict).ok();
        }));
        told
    }

    /// A call reaches its target.
    fn happens(&self, tool: ToolSpec, call: &Call) -> Verdict {
        let now = self.now();
        let guards_itself = self.settings().clocks_jump;
        let mut facts = self.facts();
        let target = facts.targets.entry((call.turn, call.step.clone())).or_default();
        let is_known = target.keys.get(call.key()).is_some_and(|at| match tool.remembers {
            // Only where clocks can be relied on does the target forget as early as it may.
            Some(remembers) if !guards_itself => now < *at + remembers,
            _ => true,
        });
        let is_stale = tool.class == EffectClass::Probed
            && (call.epoch < target.epoch
                || (guards_itself
                    && target.refused.is_some_and(|refused| (call.epoch, call.attempt) <= refused)));
        let repeats = matches!(tool.class, EffectClass::Idempotent | EffectClass::Probed);
        let verdict = match tool.class {
            _ if is_known && repeats => Verdict::Used,
            _ if is_stale => Verdict::Stale,
            EffectClass::Pure => return Verdict::Applied,
            _ => Verdict::Applied,
        };
        target.epoch = target.epoch.max(call.epoch);
        if verdict == Verdict::Applied {
            target.applied += 1;
            target.keys.insert(call.key().to_owned(), now);
        }
        let applied = target.applied;
        drop(facts);
        self.tell(|| {
            format!(
                "turn {} step {} ({}), attempt {}: {verdict:?} at the target",
                call.turn, call.step, tool.name, call.attempt
            )
        });
        match verdict {
            Verdict::Stale => self.count(WorldFault::ActFenced),
            _ if applied > 1 => {
                let Call { turn, step, epoch, attempt, .. } = call;
                self.say(
                    Rule::Effect,
                    format!("turn {turn} step {step} ({}): applied a second time, in epoch {epoch}, attempt {attempt}", tool.name),
                );
            }
            _ => {}
        }
        verdict
    }

    /// A target is asked about an attempt.
    pub(in crate::simulate) fn asked(&self, call: &Call) -> Probing {
        let wall = self.wall();
        let lateness = self.settings().limits.lateness();
        let deadline = self.facts().deadline_of(call);
        if !self.settings().clocks_jump && wall < deadline.plus(lateness) {
            self.say(
                Rule::Early,
                format!("turn {} step {}: asked about at {wall}, deadline {deadline}", call.turn, call.step),
            );
        }
        if self.is_calm() {
            return Probing::Answers;
        }
        let rates = &self.settings().world;
        if self.percent(rates.probe_failed) {
            self.count(WorldFault::ProbeFailed);
            Probing::Fails
        } else if self.percent(rates.probe_hung) {
            self.count(WorldFault::ProbeHung);
            Probing::Hangs
        } else {
            Probing::Answers
        }
    }

    /// Whether a call took effect. A target that says that it did not will not do it any more.
    pub(in crate::simulate) fn was_applied(&self, call: &Call) -> bool {
        let mut facts = self.facts();
        let target = facts.targets.entry((call.turn, call.step.clone())).or_default();
        target.epoch = target.epoch.max(call.epoch);
        let was_applied = target.keys.contains_key(call.key());
        if !was_applied {
            target.refused = target.refused.max(Some((call.epoch, call.attempt)));
        }
        was_applied
    }

    /// What an operator finds out about a step; none when a call of it may still take effect and clocks can't be relied on.
    pub(in crate::simulate) fn found_out(&self, turn: TurnId, step: &StepId) -> Option<bool> {
        let facts = self.facts();
        let target = facts.targets.get(&(turn, step.clone()));
        let is_open = target.is_some_and(|target| target.open > 0);
        let applied = target.is_some_and(|target| target.applied > 0);
        if applied {
            return Some(true);
        }
        (!self.settings().clocks_jump || !is_open).then_some(false)
    }
}
