//! A bus that is as wrong as it is told to be: the local bus behind a layer that spoils what goes in or comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;

use crate::backends::local_bus::{LocalBus, LocalBusOptions};
use crate::conformance::TestClock;
use crate::ports::{At, Bus, BusCapabilities, BusError, BusMember, Delivery, Lag, Message, Peeked, Reach};
use crate::words::{GroupName, TopicName};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BusFault {
    TopicsAreMadeByThemselves,
    OpeningEmpties,
    PartitionsAreReversed,
    KeysAreSpread,
    WhatIsReadIsGone,
    CommitsAreForgotten,
    CommitsGoBack,
    CommitsTakeAll,
    GroupsShareCommits,
    GroupsBeginAtTheEnd,
    MembersShareNothing,
    AnyoneCommits,
    PollsReturnNothing,
    PollsAreUnbounded,
    OnlySomePartitionsAreRead,
    CommittedLooksLost,
    TheLastIsForgotten,
    PlacesAreInvented,
    BatchesAreUnbounded,
    TheOldestMakesRoom,
    AFullBusKeepsSome,
    LagIsInMessagesOnly,
    LagIgnoresCommits,
    ConcurrentMessagesAreLost,
}

use BusFault::*;

/// Which properties must fail on which fault.
pub(super) const FAULTS: &[(BusFault, &[&str])] = &[
    (TopicsAreMadeByThemselves, &["a_topic_must_be_opened"]),
    (OpeningEmpties, &["a_topic_must_be_opened"]),
    (PartitionsAreReversed, &["messages_of_a_key_keep_their_order"]),
    (KeysAreSpread, &["messages_of_a_key_keep_their_order"]),
    (WhatIsReadIsGone, &["what_is_not_committed_comes_again", "a_dropped_poll_loses_nothing"]),
    (CommitsAreForgotten, &["what_is_committed_does_not_come_again"]),
    (CommitsGoBack, &["a_commit_does_not_go_back"]),
    (CommitsTakeAll, &["what_is_committed_does_not_come_again", "polls_keep_to_their_limit"]),
    (GroupsShareCommits, &["groups_read_for_themselves"]),
    (GroupsBeginAtTheEnd, &["a_group_begins_with_what_is_there", "messages_of_a_key_keep_their_order"]),
    (MembersShareNothing, &["members_share_the_partitions"]),
    (AnyoneCommits, &["a_commit_needs_the_partition"]),
    (PollsReturnNothing, &["a_poll_waits_for_a_message", "a_dropped_poll_loses_nothing"]),
    (PollsAreUnbounded, &["polls_keep_to_their_limit"]),
    (OnlySomePartitionsAreRead, &["polls_keep_to_their_limit", "a_group_begins_with_what_is_there"]),
    (CommittedLooksLost, &["places_can_be_looked_at"]),
    (TheLastIsForgotten, &["places_can_be_looked_at"]),
    (PlacesAreInvented, &["places_can_be_looked_at"]),
    (BatchesAreUnbounded, &["a_batch_is_bounded"]),
    (TheOldestMakesRoom, &["a_full_bus_refuses_and_loses_nothing"]),
    (AFullBusKeepsSome, &["a_full_bus_refuses_and_loses_nothing"]),
    (LagIsInMessagesOnly, &["lag_is_what_is_not_committed"]),
    (LagIgnoresCommits, &["lag_is_what_is_not_committed"]),
    (ConcurrentMessagesAreLost, &["concurrent_publishers_lose_nothing"]),
];

/// How many messages fill the bus.
pub(super) const CAPACITY: usize = 2000;

#[derive(Clone)]
pub(super) struct BrokenBus {
    fault: Option<BusFault>,
    inner: LocalBus,
    seen: Arc<Mutex<Seen>>,
}

/// What some faults need to remember.
#[derive(Default)]
struct Seen {
    opened: BTreeSet<TopicName>,
    published: u64,
    /// How far each group of a topic committed: to spoil what is read next.
    ends: BTreeMap<(TopicName, GroupName), BTreeSet<(u32, u64)>>,
    joined: BTreeSet<(TopicName, GroupName)>,
    lost: u64,
}

