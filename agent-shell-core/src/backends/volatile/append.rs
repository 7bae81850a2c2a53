//! Appends: first judged whole, then done whole, under the locks of all sessions that they touch.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, MutexGuard};

use super::mail::{Verdict, registered};
use super::session::{Kept, Session, State};
use super::{VolatileStore, lock, no_session, room};
use crate::ports::{Append, AppendError, Appended, Post, PostError, SessionStatus, TurnEntry, TurnMark};
use crate::words::{Head, SessionId, TurnId};

/// The locked sessions of one append, by their ids.
type Locked<'a> = BTreeMap<SessionId, (&'a Session, MutexGuard<'a, State>)>;

impl VolatileStore {
    pub(super) fn append_now(&self, append: &Arc<Append>) -> Result<Appended, AppendError> {
        let session = self.find(append.session).ok_or_else(|| no_session(append.session))?;
        if append.purges() {
            // Names are locked before sessions.
            let mut names = lock(&self.names);
            let appended = self.append_locked(append, session.clone())?;
            let name = (session.new.tenant.clone(), session.new.name);
            if names.get(&name).is_some_and(|named| Arc::ptr_eq(named, &session)) {
                names.remove(&name);
            }
            return Ok(appended);
        }
        self.append_locked(append, session)
    }

    fn append_locked(&self, append: &Arc<Append>, session: Arc<Session>) -> Result<Appended, AppendError> {
        if append.post_mail.is_empty() {
            let mut state = lock(&session.state);
            return match judge(&session, &state, append)? {
                Some(committed) => Ok(committed),
                None => self.commit(append, &session, &mut state, &mut Locked::new()),
            };
        }
        // Every session that gets mail is locked too, in the order of ids, so that two appends can't wait for one
        // another.
        let others: BTreeMap<SessionId, Arc<Session>> = append
            .post_mail
            .iter()
            .filter(|post| post.session != append.session)
            .filter_map(|post| Some((post.session, self.find(post.session)?)))
            .chain([(append.session, session.clone())])
            .collect();
        let mut locked: Locked<'_> =
            others.iter().map(|(&id, session)| (id, (&**session, lock(&session.state)))).collect();
        let (_, mut state) = locked.remove(&append.session).expect("the session was locked with the others");
        if let Some(committed) = judge(&session, &state, append)? {
            return Ok(committed);
        }
        self.commit(append, &session, &mut state, &mut locked)
    }

    /// Does an append that was judged, if there is room for it.
    fn commit(
        &self,
        append: &Arc<Append>,
        session: &Session,
        state: &mut State,
        others: &mut Locked<'_>,
    ) -> Result<Appended, AppendError> {
        let (wanted, bytes) = room::of_append(append);
        if bytes > Self::MAX_APPEND_BYTES {
            return Err(AppendError::TooLarge { bytes, allowed: Self::MAX_APPEND_BYTES });
        }
        self.room.take(wanted)?;
        match self.commit_whole(append, session, state, others) {
            Ok(unneeded) => {
                self.room.give_back(unneeded);
                Ok(Appended { head: state.head(), still_owner: true })
            }
            Err(error) => {
                self.room.give_back(wanted);
                Err(error)
            }
        }
    }

    /// Takes over all that an append brings, or nothing; returns how many bytes of room that frees, or did not need.
    fn commit_whole(
        &self,
        append: &Arc<Append>,
        session: &Session,
        state: &mut State,
        others: &mut Locked<'_>,
    ) -> Result<u64, AppendError> {
        // What can still be refused comes first; the mail is the last of it.
        let touches_turns =
            !append.turns.is_empty() || append.post_mail.iter().any(|post| post.turn.is_some());
        let mut turns = touches_turns.then(|| lock(&self.turns));
        let marked = match &turns {
            Some(turns) => marked(turns, append.session, &append.turns).map_err(corrupt)?,
            None => Vec::new(),
        };
        let mut unneeded = self.deliver(&append.post_mail, session, state, others, turns.as_deref_mut())?;
        if let Some(turns) = &mut turns {
            turns.extend(marked);
        }
        unneeded += self.settle_with(append);
        // Nobody sees that a turn has ended before what it had reserved is settled.
        drop(turns);
        for named in &append.actors {
            self.remember_actor(&session.new.tenant, named.clone());
        }
        if let Some(last) = append.outbox.last() {
            state.sequence = last.sequence;
            let mut rows = lock(&self.rows);
            append.outbox.iter().for_each(|outgoing| rows.push(append.session, outgoing.clone()));
        }
        unneeded += state.take(append);
        if append.purges() {
            unneeded += state.erase();
            let last = state.head().seq;
            let mut turns = lock(&self.turns);
            let open =
                turns.iter_mut().filter(|(_, turn)| turn.session == append.session && turn.ended.is_none());
            let end = |(id, turn): (&TurnId, &mut TurnEntry)| {
                (turn.started, turn.ended) = (turn.started.or(Some(last)), Some(last));
                *id
            };
            let mut ended: Vec<TurnId> = open.map(end).collect();
            ended.sort_unstable();
            unneeded += self.settle_purged(append.session, &ended);
        }
        Ok(unneeded)
    }

