//! What simulated processes share beside the store: a bus, and the groups that work on events.

#![deny(clippy::missing_trait_methods)]

use std::future::pending;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use agent_shell_core::backends::local_bus::{LocalBus, LocalBusOptions};
use agent_shell_core::ports::{
    At, Bus, BusCapabilities, BusError, BusMember, Delivery, EventHandler, HighWater, Lag, Marks, Message,
    Peeked, Reach, StoreError,
};
use agent_shell_core::simulation::{SeededEntropy, SimClock};
use agent_shell_core::words::{Entropy, GroupName, SessionId, TopicName};
use agent_shell_core::{Consumer, Envelope, HandlerError};
use async_trait::async_trait;
use futures::FutureExt;
use tokio::sync::watch;

use super::coverage::WorldFault;
use super::settings::Settings;
use super::truth::{LifeId, Truth};

/// The groups, each of which must be given every event.
pub(super) const GROUPS: [&str; 2] = ["billing", "audit"];

/// The topic of what the runtime tells.
const TOPIC: &str = "agent-shell.events";

/// Who has which bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BusKind {
    /// Nobody tells anything.
    None,
    /// Each process has one of its own, which dies with it.
    Own,
    /// All processes have one, which every call travels to, and which loses what it has.
    Shared,
}

/// A local bus that is watched, and that may lose what it has.
#[derive(Clone)]
pub(super) struct SimBus {
    inner: LocalBus,
    reach: Reach,
    truth: Truth,
    /// How often it has crashed.
    crashes: Arc<watch::Sender<u64>>,
}

impl SimBus {
    /// An empty bus. Both groups are there from the beginning.
    pub(super) fn new(truth: &Truth, clock: SimClock, reach: Reach) -> Self {
        let Settings { bus_partitions, bus_messages, .. } = *truth.settings();
        let mut options = LocalBusOptions::default();
        (options.partitions, options.messages) = (bus_partitions, bus_messages);
        let bus = Self {
            inner: LocalBus::with_clock(options, Arc::new(clock)),
            reach,
            truth: truth.clone(),
            crashes: Arc::new(watch::Sender::new(0)),
        };
        if let (Reach::Everywhere, Some(topic)) = (reach, topic()) {
            // A bus that reaches others keeps what it has for groups to come.
            bus.inner.open(&topic).now_or_never();
            for group in GROUPS.iter().filter_map(|group| GroupName::new(group).ok()) {
                drop(bus.inner.join(&topic, &group).now_or_never());
            }
        }
        bus
    }

    /// The bus crashes: it loses all that it has, or the ends of some partitions, and may then take other messages at the
    /// offsets that are free again.
    pub(super) fn crash(&self, entropy: &SeededEntropy) {
        let Some(topic) = topic() else { return };
        // Whoever is connected is cut off: what a member read before must not be committed after.
        self.crashes.send_modify(|crashes| *crashes += 1);
        let all = entropy.below(4) == 0;
        let mut lost = 0;
        for partition in 0..self.truth.settings().bus_partitions {
            let last = self.inner.peek(&topic, partition, At::Last).now_or_never();
            let Some(Ok(Peeked::Found(last))) = last else { continue };
            let end = last.offset + 1;
            let tail = 1 + entropy.below(6);
            let from = if all { 0 } else { end.saturating_sub(tail) };
            if !all && entropy.below(2) == 0 {
                continue;
            }
            // What its publisher had sent last may come after the crash, in the place of what came before.
            let again = (1 + entropy.below(3)).min(end.saturating_sub(from + 1));
            let again = self.messages(&topic, partition, end - again..end);
            let kept = self.messages(&topic, partition, 0..from);
            let gone = self.messages(&topic, partition, from..end);
            lost += self.inner.lose_from(&topic, partition, from);
            self.truth.lost(&gone, &kept);
            if !again.is_empty() && entropy.below(2) == 0 {
                self.truth.count(WorldFault::BusOverwritten);
                if let Some(Ok(())) = self.inner.publish(&topic, again.clone()).now_or_never() {
                    self.truth.on_bus(&again);
                }
            }
        }
        if lost > 0 {
            self.truth.count(if all { WorldFault::BusLost } else { WorldFault::BusTailLost });
            self.truth.tell(|| format!("the bus loses {lost} offsets"));
        }
    }

    /// What stands at these offsets, but for what the bus has let go of.
    fn messages(&self, topic: &TopicName, partition: u32, offsets: Range<u64>) -> Vec<Message> {
        let at = |offset| self.inner.peek(topic, partition, At::Offset(offset)).now_or_never();
        let found = offsets.filter_map(|offset| match at(offset) {
            Some(Ok(Peeked::Found(delivery))) => Some(delivery.message),
            _ => None,
        });
        found.collect()
    }
}

fn topic() -> Option<TopicName> {
    TopicName::new(TOPIC).ok()
}

#[async_trait]
impl Bus for SimBus {
    fn capabilities(&self) -> BusCapabilities {
        let BusCapabilities { batch_messages, batch_bytes, .. } = self.inner.capabilities();
        BusCapabilities::new(self.reach, batch_messages.min(self.truth.settings().bus_batch), batch_bytes)
    }

    async fn open(&self, topic: &TopicName) -> Result<u32, BusError> {
        self.inner.open(topic).await
    }

