//! How much the store holds, and how much it may.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::ports::{Append, NamedActor, NewSession, Post, StoreError};

/// What is counted for each thing stored, beside its bytes: about what its fields and its place in an index take.
const EACH: u64 = 256;

/// A count of bytes with a limit.
#[derive(Debug)]
pub(super) struct Room {
    used: AtomicU64,
    capacity: u64,
}

impl Room {
    pub(super) fn of(capacity: u64) -> Self {
        Self { used: AtomicU64::new(0), capacity }
    }

    /// Takes so many bytes, or none.
    pub(super) fn take(&self, bytes: u64) -> Result<(), StoreError> {
        let fits = |used: u64| used.checked_add(bytes).filter(|&used| used <= self.capacity);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(()),
            Err(used) => Err(StoreError::Unavailable {
                detail: format!(
                    "{used} of {} bytes are in use, and {bytes} more are asked for",
                    self.capacity
                ),
            }),
        }
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The bytes of one thing with its fixed part.
pub(super) fn stored(bytes: usize) -> u64 {
    bytes as u64 + EACH
}

pub(super) fn of_session(new: &NewSession) -> u64 {
    stored(new.sealed.len())
}

/// Mail, and its dedupe row, which stays when the mail is consumed.
pub(super) fn of_post(post: &Post) -> u64 {
    stored(post.sealed.len()) + post.dedupe.map_or(0, |_| stored(0)) + of_actors(post.named_actor.as_slice())
}

fn of_actors(actors: &[NamedActor]) -> u64 {
    actors.iter().map(|named| stored(named.sealed.len())).sum()
}

/// What an append adds at most, and how many bytes of that the caller brought.
pub(super) fn of_append(append: &Append) -> (u64, usize) {
    let things = append.records.len()
        + append.blobs.len()
        + append.post_mail.len()
        + append.outbox.len()
        + usize::from(append.snapshot.is_some());
    let bytes = append.records.iter().map(|record| record.body.len()).sum::<usize>()
        + append.blobs.iter().map(|blob| blob.sealed.len()).sum::<usize>()
        + append.post_mail.iter().map(|post| post.sealed.len()).sum::<usize>()
        + append.outbox.iter().map(|row| row.envelope.len()).sum::<usize>()
        + append.snapshot.as_ref().map_or(0, |snapshot| snapshot.sealed.len());
    let dedupe = append.post_mail.iter().filter(|post| post.dedupe.is_some()).count() as u64 * EACH;
    let named: u64 = append.post_mail.iter().map(|post| of_actors(post.named_actor.as_slice())).sum();
    (bytes as u64 + things as u64 * EACH + dedupe + named + of_actors(&append.actors), bytes)
}
