//! The hash chain of a session, and the check of it.

use sha2::{Digest as _, Sha256};

use super::record::{Header, Record};
use crate::words::{Digest, Head, Seq};

const DOMAIN: &[u8] = b"agent-shell/record/1";

/// The chained hash of a record: SHA-256 over the domain, the hash before it, and the header's fields.
///
/// Texts have their length before them as four bytes, big-endian; numbers are big-endian and of fixed length. The
/// order is: domain, previous hash (32), tenant, session (16), seq (8), epoch (8), kind, version (2), time in
/// milliseconds (8), actor (16), body digest (32).
pub fn record_hash(previous: &Digest, header: &Header) -> Digest {
    let mut hash = Sha256::new();
    let text = |bytes: &[u8], hash: &mut Sha256| {
        hash.update((bytes.len() as u32).to_be_bytes());
        hash.update(bytes);
    };
    text(DOMAIN, &mut hash);
    hash.update(previous.as_bytes());
    text(header.tenant.as_str().as_bytes(), &mut hash);
    hash.update(header.session.to_bytes());
    hash.update(header.seq.number().to_be_bytes());
    hash.update(header.epoch.number().to_be_bytes());
    text(header.kind.as_str().as_bytes(), &mut hash);
    hash.update(header.version.to_be_bytes());
    hash.update(header.time.as_millis().to_be_bytes());
    hash.update(header.actor.as_bytes());
    hash.update(header.body_digest.as_bytes());
    Digest::from_bytes(hash.finalize().into())
}

/// Where a chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainBreak {
    /// A record is missing, or stands twice.
    #[error("record {found} stands where record {expected} should: a record was removed or added")]
    Gap {
        /// The place that should have come.
        expected: Seq,
        /// The place that came.
        found: Seq,
    },
    /// A record belongs to another session or tenant than the first.
    #[error("record {at} belongs to another session: records were mixed")]
    Foreign {
        /// The place of the record.
        at: Seq,
    },
    /// A record's epoch is lower than that of the record before it.
    #[error("record {at} bears an earlier epoch than the record before it")]
    Epoch {
        /// The place of the record.
        at: Seq,
    },
    /// A body is not the one whose digest its header holds.
    #[error("the body of record {at} was changed")]
    Body {
        /// The place of the record.
        at: Seq,
    },
    /// A header, or a hash, is not the one that was chained.
    #[error("the header or the hash of record {at} was changed")]
    Hash {
        /// The place of the record.
        at: Seq,
    },
    /// The chain ends before a head that is known to have existed, or has another record there.
    #[error("the chain does not contain the head that was exported at record {at}: it was cut or rewritten")]
    Head {
        /// The place of the known head.
        at: Seq,
    },
}

/// Checks the records of one session, one after another, in constant memory.
#[derive(Debug, Clone)]
pub struct ChainVerifier {
    head: Head,
    first: Option<Header>,
    epoch: u64,
    known: Option<Head>,
    seen_known: bool,
}

impl ChainVerifier {
    /// Starts at the beginning of a session. With `known`, a head exported earlier, the chain must contain it.
    pub fn new(known: Option<Head>) -> Self {
        let seen_known = known.is_none_or(|known| known == Head::EMPTY);
        Self { head: Head::EMPTY, first: None, epoch: 0, known, seen_known }
    }

    /// Starts behind a head that was checked before: the first record must be the one that follows it. To which session
    /// the head belongs, the caller knows; every further record must belong to that of the first.
    pub fn after(head: Head) -> Self {
        Self { head, ..Self::new(None) }
    }

    /// The same check, in which a head that is known must still come.
    #[must_use]
    pub fn knowing(self, known: Option<Head>) -> Self {
        Self { known, seen_known: known.is_none(), ..self }
    }

    /// The head that was reached.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Checks the next record.
    ///
    /// # Errors
    /// Where and how the chain is broken.
    pub fn next(&mut self, record: &Record) -> Result<(), ChainBreak> {
        let header = &record.header;
        let at = header.seq;
        if at != self.head.seq.next() {
            return Err(ChainBreak::Gap { expected: self.head.seq.next(), found: at });
        }
        if self
            .first
            .as_ref()
            .is_some_and(|first| first.session != header.session || first.tenant != header.tenant)
        {
            return Err(ChainBreak::Foreign { at });
        }
        if header.epoch.number() < self.epoch {
            return Err(ChainBreak::Epoch { at });
        }
        if Digest::of(&record.body) != header.body_digest {
            return Err(ChainBreak::Body { at });
        }
        if record_hash(&self.head.hash, header) != record.hash {
            return Err(ChainBreak::Hash { at });
        }
        self.head = record.head();
        self.epoch = header.epoch.number();
        self.first.get_or_insert_with(|| header.clone());
        match self.known {
            Some(known) if known.seq == at && known.hash != record.hash => Err(ChainBreak::Head { at }),
            Some(known) if known.seq == at => {
                self.seen_known = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Ends the check and returns the head that was reached.
    ///
    /// # Errors
    /// [`ChainBreak::Head`] when a known head was given and the chain ended before it.
    pub fn finish(self) -> Result<Head, ChainBreak> {
        match self.known {
            Some(known) if !self.seen_known => Err(ChainBreak::Head { at: known.seq }),
            _ => Ok(self.head),
        }
    }
}
