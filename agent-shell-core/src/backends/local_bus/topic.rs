//! A topic: its partitions, and how far each group has read them.

use std::collections::{BTreeMap, VecDeque};

use crate::ports::{At, BusError, Delivery, Lag, Message, Peeked};
use crate::words::{GroupName, Timestamp};

/// Names a member of a group, once.
pub(super) type MemberId = u64;

pub(super) struct Topic {
    partitions: Vec<Partition>,
    groups: BTreeMap<GroupName, Group>,
    last_member: MemberId,
}

#[derive(Default)]
struct Partition {
    /// The offset of the first message that is still here.
    first: u64,
    messages: VecDeque<Message>,
    bytes: usize,
    /// The last message, also when it is not needed any more: whoever published it may look whether it is there.
    last: Option<Message>,
}

struct Group {
    /// For each partition, the offset after the last committed one.
    next: Vec<u64>,
    members: Vec<MemberId>,
}

impl Group {
    /// Whether a partition is a member's: they take turns, in the order in which they joined.
    fn is_assigned(&self, partition: usize, member: MemberId) -> bool {
        let turn = partition.checked_rem(self.members.len());
        turn.is_some_and(|turn| self.members[turn] == member)
    }
}

impl Partition {
    fn end(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    /// The messages from an offset on, with their offsets.
    fn from(&self, offset: u64) -> impl Iterator<Item = (u64, &Message)> {
        let start = offset.max(self.first);
        let skipped = usize::try_from(start - self.first).unwrap_or(usize::MAX);
        (start..).zip(self.messages.iter().skip(skipped))
    }

    /// Lets go of what lies before an offset.
    fn let_go(&mut self, before: u64) {
        while self.first < before
            && let Some(message) = self.messages.pop_front()
        {
            self.first += 1;
            self.bytes -= message.bytes();
        }
    }
}

impl Topic {
    pub(super) fn new(partitions: u32) -> Self {
        let partitions = (0..partitions.max(1)).map(|_| Partition::default()).collect();
        Self { partitions, groups: BTreeMap::new(), last_member: 0 }
    }

