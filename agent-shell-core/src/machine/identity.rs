//! The names of acts: the idempotency key of a step, and the digest to which an approval binds.

use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::data::canonical::{NotCanonical, canonical, canonical_digest};
use crate::words::{Digest, SessionId, StepId, TurnId};

/// The idempotency key: the first 16 bytes, in hexadecimal, of SHA-256 over the session, the turn, the step's name
/// and the canonical JSON of its input.
pub(super) fn idempotency_key(
    session: SessionId,
    turn: TurnId,
    step: &StepId,
    input: &Value,
) -> Result<Arc<str>, NotCanonical> {
    let mut hash = Sha256::new();
    hash.update(b"agent-shell/key/1\0");
    hash.update(session.to_bytes());
    hash.update(turn.to_bytes());
    hash.update((step.as_str().len() as u32).to_be_bytes());
    hash.update(step.as_str());
    hash.update(canonical(input)?);
    let digest = Digest::from_bytes(hash.finalize().into());
    Ok(digest.write_to(&mut [0; 64])[..32].into())
}

/// What an approval binds to: the digest of the tool, its version and the exact arguments; or of what a step shows.
pub(super) fn call_digest(tool: Option<(&str, u32)>, input: &Value) -> Result<Digest, NotCanonical> {
    canonical_digest(&json!({ "domain": "agent-shell/call/1", "tool": tool, "input": input }))
}
