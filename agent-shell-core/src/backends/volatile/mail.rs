//! The mail of a session, and the port onto it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;

use super::session::Session;
use super::{LOCKED, VolatileStore, lock, room};
use crate::data::{Lane, MailKind};
use crate::ports::{
    Dedupe, MailItem, Mailbox, Post, PostError, Posted, SessionStatus, StoreError, TurnEntry,
};
use crate::words::{Digest, MailId, OwnerId, SessionId, TurnId};

/// What waits in a session, and what its dedupe keys were used for.
#[derive(Default)]
pub(super) struct Mailbag {
    /// What waits, by the number of its arrival.
    letters: [BTreeMap<u64, Letter>; Lane::ALL.len()],
    arrivals: u64,
    places: HashMap<MailId, (Lane, u64)>,
    used: HashMap<(MailKind, Digest), Dedupe>,
    /// How many of the letters of each lane the runtime itself posted.
    system: [usize; Lane::ALL.len()],
}

struct Letter {
    item: MailItem,
    system: bool,
    dedupe: Option<Digest>,
}

/// What is to be done with a post.
pub(super) enum Verdict {
    /// It is new.
    Keep,
    /// It waits already.
    Waits,
    /// The same was asked for before.
    Duplicate(Option<TurnId>),
}

impl Mailbag {
    pub(super) fn waiting(&self) -> usize {
        self.places.len()
    }

    /// How many bytes of room all mail takes, with its dedupe keys.
    pub(super) fn bytes(&self) -> u64 {
        let letters = self.letters.iter().flat_map(BTreeMap::values);
        letters.map(|letter| room::stored(letter.item.sealed.len())).sum::<u64>()
            + self.used.len() as u64 * room::stored(0)
    }

    pub(super) fn judge(&self, post: &Post) -> Result<Verdict, PostError> {
        if self.places.contains_key(&post.id) {
            return Ok(Verdict::Waits);
        }
        if let Some(asked) = post.dedupe
            && let Some(first) = self.used.get(&(post.kind, asked.key))
        {
            let same = first.digest == asked.digest;
            return if same { Ok(Verdict::Duplicate(first.turn)) } else { Err(PostError::Mismatch) };
        }
        let lane = index(post.kind.lane());
        let of_system = self.system[lane];
        let waiting = if post.system { of_system } else { self.letters[lane].len() - of_system };
        if waiting >= post.quota {
            return Err(PostError::Overloaded { waiting });
        }
        Ok(Verdict::Keep)
    }

    /// Keeps a post that was judged to be new.
    pub(super) fn keep(&mut self, post: Post) {
        let Post { id, kind, system, dedupe, actor, posted, turn, sealed, .. } = post;
        self.arrivals += 1;
        self.places.insert(id, (kind.lane(), self.arrivals));
        self.system[index(kind.lane())] += usize::from(system);
        self.used.extend(dedupe.map(|used| ((kind, used.key), used)));
        let item = MailItem { id, kind, actor, posted, turn, sealed };
        let letter = Letter { item, system, dedupe: dedupe.map(|used| used.key) };
        self.letters[index(kind.lane())].insert(self.arrivals, letter);
    }

    /// Removes mail that was read; its dedupe key stays used.
    pub(super) fn consume(&mut self, id: MailId) -> Option<MailItem> {
        self.remove(id).map(|letter| letter.item)
    }

    /// Takes back mail that was kept in an append which then was refused.
    pub(super) fn withdraw(&mut self, id: MailId) {
        if let Some(Letter { item, dedupe: Some(key), .. }) = self.remove(id) {
            self.used.remove(&(item.kind, key));
        }
    }

    fn remove(&mut self, id: MailId) -> Option<Letter> {
        let (lane, arrival) = self.places.remove(&id)?;
        let letter = self.letters[index(lane)].remove(&arrival)?;
        self.system[index(lane)] -= usize::from(letter.system);
        Some(letter)
    }

    /// The mail that has waited longest, of the lanes that a session with this status reads.
    pub(super) fn oldest(&self, status: SessionStatus) -> Option<&MailItem> {
        let lanes = Lane::ALL.into_iter().filter(|lane| status.reads(*lane));
        let first = lanes
            .filter_map(|lane| self.letters[index(lane)].first_key_value())
            .min_by_key(|(arrival, _)| *arrival);
        first.map(|(_, letter)| &letter.item)
    }

