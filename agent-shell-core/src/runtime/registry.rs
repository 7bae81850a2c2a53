//! The sessions that this process holds, or is about to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::words::{Error, ErrorKind, SessionId};

/// For how many sessions places are made at once.
const MOST_DEMAND: usize = 256;

/// By which a held session is told that something waits for it.
#[derive(Default)]
pub(crate) struct SessionHandle {
    mail: AtomicBool,
    wake: Notify,
    begun: AtomicBool,
    driven: AtomicBool,
    idle: AtomicBool,
    leave: AtomicBool,
    trouble: Mutex<Option<(ErrorKind, String)>>,
}

impl SessionHandle {
    /// Tells the session that mail waits.
    pub(crate) fn mail_arrived(&self) {
        self.mail.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Whether mail may have come since the last call.
    pub(crate) fn take_mail(&self) -> bool {
        self.mail.swap(false, Ordering::AcqRel)
    }

    /// True for the first caller, who begins to drive the session.
    pub(crate) fn begin(&self) -> bool {
        !self.begun.swap(true, Ordering::AcqRel)
    }

    /// Whether the session is, or was, driven in this place.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Whether a task drives the session and shows what becomes durable.
    pub(crate) fn is_driven(&self) -> bool {
        self.driven.load(Ordering::Acquire)
    }

    pub(crate) fn set_driven(&self, driven: bool) {
        self.driven.store(driven, Ordering::Release);
    }

    /// Whether the session sleeps without work.
    pub(crate) fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Ordering::Release);
    }

    /// Asks the session to be let go as soon as it has no work.
    pub(crate) fn ask_to_leave(&self) {
        self.leave.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Whether the session is to be let go without delay when it has no work.
    pub(crate) fn is_asked_to_leave(&self) -> bool {
        self.leave.load(Ordering::Acquire)
    }

    /// Why the session can't go on at the moment.
    pub(crate) fn trouble(&self) -> Option<Error> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.as_ref().map(|(kind, message)| Error::new(*kind, message.clone()))
    }

    pub(crate) fn set_trouble(&self, error: Error) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((error.kind(), error.to_string()));
    }

    /// Returns when the session was told of something.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }
}

/// A claim under way.
#[must_use]
pub(crate) struct Claiming<'a> {
    strays: Option<&'a AtomicBool>,
}

impl Claiming<'_> {
    /// The store said what was claimed.
    pub(crate) fn was_answered(mut self) {
        self.strays = None;
    }
}

impl Drop for Claiming<'_> {
    fn drop(&mut self) {
        if let Some(strays) = self.strays {
            strays.store(true, Ordering::Release);
        }
    }
}

/// Which sessions are held. A session is in here from before it is claimed until after its task has ended.
#[derive(Default)]
pub(crate) struct Registry {
    /// Whether sessions may stand in this process's name that are not in here.
    strays: AtomicBool,
    /// For how many sessions there was no place when it was last looked.
    demand: AtomicUsize,
    /// Places were given back that others wait for.
    room: Notify,
    /// In the order of their ids, so that a simulation finds them in the same order again.
    sessions: Mutex<BTreeMap<SessionId, Arc<SessionHandle>>>,
}

impl Registry {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<SessionId, Arc<SessionHandle>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether sessions may stand in this process's name that are not in here.
    /// Once asked, it is for the asker to find them.
    pub(crate) fn take_strays(&self) -> bool {
        self.strays.swap(false, Ordering::AcqRel)
    }

    /// A claim begins. Unless it is answered there may be strays.
    pub(crate) fn claiming(&self) -> Claiming<'_> {
        Claiming { strays: Some(&self.strays) }
    }

    /// The handle of a session that is held.
    pub(crate) fn find(&self, session: SessionId) -> Option<Arc<SessionHandle>> {
        self.lock().get(&session).cloned()
    }

    /// Reserves a place for a session. None when it is held already.
    pub(crate) fn reserve(&self, session: SessionId) -> Option<Arc<SessionHandle>> {
        use std::collections::btree_map::Entry;
        match self.lock().entry(session) {
            Entry::Occupied(_) => None,
            Entry::Vacant(place) => Some(place.insert(Arc::default()).clone()),
        }
    }

    /// Lets a session go, if it is still held by this handle. False, and it stays, when mail came in the meantime and
    /// `even_with_mail` is not set.
    pub(crate) fn remove(
        &self,
        session: SessionId,
        handle: &Arc<SessionHandle>,
        even_with_mail: bool,
    ) -> bool {
        let mut sessions = self.lock();
        let is_held = sessions.get(&session).is_some_and(|held| Arc::ptr_eq(held, handle));
        if is_held && !even_with_mail && handle.mail.load(Ordering::Acquire) {
            return false;
        }
        if is_held {
            sessions.remove(&session);
            if self.demand() > 0 {
                self.room.notify_one();
            }
        }
        true
    }

    /// For how many more sessions there should be places.
    pub(crate) fn demand(&self) -> usize {
        self.demand.load(Ordering::Acquire)
    }

    /// Says for how many more sessions there should be places, and wakes as many that sleep without work, so that they
    /// make room.
    pub(crate) fn set_demand(&self, demand: usize) {
        self.demand.store(demand, Ordering::Release);
        self.wake_idle(demand);
    }

    /// A session found no place.
    pub(crate) fn turned_away(&self) {
        let more = |demand: usize| (demand < MOST_DEMAND).then_some(demand + 1);
        let _ = self.demand.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        self.wake_idle(1);
    }

    /// Returns when places were given back that others wait for.
    pub(crate) async fn has_room(&self) {
        self.room.notified().await;
    }

    fn wake_idle(&self, most: usize) {
        let sessions = self.lock();
        let idle = sessions.values().filter(|handle| handle.idle.load(Ordering::Acquire));
        idle.take(most).for_each(|handle| handle.wake.notify_one());
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }
}
