//! A record as it is stored: a header that is chained and holds nothing personal, and a sealed body.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::words::{AppendId, Digest, Epoch, Head, Pseudonym, Seq, SessionId, Tenant, Timestamp};

/// The kind of a record, such as `step.succeeded`. A file may hold kinds that this version does not know; they
/// still verify.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kind(pub Cow<'static, str>);

impl Kind {
    /// The kind of the record with which a session is purged.
    pub const PURGE: &'static str = "session.purged";

    /// The kind as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is chained of a record. Nothing in it is personal: it stays when the body's key is destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The session's tenant.
    pub tenant: Tenant,
    /// The session.
    pub session: SessionId,
    /// The record's place in the session.
    pub seq: Seq,
    /// The epoch of the owner that wrote it.
    pub epoch: Epoch,
    /// What it records.
    pub kind: Kind,
    /// The version of the body's form, from 1.
    pub version: u16,
    /// When it was made, by the owner's wall clock.
    pub time: Timestamp,
    /// Who acted.
    pub actor: Pseudonym,
    /// SHA-256 of the sealed body.
    pub body_digest: Digest,
}

/// A record as a journal stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The chained part.
    pub header: Header,
    /// The append that wrote it; not chained.
    pub append: AppendId,
    /// The sealed body.
    pub body: Vec<u8>,
    /// The chained hash: of the header, and of the hash before it.
    pub hash: Digest,
}

impl Record {
    /// The head of a chain that ends with this record.
    pub fn head(&self) -> Head {
        Head { seq: self.header.seq, hash: self.hash }
    }
}