struct BrokenMember {
    bus: BrokenBus,
    topic: TopicName,
    group: GroupName,
    inner: Box<dyn BusMember>,
    /// What a member held back: it commits nothing at the inner bus.
    read: BTreeSet<(u32, u64)>,
}

impl BrokenBus {
    pub(super) fn new(fault: Option<BusFault>, clock: TestClock) -> Self {
        let batch_messages = if fault == Some(BatchesAreUnbounded) { usize::MAX } else { 500 };
        let options = LocalBusOptions { messages: CAPACITY, batch_messages, ..LocalBusOptions::default() };
        Self { fault, inner: LocalBus::with_clock(options, Arc::new(clock)), seen: Arc::default() }
    }

    fn is(&self, fault: BusFault) -> bool {
        self.fault == Some(fault)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// Throws away the oldest message of each partition, whoever needs it.
    async fn make_room(&self, topic: &TopicName) {
        let groups: Vec<_> =
            self.seen().joined.iter().filter(|(of, _)| of == topic).map(|(_, group)| group.clone()).collect();
        for group in groups {
            let mut member = self.inner.join(topic, &group).await.unwrap();
            if let Ok(read) = member.poll(1).await {
                let oldest: Vec<_> = read.iter().map(|one| (one.partition, one.offset)).collect();
                drop(member.commit(&oldest).await);
            }
        }
    }
}

#[async_trait]
impl Bus for BrokenBus {
    fn capabilities(&self) -> BusCapabilities {
        let bytes = self.inner.capabilities().batch_bytes;
        BusCapabilities::new(Reach::Process, 500, bytes)
    }

    async fn open(&self, topic: &TopicName) -> Result<u32, BusError> {
        if !self.seen().opened.insert(topic.clone()) && self.is(OpeningEmpties) {
            let everything = GroupName::new("everything").unwrap();
            let mut member = self.inner.join(topic, &everything).await?;
            let read = member.poll(usize::MAX).await?;
            let offsets: Vec<_> = read.iter().map(|one| (one.partition, one.offset)).collect();
            member.commit(&offsets).await?;
        }
        self.inner.open(topic).await
    }

    async fn publish(&self, topic: &TopicName, mut messages: Vec<Message>) -> Result<(), BusError> {
        if self.is(TopicsAreMadeByThemselves) {
            self.inner.open(topic).await?;
        }
        self.seen().published += 1;
        match self.fault {
            Some(PartitionsAreReversed) => messages.reverse(),
            Some(KeysAreSpread) => messages.iter_mut().for_each(|message| {
                message.key =
                    format!("{}{}", message.key, message.payload.len() + message.id.to_bytes()[15] as usize)
            }),
            Some(ConcurrentMessagesAreLost) => {
                let mut seen = self.seen();
                seen.lost += messages.len() as u64;
                if seen.lost > 250 {
                    return Ok(());
                }
            }
            _ => {}
        }
        match self.inner.publish(topic, messages.clone()).await {
            Err(BusError::Full) if self.is(TheOldestMakesRoom) => {
                self.make_room(topic).await;
                self.inner.publish(topic, messages).await
            }
            Err(BusError::Full) if self.is(AFullBusKeepsSome) => {
                self.make_room(topic).await;
                Err(BusError::Full)
            }
            Err(BusError::TooLarge { .. }) if self.is(BatchesAreUnbounded) => Ok(()),
            answer => answer,
        }
    }

    async fn peek(&self, topic: &TopicName, partition: u32, at: At) -> Result<Peeked, BusError> {
        let peeked = self.inner.peek(topic, partition, at).await?;
        Ok(match (self.fault, at, peeked) {
            (Some(CommittedLooksLost), At::Offset(_), Peeked::Past) => Peeked::Nothing,
            (Some(TheLastIsForgotten), At::Last, Peeked::Found(_)) => Peeked::Past,
            (Some(PlacesAreInvented), At::Offset(_), Peeked::Nothing) => Peeked::Past,
            (_, _, peeked) => peeked,
        })
    }

