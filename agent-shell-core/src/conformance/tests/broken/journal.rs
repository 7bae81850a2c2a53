//! Faults of the journal.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Broken, Fault};
use crate::conformance::scene::named;
use crate::conformance::writer::{rebased, rechain, refenced};
use crate::conformance::{digest_of, tenant, unique};
use crate::data::Record;
use crate::ports::{
    Append, AppendError, Appended, Fence, Journal, Mailbox, Mark, NamedActor, NewSession, Outbox, Ownership,
    SessionEntry, SessionFilter, SessionStatus, Snapshot, StoreError, TurnEntry, TurnMark,
};
use crate::words::{Digest, Pseudonym, Seq, SessionId, Tenant, TurnId};

const ALL: usize = usize::MAX;

type Answer = Result<Appended, AppendError>;

impl Broken {
    /// Spoils the fence or the head of an append, or answers it at once.
    async fn spoil_judgement(&self, mut append: Append, entry: &SessionEntry) -> Result<Append, Answer> {
        let Fence { owner, epoch } = append.fence;
        let head = entry.head;
        let behind = append.expected.seq < head.seq;
        let conflict = Err(Err(AppendError::Conflict { actual: head }));
        let there = self.inner.read(append.session, append.expected.seq, append.records.len().max(1)).await;
        let there = there.unwrap();
        match self.fault {
            Some(Fault::FencesAreIgnored) => {
                let fence = match entry.owner {
                    Some(owner) => Fence { owner, epoch: entry.epoch },
                    None => {
                        let owner = self.intruder().await;
                        self.inner.claim(owner, named([entry.id]), 1).await.unwrap();
                        Fence { owner, epoch: entry.epoch.next() }
                    }
                };
                append = refenced(append, fence);
            }
            Some(Fault::OwnersAreIgnored) => append.fence.owner = entry.owner.unwrap_or(owner),
            Some(Fault::EpochsAreIgnored) => append = refenced(append, Fence { owner, epoch: entry.epoch }),
            Some(Fault::LeasesFence) => {
                let intruder = self.intruder().await;
                self.inner.claim(intruder, named([entry.id]), 1).await.unwrap();
            }
            Some(Fault::HeadsAreIgnored) => append = rebased(append, head),
            Some(Fault::HashesAreIgnored) if append.expected.seq == head.seq => append.expected = head,
            Some(Fault::HeadsComeFirst) if append.expected != head => return conflict,
            Some(Fault::IdsAreForgotten) => {
                append.id = unique();
                rechain(&mut append, |_| {});
            }
            Some(Fault::IdsComeAfterFences) if (entry.owner, entry.epoch) != (Some(owner), epoch) => {
                return Err(Err(AppendError::Fenced { actual: entry.epoch }));
            }
            Some(Fault::OnlyTheLastIdIsKnown) if behind => {
                let last = self.inner.read(append.session, Seq::new(head.seq.number() - 1), 1).await.unwrap();
                if last[0].append != append.id {
                    return conflict;
                }
            }
            Some(Fault::RepeatsAreCompared) if behind && there != append.records => return conflict,
            Some(Fault::AnyIdIsARepeat) if behind => append.id = there[0].append,
            Some(Fault::RefusalsAreRemembered) if self.seen().refused.contains(&append.id) => {
                return Err(Err(AppendError::Corrupt { detail: "this id was refused before".into() }));
            }
            Some(Fault::ARefusalSpoilsTheNext) if std::mem::take(&mut self.seen().refused_last) => {
                return Err(Err(AppendError::Unavailable { detail: "the group failed".into() }));
            }
            _ => {}
        }
        Ok(append)
    }

    /// Spoils what an append brings.
    async fn spoil_parts(&self, append: &mut Append, entry: &SessionEntry) {
        match self.fault {
            Some(Fault::RecordsAreNotChecked) if append.expected == entry.head => {
                append.records.iter_mut().for_each(|record| record.append = append.id);
                let (mut seq, epoch) = (append.expected.seq, append.fence.epoch);
                rechain(append, |header| {
                    seq = seq.next();
                    (header.seq, header.epoch, header.session) = (seq, epoch, entry.id);
                    header.tenant = entry.tenant.clone();
                });
            }
            Some(Fault::MarksAreReset) => append.mark = append.mark.or(Some(Mark::default())),
            Some(Fault::RequirementsAreReset) => drop(append.requires.get_or_insert_default()),
            Some(Fault::BodiesAreText) => {
                append.records.iter_mut().for_each(|record| record.body = text(&record.body));
            }
            Some(Fault::SnapshotsAreDropped) => append.snapshot = None,
            Some(Fault::TheFirstSnapshotStays) => {
                let first = self.inner.snapshot(append.session).await.unwrap();
                append.snapshot = append.snapshot.take_if(|_| first.is_none());
            }
            Some(Fault::ActorsAreDropped) => append.actors.clear(),
            Some(Fault::PurgesAreMarks) if append.purges() => append.mark = None,
            Some(Fault::TurnsDoNotEnd) => append.turns.retain(|mark| matches!(mark, TurnMark::Started(..))),
            Some(Fault::ReadMailStays) => append.consume_mail.clear(),
            Some(Fault::MailOfAppendsIsLost) => append.post_mail.clear(),
            Some(Fault::MailOfAppendsNamesNoTurn) => {
                append.post_mail.iter_mut().for_each(|post| post.turn = None);
            }
            Some(Fault::AppendsHaveNoQuota) => append.post_mail.iter_mut().for_each(|post| post.quota = ALL),
            Some(Fault::AppendsIgnoreKeys) => append.post_mail.iter_mut().for_each(|post| post.dedupe = None),
            Some(Fault::GapsAreClosed) => {
                let rows = self.inner.replay(append.session, 1, ALL).await.unwrap();
                let last = rows.last().map_or(0, |row| row.outgoing.sequence);
                append.outbox.iter_mut().zip(last + 1..).for_each(|(row, next)| row.sequence = next);
            }
            _ => {}
        }
    }

