//! What may go wrong between a process and its store, how often, and how often it did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::entropy::SeededEntropy;
use super::executor::Group;
use crate::words::Entropy;

/// What went wrong at a call of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The process died when it had asked, and nothing reached the store.
    CrashBefore,
    /// The process died when the store had done it, and before it said so.
    CrashAfter,
    /// The store did it, and the answer was lost.
    AnswerLost,
    /// It never reached the store, and the caller was told that it may have.
    TimedOut,
    /// The store refused it, and the caller was told so.
    Refused,
    /// It took long.
    Slow,
    /// The store did it before something that had been asked for earlier.
    Reordered,
    /// The store did it when whoever had asked was dead.
    Posthumous,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 8] = [
        Self::CrashBefore,
        Self::CrashAfter,
        Self::AnswerLost,
        Self::TimedOut,
        Self::Refused,
        Self::Slow,
        Self::Reordered,
        Self::Posthumous,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CrashBefore => "crash before it is done",
            Self::CrashAfter => "crash after it is done",
            Self::AnswerLost => "done, and the answer lost",
            Self::TimedOut => "not done, and timed out",
            Self::Refused => "refused",
            Self::Slow => "slow",
            Self::Reordered => "reordered",
            Self::Posthumous => "done after the caller's death",
        }
    }
}