    async fn join(&self, topic: &TopicName, group: &GroupName) -> Result<Box<dyn BusMember>, BusError> {
        let shared = GroupName::new("shared").unwrap();
        let inner = self.inner.join(topic, if self.is(GroupsShareCommits) { &shared } else { group }).await?;
        let is_new = self.seen().joined.insert((topic.clone(), group.clone()));
        let mut member = BrokenMember {
            bus: self.clone(),
            topic: topic.clone(),
            group: group.clone(),
            inner,
            read: BTreeSet::new(),
        };
        let lag = self.inner.lag(topic, group).await?;
        if is_new && self.is(GroupsBeginAtTheEnd) && lag.messages > 0 {
            let read = member.inner.poll(usize::MAX).await?;
            let offsets: Vec<_> = read.iter().map(|one| (one.partition, one.offset)).collect();
            member.inner.commit(&offsets).await?;
        }
        Ok(Box::new(member))
    }

    async fn is_awaited(&self, topic: &TopicName) -> Result<bool, BusError> {
        self.inner.is_awaited(topic).await
    }

    async fn lag(&self, topic: &TopicName, group: &GroupName) -> Result<Lag, BusError> {
        let lag = self.inner.lag(topic, group).await?;
        Ok(match self.fault {
            Some(LagIsInMessagesOnly) => Lag { time: Duration::ZERO, ..lag },
            Some(LagIgnoresCommits) if self.seen().published > 0 => Lag { messages: 3, ..lag },
            Some(GroupsShareCommits) => self.inner.lag(topic, &GroupName::new("shared").unwrap()).await?,
            _ => lag,
        })
    }
}

#[async_trait]
impl BusMember for BrokenMember {
    async fn poll(&mut self, limit: usize) -> Result<Vec<Delivery>, BusError> {
        let limit = if self.bus.is(PollsAreUnbounded) { usize::MAX } else { limit };
        if self.bus.is(PollsReturnNothing) {
            return Ok(Vec::new());
        }
        let mut read = self.inner.poll(limit).await?;
        match self.bus.fault {
            Some(WhatIsReadIsGone) => {
                read.retain(|one| !self.read.contains(&(one.partition, one.offset)));
                self.read.extend(read.iter().map(|one| (one.partition, one.offset)));
                let offsets: Vec<_> = read.iter().map(|one| (one.partition, one.offset)).collect();
                self.inner.commit(&offsets).await?;
            }
            Some(OnlySomePartitionsAreRead) => read.retain(|one| one.partition == 0),
            Some(CommitsGoBack) => {
                let ends = self.bus.seen().ends.clone();
                if let Some(back) = ends.get(&(self.topic.clone(), self.group.clone())) {
                    let first = back.iter().next_back().copied();
                    if let (Some((_, offset)), Some(mut again)) = (first, read.first().cloned()) {
                        again.offset = offset;
                        read.insert(0, again);
                    }
                }
            }
            _ => {}
        }
        Ok(read)
    }

    async fn commit(&mut self, offsets: &[(u32, u64)]) -> Result<(), BusError> {
        match self.bus.fault {
            Some(CommitsAreForgotten) => Ok(()),
            Some(CommitsTakeAll) => {
                let ahead: Vec<_> = offsets.iter().map(|(partition, _)| (*partition, u64::MAX - 1)).collect();
                self.inner.commit(&ahead).await
            }
            Some(CommitsGoBack) => {
                let place = (self.topic.clone(), self.group.clone());
                self.bus.seen().ends.entry(place).or_default().extend(offsets.iter().copied());
                self.inner.commit(offsets).await
            }
            Some(AnyoneCommits) => {
                drop(self.inner.commit(offsets).await);
                Ok(())
            }
            _ => self.inner.commit(offsets).await,
        }
    }

    fn assigned(&self) -> Vec<u32> {
        if self.bus.is(MembersShareNothing) { (0..8).collect() } else { self.inner.assigned() }
    }
}
