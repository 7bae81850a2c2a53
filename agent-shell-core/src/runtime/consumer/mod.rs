//! Consumers: the host's handlers, and how events come to them.
//!
//! A consumer is a member of a group on the bus. It drops what its group has done, asks the outbox for what is missing,
//! and calls the handler for the events of each session in order. The mark of a session is saved after its handler
//! returned, and the bus is told after that; so whatever happens in between, the event comes again.

mod advance;
mod serve;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use self::serve::{End, Serving, Trouble};
use super::core::{Core, Stopping};
use super::events::{Events, TOPIC};
use super::publisher;
use super::shell::ShellBuilder;
use crate::ports::{Bus, BusError, BusMember, EventHandler, Marks, Reach, StoreError};
use crate::words::{Error, ErrorKind, GroupName, InvalidName, Result, SessionId, TopicName};

/// The pause after a failure of the bus or of the store; it doubles with each one that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A handler, and the group for which it works. Every group gets every event; of the members of a group, in this
/// process and in others, one gets it.
pub struct Consumer {
    group: std::result::Result<GroupName, InvalidName>,
    topic: std::result::Result<TopicName, InvalidName>,
    handler: Arc<dyn EventHandler>,
    marks: Option<Arc<dyn Marks>>,
}

impl Consumer {
    /// A consumer of what the runtime tells. The group's name is kept with its marks: a new name begins anew.
    pub fn new(group: impl AsRef<str>, handler: impl EventHandler) -> Self {
        let (group, topic) = (GroupName::new(group), TopicName::new(TOPIC));
        Self { group, topic, handler: Arc::new(handler), marks: None }
    }

    /// Reads another topic of the bus. A group reads one topic, here and in every other process: it has one mark for a
    /// session, whose sequence goes through all topics of the store. So where an event of this topic is missing, the
    /// outbox is asked for it, and what it has for other topics is passed over in silence. So an event of
    /// such a topic must have been written through the store's outbox.
    #[must_use]
    pub fn topic(mut self, topic: impl AsRef<str>) -> Self {
        self.topic = TopicName::new(topic);
        self
    }

    /// Keeps the group's marks elsewhere than in the shell's store: with what the handler writes. A handler that
    /// raises a mark in one transaction with its effect has the effect once.
    #[must_use]
    pub fn marks(mut self, marks: Arc<dyn Marks>) -> Self {
        self.marks = Some(marks);
        self
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("group", &self.group).finish_non_exhaustive()
    }
}

/// What a host asked for that has to do with events.
#[derive(Default)]
pub(super) struct Telling {
    source: Option<String>,
    bus: Option<Arc<dyn Bus>>,
    consumers: Vec<Consumer>,
}

impl ShellBuilder {
    /// Writes what happens to turns and rests into the outbox, as events with this `source`: a URI reference that says
    /// who tells, such as `/shops/eu`. Without a [`ShellBuilder::bus`], another process that shares the store must
    /// publish them: nothing else empties the outbox. All processes that share a store should tell, or none.
    pub fn events(mut self, source: impl Into<String>) -> Self {
        self.telling.source = Some(source.into());
        self
    }

    /// Tells what happens to turns and rests over a bus, at least once. The source is `/agent-shell` where
    /// [`ShellBuilder::events`] does not say another. On a bus of one process, such as `LocalBus`, a shell without a
    /// consumer publishes nothing: its events wait in the outbox, and are kept there, for a process of the store that has
    /// one.
    ///
    /// A bus is for the shells of **one store**: topic and groups are named alike in every store, so two stores on one
    /// bus would take each other's events. What tells of a session that the store does not know is not handled, and said
    /// as an error in the log; a group of the same name in both stores would still lose what the other takes.
    pub fn bus(mut self, bus: Arc<dyn Bus>) -> Self {
        self.telling.bus = Some(bus);
        self
    }

    /// Adds a handler of events. Needs a [`ShellBuilder::bus`].
    pub fn consumer(mut self, consumer: Consumer) -> Self {
        self.telling.consumers.push(consumer);
        self
    }
}

/// A consumer whose names are checked.
pub(crate) struct Subscriber {
    group: GroupName,
    topic: TopicName,
    handler: Arc<dyn EventHandler>,
    marks: Option<Arc<dyn Marks>>,
}