    /// Remembers what faults need, and spoils the answer.
    async fn spoil_answer(&self, append: Append, answer: Answer) -> Answer {
        if answer.is_err() {
            let mut seen = self.seen();
            seen.refused.insert(append.id);
            seen.refused_last = matches!(answer, Err(AppendError::Corrupt { .. }));
        } else {
            let mut seen = self.seen();
            for blob in append.blobs {
                seen.blobs.entry(blob.address).or_insert(blob.sealed);
            }
            for mail in append.consume_mail {
                let key = seen.keys.get(&mail).copied();
                seen.freed.extend(key);
            }
        }
        match (self.fault, answer) {
            (Some(Fault::RefusedMailIsPosted), Err(error)) => {
                for post in append.post_mail {
                    let _ = self.inner.post(post).await;
                }
                Err(error)
            }
            (Some(Fault::RepeatsAnswerTheHead), Ok(appended)) => {
                let head = self.inner.session(append.session).await.unwrap().unwrap().head;
                Ok(Appended { head, ..appended })
            }
            (Some(Fault::CallersAlwaysOwn), Ok(appended)) => Ok(Appended { still_owner: true, ..appended }),
            (_, answer) => answer,
        }
    }
}

/// What is left of bytes that are taken for text.
pub(super) fn text(bytes: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(bytes).into_owned().into_bytes()
}

#[async_trait]
impl Journal for Broken {
    async fn open_session(&self, mut new: NewSession) -> Result<SessionEntry, StoreError> {
        match self.fault {
            Some(Fault::NamesAreNotUnique) => new.name = digest_of(new.id.to_bytes()),
            Some(Fault::TenantsShareNames) => new.tenant = tenant("default"),
            _ => {}
        }
        self.seen().sessions.push(new.id);
        self.seen().opened.insert(new.id, new.clone());
        self.inner.open_session(new).await
    }

    async fn append(&self, append: Arc<Append>) -> Answer {
        let append = Append::clone(&append);
        let nothing = Ok(Appended { head: append.expected, still_owner: true });
        let Some(entry) = self.inner.session(append.session).await.unwrap() else {
            let taken = self.is(Fault::UnknownSessionsTakeAppends);
            return if taken { nothing } else { self.inner.append(append.into()).await };
        };
        let shut = entry.mark.status == SessionStatus::Archived && !append.purges();
        if self.is(Fault::ArchivedSessionsTakeAppends) && shut {
            return nothing;
        }
        if self.is(Fault::RecordsAreNotChecked) && append.records.is_empty() {
            return nothing;
        }
        let mut append = match self.spoil_judgement(append, &entry).await {
            Ok(append) => append,
            Err(answer) => return answer,
        };
        self.spoil_parts(&mut append, &entry).await;
        let is_repeat = append.expected.seq < entry.head.seq;
        self.spoil_settlements(&mut append).await;
        let answer = self.inner.append(append.clone().into()).await;
        if answer.is_ok() {
            self.spoil_settled(&append, is_repeat).await;
        }
        self.spoil_answer(append, answer).await
    }

    async fn read(&self, session: SessionId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        let first = self.seen().sessions.first().copied();
        let session = if self.is(Fault::SessionsShareRecords) { first.unwrap_or(session) } else { session };
        let mut records = self.inner.read(session, after, self.limit(limit)).await?;
        if self.is(Fault::RecordsAreInAnyOrder) {
            records.reverse();
        }
        Ok(records)
    }

    async fn blob(&self, session: SessionId, address: Digest) -> Result<Vec<u8>, StoreError> {
        let shared = self.seen().blobs.get(&address).cloned();
        match (self.fault, self.inner.blob(session, address).await) {
            (Some(Fault::SessionsShareBlobs), Err(error)) => shared.ok_or(error),
            (Some(Fault::BlobsAreInvented), Err(_)) => Ok(Vec::new()),
            (_, answer) => answer,
        }
    }

    async fn snapshot(&self, session: SessionId) -> Result<Option<Snapshot>, StoreError> {
        self.inner.snapshot(session).await
    }

    async fn session(&self, session: SessionId) -> Result<Option<SessionEntry>, StoreError> {
        let entry = self.inner.session(session).await?;
        let sequence = |entry: SessionEntry| match self.fault {
            Some(Fault::EntriesHaveNoSequence) => SessionEntry { sequence: 0, ..entry },
            _ => entry,
        };
        Ok(entry.map(sequence))
    }

    async fn sessions(
        &self,
        filter: SessionFilter,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionEntry>, StoreError> {
        let filter = if self.is(Fault::FiltersAreIgnored) { SessionFilter::default() } else { filter };
        let mut entries = self.inner.sessions(filter, after, self.limit(limit)).await?;
        if self.is(Fault::ListsAreInAnyOrder) {
            entries.reverse();
        }
        Ok(entries)
    }

    async fn turn(&self, turn: TurnId) -> Result<Option<TurnEntry>, StoreError> {
        self.inner.turn(turn).await
    }

    async fn actor(&self, of: &Tenant, actor: Pseudonym) -> Result<Option<NamedActor>, StoreError> {
        let shared = self.is(Fault::TenantsShareActors).then(|| tenant("default"));
        self.inner.actor(shared.as_ref().unwrap_or(of), actor).await
    }
}