    /// Posts all mail of an append, or none; returns how many bytes of room were taken for mail that is not kept.
    fn deliver(
        &self,
        posts: &[Post],
        session: &Session,
        own: &mut State,
        others: &mut Locked<'_>,
        mut turns: Option<&mut HashMap<TurnId, TurnEntry>>,
    ) -> Result<u64, AppendError> {
        let mut unneeded = 0;
        let mut kept = Vec::new();
        let mut actors = Vec::new();
        for post in posts {
            let mut post = Post { system: true, ..post.clone() };
            let (to, id) = (post.session, post.id);
            let target = match others.get_mut(&to) {
                Some((other, state)) => Ok((*other, &mut **state)),
                None if to == session.new.id => Ok((session, &mut *own)),
                None => Err(no_session(to).into()),
            };
            let judged = target.and_then(|(target, state)| {
                let known = |turn| turns.as_deref().map_or(Ok(false), |turns| registered(turns, turn, to));
                let shut = matches!(state.mark.status, SessionStatus::Purged | SessionStatus::Archived);
                let verdict = match shut || post.turn.map_or(Ok(false), known)? {
                    true => Verdict::Waits,
                    false => state.mail.judge(&post).map_err(|error| refusal(to, error))?,
                };
                Ok((target, state, verdict))
            });
            match judged {
                Ok((target, state, Verdict::Keep)) => {
                    actors.extend(post.named_actor.take().map(|named| (target.new.tenant.clone(), named)));
                    if let (Some(turns), Some(turn)) = (turns.as_deref_mut(), post.turn) {
                        turns.insert(turn, TurnEntry::waiting(to));
                    }
                    kept.push((to, id, post.turn));
                    state.mail.keep(post);
                }
                Ok(_) => unneeded += room::of_post(&post),
                Err(error) => {
                    for (to, id, turn) in kept {
                        if let (Some(turns), Some(turn)) = (turns.as_deref_mut(), turn) {
                            turns.remove(&turn);
                        }
                        let state = others.get_mut(&to).map_or(&mut *own, |(_, state)| state);
                        state.mail.withdraw(id);
                    }
                    return Err(error);
                }
            }
        }
        actors.into_iter().for_each(|(tenant, named)| self.remember_actor(&tenant, named));
        Ok(unneeded)
    }
}

impl State {
    /// Erases what does not stay of a session that is purged; returns how many bytes of room that frees.
    fn erase(&mut self) -> u64 {
        let blobs = std::mem::take(&mut self.blobs).into_values().map(|sealed| room::stored(sealed.len()));
        let snapshot = self.snapshot.take().map(|snapshot| room::stored(snapshot.sealed.len()));
        let freed = blobs.chain(snapshot).sum::<u64>();
        self.requires.clear();
        freed + std::mem::take(&mut self.mail).bytes()
    }

    /// Takes over what an append brings to its own session; returns how many bytes of room that frees.
    fn take(&mut self, append: &Arc<Append>) -> u64 {
        let mut freed = 0;
        self.records.extend(Kept::all_of(append));
        for blob in &append.blobs {
            let bytes = blob.sealed.len();
            match self.blobs.entry(blob.address) {
                std::collections::hash_map::Entry::Occupied(_) => freed += room::stored(bytes),
                std::collections::hash_map::Entry::Vacant(place) => drop(place.insert(blob.sealed.clone())),
            }
        }
        for mail in &append.consume_mail {
            freed += self.mail.consume(*mail).map_or(0, |item| room::stored(item.sealed.len()));
        }
        if let Some(requires) = &append.requires {
            self.requires = requires.clone();
        }
        if let Some(mark) = append.mark {
            self.mark = mark;
        }
        if append.snapshot.is_some() {
            let before = std::mem::replace(&mut self.snapshot, append.snapshot.clone());
            freed += before.map_or(0, |snapshot| room::stored(snapshot.sealed.len()));
        }
        freed
    }
}