macro_rules! operations {
    ($($(#[$doc:meta])* $variant:ident = $name:literal $kind:ident),+ $(,)?) => {
        /// A call of a port.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Operation { $($(#[$doc])* $variant,)+ }

        impl Operation {
            /// Every operation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name: the port's and the function's.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Whether it changes the store, so that it can be unknown whether it happened.
            pub const fn writes(self) -> bool {
                match self { $(Self::$variant => operations!(@$kind),)+ }
            }
        }
    };
    (@writes) => { true };
    (@reads) => { false };
}

operations! {
    /// `Journal::open_session`.
    OpenSession = "journal.open_session" writes,
    /// `Journal::append`.
    Append = "journal.append" writes,
    /// `Journal::read`.
    Read = "journal.read" reads,
    /// `Journal::blob`.
    Blob = "journal.blob" reads,
    /// `Journal::snapshot`.
    Snapshot = "journal.snapshot" reads,
    /// `Journal::session`.
    Session = "journal.session" reads,
    /// `Journal::sessions`.
    Sessions = "journal.sessions" reads,
    /// `Journal::turn`.
    Turn = "journal.turn" reads,
    /// `Journal::actor`.
    Actor = "journal.actor" reads,
    /// `Mailbox::post`.
    Post = "mailbox.post" writes,
    /// `Mailbox::waiting`.
    Waiting = "mailbox.waiting" reads,
    /// `Mailbox::awaiting`.
    Awaiting = "mailbox.awaiting" reads,
    /// `Mailbox::dedupe`.
    Dedupe = "mailbox.dedupe" reads,
    /// `Ownership::enlist`.
    Enlist = "ownership.enlist" writes,
    /// `Ownership::renew`.
    Renew = "ownership.renew" writes,
    /// `Ownership::claim`.
    Claim = "ownership.claim" writes,
    /// `Ownership::release`.
    Release = "ownership.release" writes,
    /// `Ownership::resign`.
    Resign = "ownership.resign" writes,
    /// `Outbox::pending`.
    Pending = "outbox.pending" reads,
    /// `Outbox::kept`.
    Kept = "outbox.kept" reads,
    /// `Outbox::acknowledge`.
    Acknowledge = "outbox.acknowledge" writes,
    /// `Outbox::replay`.
    Replay = "outbox.replay" reads,
    /// `Outbox::trim`.
    Trim = "outbox.trim" writes,
    /// `Ownership::hold`.
    Hold = "ownership.hold" writes,
    /// `Archive::blobs`.
    Blobs = "archive.blobs" reads,
    /// `Archive::archive`.
    Archive = "archive.archive" writes,
    /// `Archive::restore`.
    Restore = "archive.restore" writes,
    /// `Archive::expire`.
    Expire = "archive.expire" writes,
    /// `Marks::load`.
    LoadMarks = "marks.load" reads,
    /// `Marks::save`.
    SaveMarks = "marks.save" writes,
    /// `Marks::behind`.
    Behind = "marks.behind" reads,
    /// `Ledger::reserve`.
    Reserve = "ledger.reserve" writes,
    /// `Ledger::settle`.
    Settle = "ledger.settle" writes,
    /// `Ledger::sweep`.
    Sweep = "ledger.sweep" writes,
    /// `Ledger::reconcile`.
    Reconcile = "ledger.reconcile" writes,
    /// `Ledger::balance`.
    Balance = "ledger.balance" reads,
    /// `Ledger::reopen`.
    Reopen = "ledger.reopen" writes,
    /// `Ledger::operations`.
    Operations = "ledger.operations" reads,
    /// `Ledger::trim`.
    TrimLedger = "ledger.trim" writes,
    /// `Bus::open`.
    OpenTopic = "bus.open" writes,
    /// `Bus::publish`.
    Publish = "bus.publish" writes,
    /// `Bus::peek`.
    Peek = "bus.peek" reads,
    /// `Bus::join`.
    Join = "bus.join" writes,
    /// `Bus::lag`.
    Lag = "bus.lag" reads,
    /// `BusMember::poll`.
    PollBus = "bus.poll" reads,
    /// `BusMember::commit`.
    CommitBus = "bus.commit" writes,
    /// `KeyStore::create`.
    CreateKey = "keys.create" writes,
    /// `KeyStore::fetch`.
    FetchKey = "keys.fetch" reads,
    /// `KeyStore::destroy`.
    DestroyKey = "keys.destroy" writes,
}

/// How often what goes wrong, in a thousand calls of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rates {
    /// [`Fault::CrashBefore`].
    pub crash_before: u32,
    /// [`Fault::CrashAfter`].
    pub crash_after: u32,
    /// [`Fault::AnswerLost`], of calls that write.
    pub answer_lost: u32,
    /// [`Fault::TimedOut`], of calls that write.
    pub timed_out: u32,
    /// [`Fault::Refused`].
    pub refused: u32,
    /// [`Fault::Slow`].
    pub slow: u32,
    /// Calls that are answered at once, in the poll that asks. All others answer later, and are pending until then.
    pub at_once: u32,
    /// How long a call is usually on its way, at most, there and back each.
    pub usual: Duration,
    /// How long a slow one is, at most.
    pub slowest: Duration,
}

impl Default for Rates {
    /// Nothing goes wrong.
    fn default() -> Self {
        Self {
            crash_before: 0,
            crash_after: 0,
            answer_lost: 0,
            timed_out: 0,
            refused: 0,
            slow: 0,
            at_once: 300,
            usual: Duration::from_millis(3),
            slowest: Duration::from_secs(2),
        }
    }
}

/// How often each fault happened at each operation.
pub type FaultCounts = BTreeMap<(Fault, Operation), u64>;

/// The processes that asked to die.
#[derive(Debug, Clone, Default)]
pub struct Crashes {
    asked: Arc<Mutex<BTreeSet<Group>>>,
}

impl Crashes {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<Group>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the death of a process. Whoever drives the executor kills it before the next poll.
    pub fn ask(&self, group: Group) {
        self.lock().insert(group);
    }

    /// Those that asked since the last call.
    pub fn take(&self) -> BTreeSet<Group> {
        std::mem::take(&mut *self.lock())
    }
}

/// Draws what goes wrong for one process, and counts it.
#[derive(Debug)]
pub struct Faults {
    entropy: SeededEntropy,
    rates: Rates,
    stopped: AtomicBool,
    cut: AtomicBool,
    dead: AtomicBool,
    asked: AtomicU64,
    done: AtomicU64,
    counts: Arc<Mutex<FaultCounts>>,
}

/// What becomes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) at_once: bool,
    pub(super) there: Duration,
    pub(super) back: Duration,
    pub(super) fault: Option<Fault>,
}