    pub(super) fn partitions(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn messages(&self) -> usize {
        self.partitions.iter().map(|partition| partition.messages.len()).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.partitions.iter().map(|partition| partition.bytes).sum()
    }

    pub(super) fn add(&mut self, partition: u32, message: Message) {
        let partition = &mut self.partitions[partition as usize];
        partition.bytes += message.bytes();
        partition.last = Some(message.clone());
        partition.messages.push_back(message);
    }

    pub(super) fn peek(&self, partition: u32, at: At) -> Result<Peeked, BusError> {
        let Some(found) = self.partitions.get(partition as usize) else {
            return Err(BusError::NoTopic { what: format!("partition {partition}") });
        };
        let Some(last) = found.end().checked_sub(1) else { return Ok(Peeked::Nothing) };
        let offset = match at {
            At::Last => last,
            At::Offset(offset) if offset > last => return Ok(Peeked::Nothing),
            At::Offset(offset) => offset,
        };
        let message = if offset == last {
            found.last.clone()
        } else {
            found.from(offset).next().filter(|(at, _)| *at == offset).map(|(_, message)| message.clone())
        };
        Ok(message.map_or(Peeked::Past, |message| Peeked::Found(Delivery { partition, offset, message })))
    }

    pub(super) fn join(&mut self, group: &GroupName, groups: usize) -> Result<MemberId, BusError> {
        if !self.groups.contains_key(group) && self.groups.len() >= groups {
            return Err(BusError::NoTopic { what: format!("room for a group `{group}`") });
        }
        self.last_member += 1;
        let begin = || Group {
            next: self.partitions.iter().map(|partition| partition.first).collect(),
            members: Vec::new(),
        };
        self.groups.entry(group.clone()).or_insert_with(begin).members.push(self.last_member);
        Ok(self.last_member)
    }

    pub(super) fn has_groups(&self) -> bool {
        !self.groups.is_empty()
    }

    pub(super) fn leave(&mut self, group: &GroupName, member: MemberId) {
        if let Some(group) = self.groups.get_mut(group) {
            group.members.retain(|other| *other != member);
        }
    }

    pub(super) fn forget(&mut self, group: &GroupName) -> bool {
        let forgotten = self.groups.remove(group).is_some();
        self.let_go_of_committed();
        forgotten
    }

    pub(super) fn assigned(&self, group: &GroupName, member: MemberId) -> Vec<u32> {
        let Some(group) = self.groups.get(group) else { return Vec::new() };
        (0..self.partitions()).filter(|partition| group.is_assigned(*partition as usize, member)).collect()
    }

    /// What a member reads next: so much of each of its partitions that none of them waits for another.
    pub(super) fn read(&self, group: &GroupName, member: MemberId, limit: usize) -> Vec<Delivery> {
        let assigned = self.assigned(group, member);
        let Some(group) = self.groups.get(group) else { return Vec::new() };
        let mut lists: Vec<_> = assigned
            .into_iter()
            .map(|number| {
                let partition = &self.partitions[number as usize];
                (number, partition.from(group.next[number as usize]).take(limit).peekable())
            })
            .collect();
        // How many each may give: the room is shared out until it is used up, or nothing is left to give.
        let mut taken: Vec<Vec<Delivery>> = lists.iter().map(|_| Vec::new()).collect();
        let mut room = limit;
        while room > 0 && lists.iter_mut().any(|(_, list)| list.peek().is_some()) {
            for ((partition, list), taken) in lists.iter_mut().zip(&mut taken) {
                if room > 0
                    && let Some((offset, message)) = list.next()
                {
                    taken.push(Delivery { partition: *partition, offset, message: message.clone() });
                    room -= 1;
                }
            }
        }
        taken.into_iter().flatten().collect()
    }

    pub(super) fn commit(
        &mut self,
        group: &GroupName,
        member: MemberId,
        offsets: &[(u32, u64)],
    ) -> Result<(), BusError> {
        let mut answer = Ok(());
        for &(partition, offset) in offsets {
            let place = partition as usize;
            match self.groups.get_mut(group) {
                Some(group) if place < self.partitions.len() && group.is_assigned(place, member) => {
                    let end = self.partitions[place].end();
                    group.next[place] = group.next[place].max(offset.saturating_add(1).min(end));
                }
                _ => answer = Err(BusError::NotAssigned { partition }),
            }
        }
        self.let_go_of_committed();
        answer
    }

    /// Lets go of what every group has committed; without any group, of nothing.
    fn let_go_of_committed(&mut self) {
        for (place, partition) in self.partitions.iter_mut().enumerate() {
            if let Some(committed) = self.groups.values().map(|group| group.next[place]).min() {
                partition.let_go(committed);
            }
        }
    }

    /// Loses what stands from an offset on; the offsets are used again.
    #[cfg(feature = "simulation")]
    pub(super) fn lose_from(&mut self, number: u32, offset: u64) -> u64 {
        let Some(partition) = self.partitions.get_mut(number as usize) else { return 0 };
        let lost = partition.end().saturating_sub(offset);
        while partition.end() > offset.max(partition.first) {
            let Some(message) = partition.messages.pop_back() else { break };
            partition.bytes -= message.bytes();
        }
        if lost > 0 {
            partition.first = partition.first.min(offset);
            partition.last = partition.messages.back().cloned();
            let groups = self.groups.values_mut();
            groups.for_each(|group| group.next[number as usize] = group.next[number as usize].min(offset));
        }
        lost
    }

    pub(super) fn lag(&self, group: &GroupName, now: Timestamp) -> Lag {
        let next = self.groups.get(group).map(|group| group.next.as_slice()).unwrap_or_default();
        let mut lag = Lag::default();
        for (place, partition) in self.partitions.iter().enumerate() {
            let owed = partition.from(next.get(place).copied().unwrap_or(0));
            for (_, message) in owed {
                lag.messages += 1;
                lag.time = lag.time.max(now.since(message.written));
            }
        }
        lag
    }
}