    /// Whether a purge waits.
    pub(super) fn has_purge(&self) -> bool {
        self.letters[index(Lane::Control)].values().any(|letter| letter.item.kind == MailKind::Purge)
    }

    /// Mail after `after`, or from the first when that waits no more.
    fn read(&self, lane: Lane, after: Option<MailId>, limit: usize) -> Vec<MailItem> {
        let place = after.and_then(|id| self.places.get(&id));
        let start = place.map_or(Bound::Unbounded, |&(_, arrival)| Bound::Excluded(arrival));
        let letters = self.letters[index(lane)].range((start, Bound::Unbounded));
        letters.take(limit).map(|(_, letter)| letter.item.clone()).collect()
    }
}

fn index(lane: Lane) -> usize {
    match lane {
        Lane::Input => 0,
        Lane::Control => 1,
        Lane::Signal => 2,
        Lane::Steer => 3,
    }
}

/// Whether a turn was asked for before in this session: its post is a repeat, whatever became of the mail.
pub(super) fn registered(
    turns: &HashMap<TurnId, TurnEntry>,
    turn: TurnId,
    session: SessionId,
) -> Result<bool, StoreError> {
    match turns.get(&turn) {
        Some(entry) if entry.session != session => {
            Err(StoreError::Corrupt { detail: format!("turn {turn} is registered in another session") })
        }
        entry => Ok(entry.is_some()),
    }
}

impl VolatileStore {
    fn post_now(&self, mut post: Post) -> Result<Posted, PostError> {
        let session = self.find(post.session).ok_or(PostError::NoSession)?;
        let mut state = lock(&session.state);
        match state.mark.status {
            SessionStatus::Purged => return Err(PostError::Purged),
            SessionStatus::Archived if post.kind != MailKind::Purge => return Err(PostError::Archived),
            _ => {}
        }
        let mut turns = lock(&self.turns);
        if post.turn.map_or(Ok(false), |turn| registered(&turns, turn, post.session))? {
            return Ok(Posted::Accepted);
        }
        match state.mail.judge(&post)? {
            Verdict::Waits => Ok(Posted::Accepted),
            Verdict::Duplicate(turn) => Ok(Posted::Duplicate(turn)),
            Verdict::Keep => {
                self.room.take(room::of_post(&post))?;
                if let Some(named) = post.named_actor.take() {
                    self.remember_actor(&session.new.tenant, named);
                }
                turns.extend(post.turn.map(|turn| (turn, TurnEntry::waiting(post.session))));
                state.mail.keep(post);
                Ok(Posted::Accepted)
            }
        }
    }
}

#[async_trait]
impl Mailbox for VolatileStore {
    async fn post(&self, post: Post) -> Result<Posted, PostError> {
        self.post_now(post)
    }

    async fn waiting(
        &self,
        session: SessionId,
        lane: Lane,
        after: Option<MailId>,
        limit: usize,
    ) -> Result<Vec<MailItem>, StoreError> {
        let session = self.find(session);
        Ok(session.map_or_else(Vec::new, |session| lock(&session.state).mail.read(lane, after, limit)))
    }

    async fn awaiting(
        &self,
        owner: OwnerId,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionId>, StoreError> {
        let sessions = self.sessions.read().expect(LOCKED);
        let waits = |session: &&Arc<Session>| {
            let state = lock(&session.state);
            state.owner == Some(owner) && state.mail.oldest(state.mark.status).is_some()
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let later = sessions.range((from, Bound::Unbounded)).map(|(_, session)| session);
        Ok(later.filter(waits).take(limit).map(|session| session.new.id).collect())
    }

    async fn dedupe(
        &self,
        session: SessionId,
        kind: MailKind,
        key: Digest,
    ) -> Result<Option<Dedupe>, StoreError> {
        let session = self.find(session);
        Ok(session.and_then(|session| lock(&session.state).mail.used.get(&(kind, key)).copied()))
    }
}
