//! A store and a key store that live in this process's memory, for tests and for what need not outlive it.
//!
//! They keep every promise of the ports but one: nothing outlives the process. [`VolatileStore`] locks one session
//! at a time and nothing across an await, so that sessions do not wait for one another.

mod append;
mod archive;
mod books;
mod journal;
mod keys;
mod ledger;
mod mail;
mod marks;
mod outbox;
mod ownership;
mod room;
mod session;
#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

pub use keys::VolatileKeys;

use self::books::Books;
use self::marks::Kept;
use self::outbox::Rows;
use self::ownership::Owners;
use self::room::Room;
use self::session::Session;
use crate::ports::{NamedActor, Store, StoreError, TurnEntry};
use crate::words::{Clock, Digest, Pseudonym, SessionId, Tenant, TurnId};

/// Journal, mailbox, ownership, outbox, marks, archive and ledger in memory.
///
/// An append of more than [`VolatileStore::MAX_APPEND_BYTES`] is refused as `TooLarge`, and what would not fit the
/// store's capacity as `Unavailable`. Acknowledged outbox rows that are trimmed, mail that is consumed and
/// snapshots that are replaced make room again; records stay.
pub struct VolatileStore {
    // Locks are taken in this order, and those of sessions in the order of their ids.
    owners: Mutex<Owners>,
    /// Counts the sessions that were claimed, while the owners are locked.
    claims: AtomicU64,
    names: Mutex<HashMap<(Tenant, Digest), Arc<Session>>>,
    sessions: RwLock<BTreeMap<SessionId, Arc<Session>>>,
    turns: Mutex<HashMap<TurnId, TurnEntry>>,
    actors: Mutex<HashMap<(Tenant, Pseudonym), NamedActor>>,
    rows: Mutex<Rows>,
    marks: Mutex<Kept>,
    books: Mutex<Books>,
    room: Room,
    clock: Arc<dyn Clock>,
}

impl VolatileStore {
    /// The largest append, in bytes of bodies, blobs, mail, envelopes and snapshot.
    pub const MAX_APPEND_BYTES: usize = 64 << 20;

    /// What a store holds at most unless it is told otherwise, in bytes.
    pub const DEFAULT_CAPACITY_BYTES: u64 = 4 << 30;

    /// An empty store. Leases run on the clock's monotonic time.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            owners: Mutex::default(),
            claims: AtomicU64::new(0),
            names: Mutex::default(),
            sessions: RwLock::default(),
            turns: Mutex::default(),
            actors: Mutex::default(),
            rows: Mutex::default(),
            marks: Mutex::default(),
            books: Mutex::default(),
            room: Room::of(Self::DEFAULT_CAPACITY_BYTES),
            clock,
        }
    }

    /// The same store with room for `bytes`, counted as the stored bytes and a fixed part for each thing stored.
    #[must_use]
    pub fn with_capacity_bytes(mut self, bytes: u64) -> Self {
        self.room = Room::of(bytes);
        self
    }

    /// An empty store as the set of ports that a shell takes.
    pub fn store(clock: Arc<dyn Clock>) -> Store {
        Store::new(Arc::new(Self::new(clock)))
    }

    fn find(&self, id: SessionId) -> Option<Arc<Session>> {
        self.sessions.read().expect(LOCKED).get(&id).cloned()
    }

    /// Keeps an actor's name, for which room was taken, unless there is one.
    fn remember_actor(&self, tenant: &Tenant, named: NamedActor) {
        match lock(&self.actors).entry((tenant.clone(), named.actor)) {
            Entry::Occupied(_) => self.room.give_back(room::stored(named.sealed.len())),
            Entry::Vacant(place) => drop(place.insert(named)),
        }
    }
}

impl fmt::Debug for VolatileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VolatileStore").field("room", &self.room).finish_non_exhaustive()
    }
}

const LOCKED: &str = "nothing panics while it holds a lock of this store";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect(LOCKED)
}

fn no_session(id: SessionId) -> StoreError {
    StoreError::NotFound { what: format!("session {id}") }
}
