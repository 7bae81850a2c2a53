//! Records for followers: the latest of a turn are read and opened once for all of them, older ones by whoever wants
//! them. Whatever is read, is checked against the chain from the record before it on.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use super::known::purged;
use super::live::Channel;
use crate::data::{Record, encode};
use crate::machine::Entry;
use crate::runtime::core::Core;
use crate::runtime::keyring::SessionKeys;
use crate::runtime::reader::{Blobs, check, corrupt, is_archived, open_own};
use crate::words::{Digest, Head, Result, Seq, SessionId};

/// The most that is shared of a turn: records, and bytes of them as JSON. One record is always shared.
const SHARED: Most = Most { records: 64, bytes: 1 << 20 };
/// The most that a follower that is further behind reads at once for itself.
const ALONE: Most = Most { records: 8, bytes: 64 << 10 };

#[derive(Clone, Copy)]
struct Most {
    records: usize,
    bytes: usize,
}

/// A record that was checked and opened.
#[derive(Clone)]
pub(super) struct Opened {
    pub(super) entry: Arc<Entry>,
    pub(super) hash: Digest,
    bytes: usize,
}

impl Opened {
    fn head(&self) -> Head {
        Head { seq: self.entry.seq, hash: self.hash }
    }
}

/// The latest records that anybody read, one after another.
#[derive(Default)]
pub(super) struct Tail {
    opened: VecDeque<Opened>,
    bytes: usize,
    keys: Option<SessionKeys>,
}

enum Found {
    Here(Opened),
    /// It was shared once, or never.
    Behind,
    /// Nobody here has read so far.
    Ahead,
}

impl Tail {
    fn find(&self, after: Seq) -> Found {
        let (Some(first), Some(last)) = (self.opened.front(), self.opened.back()) else {
            return Found::Ahead;
        };
        if after >= last.entry.seq {
            return Found::Ahead;
        }
        let place = after.next().number().checked_sub(first.entry.seq.number());
        let place = place.and_then(|place| usize::try_from(place).ok());
        place
            .and_then(|place| self.opened.get(place))
            .map_or(Found::Behind, |found| Found::Here(found.clone()))
    }

    /// Adds records that follow `after`. They begin a new tail when nobody read those between.
    fn extend(&mut self, after: Seq, read: VecDeque<Opened>) {
        if self.opened.back().is_some_and(|last| last.entry.seq != after) {
            self.clear_records();
        }
        self.bytes += read.iter().map(|opened| opened.bytes).sum::<usize>();
        self.opened.extend(read);
        while self.opened.len() > 1 && (self.opened.len() > SHARED.records || self.bytes > SHARED.bytes) {
            let oldest = self.opened.pop_front();
            self.bytes -= oldest.map_or(0, |oldest| oldest.bytes);
        }
    }

    fn clear_records(&mut self) {
        self.opened.clear();
        self.bytes = 0;
    }

    /// How many records it holds, and how many bytes of them.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        (self.opened.len(), self.bytes)
    }

    /// Forgets records and keys.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The records after `after`, of which the first is durable, up to `last`: at least one. `head` is the end of what the
/// follower has read.
///
/// # Cancel safety
/// Reading has no effect but that others need not read the same.
pub(super) async fn fetch(
    core: &Core,
    channel: &Channel,
    after: Seq,
    head: Option<Head>,
    last: Seq,
) -> Result<VecDeque<Opened>> {
    if let Some(found) = shared(channel, after) {
        return Ok(found);
    }
    // One reads at a time for all followers of the turn, and the others find what it read.
    let _one = channel.reading.lock().await;
    if let Some(found) = shared(channel, after) {
        return Ok(found);
    }
    let (is_ahead, shared_head) = {
        let tail = lock(channel);
        let end = tail.opened.back().map(Opened::head);
        (matches!(tail.find(after), Found::Ahead), end)
    };
    let head = [head, shared_head].into_iter().flatten().find(|head| head.seq == after);
    let most = if is_ahead { SHARED } else { ALONE };
    let read = read(core, channel, (after, head), last, most).await?;
    if is_ahead && !read.is_empty() {
        let first = read.iter().take(1).cloned().collect();
        lock(channel).extend(after, read);
        // What is opened when its key is destroyed is not kept.
        if channel.lock().known.is_purged {
            lock(channel).clear();
            return Err(purged(channel.turn()));
        }
        return Ok(first);
    }
    Ok(read)
}

fn lock(channel: &Channel) -> std::sync::MutexGuard<'_, Tail> {
    channel.tail.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shared(channel: &Channel, after: Seq) -> Option<VecDeque<Opened>> {
    match lock(channel).find(after) {
        Found::Here(found) => Some(VecDeque::from([found])),
        Found::Behind | Found::Ahead => None,
    }
}

/// Reads, checks and opens what stands behind `after`.
async fn read(
    core: &Core,
    channel: &Channel,
    (after, head): (Seq, Option<Head>),
    last: Seq,
    most: Most,
) -> Result<VecDeque<Opened>> {
    let journal = &*core.store.journal;
    let (session, keys) = keys(core, channel).await?;
    let head = head.or((after == Seq::ZERO).then_some(Head::EMPTY));
    let wanted = last.number().saturating_sub(after.number());
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX).clamp(1, most.records);
    let records = match head {
        Some(_) => journal.read(session, after, wanted).await?,
        // The hash before the first record stands in the one before it.
        None => journal.read(session, Seq::new(after.number() - 1), wanted + 1).await?,
    };
    let mut records = records.into_iter().peekable();
    let head = match head {
        Some(head) => Some(head),
        None => records.next_if(|record| record.header.seq == after).map(|before| before.head()),
    };
    let (Some(mut head), true) = (head, records.peek().is_some()) else {
        is_archived(journal, session, after).await?;
        return Err(corrupt(format!("record {} of session {session} is gone", after.next())));
    };
    let mut opened = VecDeque::new();
    let mut bytes = 0;
    for record in records {
        check(&head, &record, session)?;
        let one = open(core, &keys, &record).await?;
        head = record.head();
        bytes += one.bytes;
        opened.push_back(one);
        if bytes >= most.bytes {
            break;
        }
    }
    Ok(opened)
}

async fn open(core: &Core, keys: &SessionKeys, record: &Record) -> Result<Opened> {
    let entry = open_own(Blobs::In(&*core.store.journal), keys, record).await?;
    let bytes = encode(&entry.body).len();
    Ok(Opened { entry: Arc::new(entry), hash: record.hash, bytes })
}

/// The session's keys, fetched once for as long as the turn is followed.
async fn keys(core: &Core, channel: &Channel) -> Result<(SessionId, SessionKeys)> {
    let known = channel.lock().known.clone();
    let (Some(session), Some(key)) = (known.session, known.key) else {
        return Err(corrupt(format!("the session of turn {} is not known yet", channel.turn())));
    };
    if let Some(keys) = lock(channel).keys.clone() {
        return Ok((session, keys));
    }
    let keys = core.keyring.session(key, false).await?;
    lock(channel).keys = Some(keys.clone());
    Ok((session, keys))
}