impl Telling {
    /// What the shell shares, if it tells anything, and who is told.
    pub(super) fn check(self) -> Result<(Option<Arc<Events>>, Vec<Subscriber>)> {
        let wrong = |message: &'static str| Err(Error::new(ErrorKind::InvalidInput, message));
        if self.bus.is_none() && !self.consumers.is_empty() {
            return wrong("a consumer needs a bus: give the shell one with `ShellBuilder::bus`");
        }
        if self.source.as_ref().is_some_and(String::is_empty) {
            return wrong("the source of events is empty: name the application, such as `/shops/eu`");
        }
        let mut subscribers: Vec<Subscriber> = Vec::new();
        for Consumer { group, topic, handler, marks } in self.consumers {
            let (group, topic) = (group?, topic?);
            // Also on two topics: a group has one mark for a session, which would pass over the events of the other.
            if subscribers.iter().any(|other| other.group == group) {
                let message = format!("two consumers are of group `{group}`: give each a group of its own");
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
            subscribers.push(Subscriber { group, topic, handler, marks });
        }
        if self.source.is_none() && self.bus.is_none() {
            return Ok((None, subscribers));
        }
        let source = self.source.unwrap_or_else(|| "/agent-shell".to_owned());
        let events = Events::new(source, TopicName::new(TOPIC)?, self.bus);
        Ok((Some(Arc::new(events)), subscribers))
    }
}

/// Starts the publisher and the consumers of a shell. The groups join first: a bus that holds nothing for groups that
/// it does not know must know them before anything is published.
pub(super) async fn start(core: &Arc<Core>, subscribers: Vec<Subscriber>) {
    let Some(events) = core.events.clone() else { return };
    let Some(bus) = events.bus.clone() else { return };
    for Subscriber { group, topic, handler, marks } in subscribers {
        let subscription = Arc::new(Subscription {
            marks: marks.unwrap_or_else(|| core.store.marks.clone()),
            core: core.clone(),
            events: events.clone(),
            bus: bus.clone(),
            group,
            topic,
            handler,
        });
        // One that reaches other processes keeps what it has for groups to come, and may be out of reach now. The member
        // leaves at once, and its group stays: as long as this process does not publish, no partition is its own.
        let is_known = match bus.capabilities().reach {
            Reach::Process => subscription.join().await.is_ok(),
            Reach::Everywhere => true,
        };
        core.spawn.spawn(Box::pin(subscription.keep(is_known)));
    }
    core.spawn.spawn(Box::pin(publisher::keep(core.clone(), events, bus)));
}

/// A member of a group, and how many partitions there are.
type Joined = (Box<dyn BusMember>, u32);

/// A consumer of a shell that runs.
pub(super) struct Subscription {
    pub(super) core: Arc<Core>,
    events: Arc<Events>,
    bus: Arc<dyn Bus>,
    pub(super) group: GroupName,
    pub(super) topic: TopicName,
    pub(super) handler: Arc<dyn EventHandler>,
    pub(super) marks: Arc<dyn Marks>,
}

impl Subscription {
    async fn join(&self) -> std::result::Result<Joined, BusError> {
        let partitions = self.bus.open(&self.topic).await?;
        Ok((self.bus.join(&self.topic, &self.group).await?, partitions))
    }

    /// Serves until the shell has stopped.
    async fn keep(self: Arc<Self>, mut is_known: bool) {
        let mut pause = FIRST_PAUSE;
        loop {
            let trouble = tokio::select! {
                biased;
                () = self.core.stop.reached(Stopping::Abrupt) => return,
                trouble = self.serve(&mut is_known, &mut pause) => trouble,
            };
            let Some(trouble) = trouble else { return };
            tracing::warn!(group = %self.group, error = %trouble, "events are not taken; it is tried again");
            tokio::select! {
                biased;
                () = self.core.stop.reached(Stopping::Abrupt) => return,
                () = self.core.clock.sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
    }

    /// Joins and serves whenever events come to this process. Afterwards the group is left, so that others go on with
    /// what this one has. A group that is not known must be first: nothing is published for it.
    async fn serve(self: &Arc<Self>, is_known: &mut bool, pause: &mut Duration) -> Option<Trouble> {
        loop {
            if !*is_known {
                match self.join().await {
                    Ok(_) => *is_known = true,
                    Err(error) => return Some(error.into()),
                }
            }
            self.may_serve().await;
            let (mut member, partitions) = match self.join().await {
                Ok(joined) => joined,
                Err(error) => return Some(error.into()),
            };
            match Serving::new(self.clone(), partitions).serve(member.as_mut(), pause).await {
                Ok(End::Stopped) => return None,
                Ok(End::NotHere) => {}
                Err(trouble) => return Some(trouble),
            }
        }
    }

    /// Whether the runtime's own topic tells of a session that the store does not know: an event comes after its session
    /// is durable. Who else writes other topics may tell of what they like.
    async fn is_strange(&self, session: SessionId) -> std::result::Result<bool, StoreError> {
        Ok(self.topic == self.events.topic && self.core.store.journal.session(session).await?.is_none())
    }

    /// Returns when events may come to this process. A bus that reaches one process only has them where they are
    /// published; elsewhere another process of the store works for the group.
    async fn may_serve(&self) {
        if self.bus.capabilities().reach == Reach::Process {
            self.events.until_publishing(true).await;
        }
    }

    /// Returns when they do not any more.
    async fn may_not_serve(&self) {
        match self.bus.capabilities().reach {
            Reach::Process => self.events.until_publishing(false).await,
            Reach::Everywhere => std::future::pending().await,
        }
    }
}