impl Faults {
    /// Faults at these rates, counted in `counts`, which many may share.
    pub fn new(entropy: SeededEntropy, rates: Rates, counts: Arc<Mutex<FaultCounts>>) -> Self {
        Self {
            entropy,
            rates,
            stopped: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            done: AtomicU64::new(0),
            counts,
        }
    }

    /// From now on nothing goes wrong any more.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Cuts the process off from the store, or ends that: no call is answered as long as it lasts, though some that write
    /// are still done.
    pub fn cut_off(&self, is_cut: bool) {
        self.cut.store(is_cut, Ordering::Relaxed);
    }

    /// The process is dead: what it had asked for is done all the same, and counted as [`Fault::Posthumous`].
    pub fn died(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    pub(super) fn count(&self, fault: Fault, operation: Operation) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((fault, operation)).or_default() += 1;
    }

    /// The number of a call, in the order in which calls are made.
    pub(super) fn ticket(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The store does what the call with this number asked for.
    pub(super) fn doing(&self, ticket: u64, operation: Operation) {
        if self.done.fetch_max(ticket, Ordering::Relaxed) > ticket {
            self.count(Fault::Reordered, operation);
        }
        if self.dead.load(Ordering::Relaxed) {
            self.count(Fault::Posthumous, operation);
        }
    }

    pub(super) fn fate(&self, operation: Operation) -> Fate {
        let usual = |longest: Duration| {
            Duration::from_micros(self.entropy.below(longest.as_micros().try_into().unwrap_or(u64::MAX)))
        };
        let at_once = self.entropy.per_thousand(self.rates.at_once);
        let (there, back) = (usual(self.rates.usual), usual(self.rates.usual));
        let fate = Fate { at_once, there, back, fault: None };
        if self.stopped.load(Ordering::Relaxed) {
            return fate;
        }
        let Some(fault) = self.draw(operation) else { return fate };
        self.count(fault, operation);
        let fate = Fate { at_once: false, fault: Some(fault), ..fate };
        match fault {
            Fault::Slow if self.entropy.per_thousand(500) => {
                Fate { there: usual(self.rates.slowest), ..fate }
            }
            Fault::Slow => Fate { back: usual(self.rates.slowest), ..fate },
            Fault::TimedOut | Fault::AnswerLost => Fate { back: usual(self.rates.slowest), ..fate },
            _ => fate,
        }
    }

    fn draw(&self, operation: Operation) -> Option<Fault> {
        let Rates { crash_before, crash_after, answer_lost, timed_out, refused, slow, .. } = self.rates;
        let of_writes = |rate: u32| if operation.writes() { rate } else { 0 };
        // What is published goes out together, so there are few calls of it.
        let often = if operation == Operation::Publish { 4 } else { 1 };
        let chances = [
            (Fault::CrashBefore, often * crash_before),
            (Fault::CrashAfter, often * crash_after),
            (Fault::AnswerLost, of_writes(answer_lost)),
            (Fault::TimedOut, of_writes(timed_out)),
            (Fault::Refused, refused),
            (Fault::Slow, slow),
        ];
        if self.cut.load(Ordering::Relaxed) {
            return Some(match operation.writes() {
                true if self.entropy.per_thousand(500) => Fault::AnswerLost,
                true => Fault::TimedOut,
                false => Fault::Refused,
            });
        }
        let mut drawn = self.entropy.below(1000);
        for (fault, rate) in chances {
            if drawn < u64::from(rate) {
                return Some(fault);
            }
            drawn -= u64::from(rate);
        }
        None
    }
}
