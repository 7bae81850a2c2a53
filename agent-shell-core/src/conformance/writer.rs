//! Valid appends: records that chain.

use std::borrow::Cow;
use std::sync::Arc;

use super::scene::{digest_of, unique};
use crate::data::{Header, Kind, Record, record_hash};
use crate::ports::{Append, Appended, Fence, Mark, Outgoing, SessionEntry, SessionStatus, Store};
use crate::words::{Digest, Head, OwnerId, Pseudonym, Seq, SessionId, Tenant, Timestamp};

/// An owner's view of a session: enough to make the next append.
#[derive(Debug, Clone)]
pub struct Writer {
    /// The session.
    pub session: SessionId,
    /// Its tenant.
    pub tenant: Tenant,
    /// Who appends.
    pub fence: Fence,
    /// Where the next records go.
    pub head: Head,
    /// The sequence of the last envelope.
    pub sequence: u64,
}

impl Writer {
    /// The view of an owner that has just claimed the session.
    pub fn of(entry: &SessionEntry, owner: OwnerId) -> Self {
        let fence = Fence { owner, epoch: entry.epoch };
        Self {
            session: entry.id,
            tenant: entry.tenant.clone(),
            fence,
            head: entry.head,
            sequence: entry.sequence,
        }
    }

    /// An append of records with these bodies and nothing else.
    pub fn append<B: AsRef<[u8]>>(&self, bodies: impl IntoIterator<Item = B>) -> Append {
        let mut append = Append {
            id: unique(),
            session: self.session,
            fence: self.fence,
            expected: self.head,
            records: Vec::new(),
            blobs: Vec::new(),
            consume_mail: Vec::new(),
            post_mail: Vec::new(),
            outbox: Vec::new(),
            requires: None,
            mark: None,
            turns: Vec::new(),
            snapshot: None,
            actors: Vec::new(),
            settle: Vec::new(),
        };
        for body in bodies {
            let head = append.records.last().map_or(self.head, Record::head);
            let record = self.record(&append, head, body.as_ref());
            append.records.push(record);
        }
        append
    }

    /// An append with one record and this mark.
    pub fn mark(&self, status: SessionStatus, wake_at: Option<Timestamp>) -> Append {
        Append { mark: Some(Mark { status, wake_at }), ..self.append(["marked"]) }
    }

    /// An append with one record and so many envelopes.
    pub fn envelopes(&self, count: u64) -> Append {
        let outbox = (1..=count).map(|index| envelope(self.session, self.sequence + index)).collect();
        Append { outbox, ..self.append(["with envelopes"]) }
    }

    /// Appends what must be accepted, and moves on.
    ///
    /// # Panics
    /// When it is refused, or the answer is not the head that was reached.
    pub async fn write(&mut self, store: &Store, append: Append) -> Appended {
        let reached = append.records.last().map_or(append.expected, Record::head);
        let sequence = append.outbox.last().map_or(self.sequence, |row| row.sequence);
        let appended =
            store.journal.append(Arc::new(append)).await.expect("a journal must accept a valid append");
        let expected = Appended { head: reached, still_owner: true };
        assert_eq!(appended, expected, "an append must answer with the head of its last record");
        (self.head, self.sequence) = (reached, sequence);
        appended
    }

    fn record(&self, append: &Append, head: Head, body: &[u8]) -> Record {
        let header = Header {
            tenant: self.tenant.clone(),
            session: self.session,
            seq: head.seq.next(),
            epoch: append.fence.epoch,
            kind: Kind(Cow::Borrowed("suite.record")),
            version: 7,
            time: Timestamp::from_millis(1_700_000_000_000 + head.seq.number()),
            actor: Pseudonym::RUNTIME,
            body_digest: digest_of(body),
        };
        let hash = record_hash(&head.hash, &header);
        Record { header, append: append.id, body: body.to_vec(), hash }
    }
}

/// An envelope for the outbox.
pub(super) fn envelope(session: SessionId, sequence: u64) -> Outgoing {
    Outgoing {
        id: unique(),
        sequence,
        topic: "suite".into(),
        written: Timestamp::from_millis(1_700_000_000_000 + sequence),
        envelope: format!("{{\"session\":\"{session}\",\"sequence\":{sequence}}}").into_bytes(),
    }
}

/// The same append as another owner, or under another epoch, would make it: its records bear the epoch.
pub(super) fn refenced(mut append: Append, fence: Fence) -> Append {
    append.fence = fence;
    rechain(&mut append, |header| header.epoch = fence.epoch);
    append
}

/// The same append onto another head.
pub(super) fn rebased(mut append: Append, expected: Head) -> Append {
    append.expected = expected;
    let mut seq = expected.seq;
    rechain(&mut append, |header| {
        seq = seq.next();
        header.seq = seq;
    });
    append
}

/// Changes every header, and chains the records again.
pub(super) fn rechain(append: &mut Append, mut change: impl FnMut(&mut Header)) {
    let mut hash: Digest = append.expected.hash;
    for record in &mut append.records {
        change(&mut record.header);
        record.append = append.id;
        hash = record_hash(&hash, &record.header);
        record.hash = hash;
    }
}

/// A head that no session has.
pub(super) fn elsewhere(seq: Seq) -> Head {
    Head { seq, hash: digest_of("a head of no chain") }
}