    async fn publish(&self, topic: &TopicName, messages: Vec<Message>) -> Result<(), BusError> {
        let published = messages.clone();
        let answer = self.inner.publish(topic, messages).await;
        match &answer {
            Ok(()) => self.truth.on_bus(&published),
            Err(BusError::Full) => self.truth.count(WorldFault::BusFull),
            Err(_) => {}
        }
        answer
    }

    async fn peek(&self, topic: &TopicName, partition: u32, at: At) -> Result<Peeked, BusError> {
        self.inner.peek(topic, partition, at).await
    }

    async fn join(&self, topic: &TopicName, group: &GroupName) -> Result<Box<dyn BusMember>, BusError> {
        let inner = self.inner.join(topic, group).await?;
        let crashes = self.crashes.subscribe();
        let connected = *crashes.borrow();
        Ok(Box::new(SimMember { inner, connected, crashes }))
    }

    async fn is_awaited(&self, topic: &TopicName) -> Result<bool, BusError> {
        self.inner.is_awaited(topic).await
    }

    async fn lag(&self, topic: &TopicName, group: &GroupName) -> Result<Lag, BusError> {
        self.inner.lag(topic, group).await
    }
}

/// A member, which is connected until the bus crashes.
struct SimMember {
    inner: Box<dyn BusMember>,
    connected: u64,
    crashes: watch::Receiver<u64>,
}

fn cut_off() -> BusError {
    BusError::Unavailable { detail: "the bus has crashed since".into() }
}

#[async_trait]
impl BusMember for SimMember {
    async fn poll(&mut self, limit: usize) -> Result<Vec<Delivery>, BusError> {
        let Self { inner, connected, crashes } = self;
        tokio::select! {
            biased;
            _ = crashes.wait_for(|crashes| crashes != connected) => Err(cut_off()),
            read = inner.poll(limit) => read,
        }
    }

    async fn commit(&mut self, offsets: &[(u32, u64)]) -> Result<(), BusError> {
        if *self.crashes.borrow() != self.connected {
            return Err(cut_off());
        }
        self.inner.commit(offsets).await
    }

    fn assigned(&self) -> Vec<u32> {
        self.inner.assigned()
    }
}

/// The marks as one process reads them: it is noted what it was told.
pub(super) struct ReadMarks {
    pub(super) inner: Arc<dyn Marks>,
    pub(super) truth: Truth,
    pub(super) life: LifeId,
}

#[async_trait]
impl Marks for ReadMarks {
    async fn load(&self, group: &GroupName, sessions: &[SessionId]) -> Result<Vec<HighWater>, StoreError> {
        let marks = self.inner.load(group, sessions).await?;
        for (session, mark) in sessions.iter().zip(&marks) {
            self.truth.told_mark(self.life, group.as_str(), *session, *mark);
        }
        Ok(marks)
    }

    async fn save(&self, group: &GroupName, marks: &[(SessionId, HighWater)]) -> Result<(), StoreError> {
        self.inner.save(group, marks).await
    }

    async fn behind(
        &self,
        group: &GroupName,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<(SessionId, HighWater)>, StoreError> {
        let marks = self.inner.behind(group, after, limit).await?;
        for (session, mark) in &marks {
            self.truth.told_mark(self.life, group.as_str(), *session, *mark);
        }
        Ok(marks)
    }
}

/// What a group does in one process.
struct Handler {
    truth: Truth,
    entropy: Arc<SeededEntropy>,
    life: LifeId,
    group: &'static str,
}

/// A consumer of a group, in one life of a process.
pub(super) fn consumer(
    truth: &Truth,
    entropy: &Arc<SeededEntropy>,
    life: LifeId,
    group: &'static str,
    marks: Arc<dyn Marks>,
) -> Consumer {
    let handler = Handler { truth: truth.clone(), entropy: entropy.clone(), life, group };
    Consumer::new(group, handler).marks(Arc::new(ReadMarks { inner: marks, truth: truth.clone(), life }))
}

#[async_trait]
impl EventHandler for Handler {
    async fn handle(&self, event: Envelope) -> Result<(), HandlerError> {
        let _handling = self.truth.handled(self.life, self.group, &event);
        self.truth.pause().await;
        self.trouble(true).await?;
        self.truth.effected(self.group, &event);
        self.truth.pause().await;
        self.trouble(false).await
    }

    async fn missed(&self, session: SessionId, sequences: RangeInclusive<u64>) {
        self.truth.missed(self.life, self.group, session, sequences);
    }
}

impl Handler {
    /// What may go wrong before the effect, and after it.
    async fn trouble(&self, before: bool) -> Result<(), HandlerError> {
        let percent = self.truth.settings().world.handler;
        if self.truth.is_calm() || self.entropy.below(200) >= percent {
            return Ok(());
        }
        let (fails, hangs) = match before {
            true => (WorldFault::HandlerFailed, WorldFault::HandlerHung),
            false => (WorldFault::HandlerFailedLate, WorldFault::HandlerHungLate),
        };
        match self.entropy.below(5) {
            0..3 => {
                self.truth.count(fails);
                Err(HandlerError::new("it fails on purpose"))
            }
            3 => {
                self.truth.count(hangs);
                pending().await
            }
            _ => {
                self.truth.count(WorldFault::HandlerPanicked);
                // No message on standard error, as a hook would write for `panic!`.
                std::panic::resume_unwind(Box::new("it panics on purpose"))
            }
        }
    }
}