/// Judges an append against its session: `Some` when it was committed before.
fn judge(session: &Session, state: &State, append: &Append) -> Result<Option<Appended>, AppendError> {
    let head = state.head();
    if let Some(committed) = committed(state, append) {
        return Ok(Some(Appended { head: committed, still_owner: state.is_owned_under(append.fence) }));
    }
    match state.mark.status {
        SessionStatus::Purged => return Err(AppendError::Purged),
        SessionStatus::Archived if !append.purges() => return Err(AppendError::Archived),
        _ => {}
    }
    if !state.is_owned_under(append.fence) {
        return Err(AppendError::Fenced { actual: state.epoch });
    }
    if append.expected != head {
        return Err(AppendError::Conflict { actual: head });
    }
    chained(session, append).map_err(corrupt)?;
    for (row, sequence) in append.outbox.iter().zip(state.sequence + 1..) {
        if row.sequence != sequence {
            return Err(corrupt(format!(
                "an envelope has sequence {} where {sequence} follows in session {}",
                row.sequence, append.session
            )));
        }
    }
    Ok(None)
}

/// The head that an earlier append with the same id reached: it stands where this one would, or it was the last.
fn committed(state: &State, append: &Append) -> Option<Head> {
    let after = &state.records[state.up_to(append.expected.seq)..];
    let mine = after.iter().take_while(|record| record.append == append.id).last();
    mine.or_else(|| state.records.last().filter(|last| last.append == append.id)).map(|last| last.head())
}

/// Whether the records stand where the append says, and are this append's.
fn chained(session: &Session, append: &Append) -> Result<(), String> {
    let mut seq = append.expected.seq;
    if append.records.is_empty() {
        return Err(format!("append {} has no records", append.id));
    }
    for record in &append.records {
        let header = &record.header;
        seq = seq.next();
        let wrong = if header.seq != seq {
            format!("has place {}", header.seq)
        } else if header.session != append.session || header.tenant != session.new.tenant {
            format!("belongs to session {} of tenant {}", header.session, header.tenant)
        } else if header.epoch != append.fence.epoch {
            format!("bears epoch {}", header.epoch)
        } else if record.append != append.id {
            format!("bears append {}", record.append)
        } else {
            continue;
        };
        return Err(format!(
            "the record for place {seq} of session {}, epoch {}, append {} {wrong}",
            append.session, append.fence.epoch, append.id
        ));
    }
    Ok(())
}

/// The entries that turns have after the marks.
fn marked(
    turns: &HashMap<TurnId, TurnEntry>,
    session: SessionId,
    marks: &[TurnMark],
) -> Result<Vec<(TurnId, TurnEntry)>, String> {
    let mut changed: Vec<(TurnId, TurnEntry)> = Vec::with_capacity(marks.len());
    for mark in marks {
        let (TurnMark::Started(turn, _) | TurnMark::Ended(turn, _)) = *mark;
        let before = changed.iter().rev().find(|(id, _)| *id == turn).map(|(_, entry)| entry);
        let before = before.or_else(|| turns.get(&turn)).copied();
        let after = match (*mark, before) {
            (TurnMark::Started(_, started), None) => {
                TurnEntry { started: Some(started), ..TurnEntry::waiting(session) }
            }
            (TurnMark::Started(_, started), Some(before))
                if before.session == session && before.started.is_none() =>
            {
                TurnEntry { started: Some(started), ..before }
            }
            (TurnMark::Ended(_, ended), Some(before))
                if before.session == session && before.started.is_some() && before.ended.is_none() =>
            {
                TurnEntry { ended: Some(ended), ..before }
            }
            _ => return Err(format!("{mark:?} does not follow {before:?} in session {session}")),
        };
        changed.push((turn, after));
    }
    Ok(changed)
}

fn corrupt(detail: String) -> AppendError {
    AppendError::Corrupt { detail }
}

/// What mail that was refused means for the append that posts it.
fn refusal(session: SessionId, error: PostError) -> AppendError {
    match error {
        PostError::Store(error) => error.into(),
        PostError::Overloaded { .. } => {
            AppendError::Unavailable { detail: format!("session {session} refused mail: {error}") }
        }
        PostError::NoSession | PostError::Mismatch | PostError::Purged | PostError::Archived => {
            corrupt(format!("session {session} refused mail: {error}"))
        }
    }
}
