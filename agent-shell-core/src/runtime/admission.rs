//! Admission: how many turns run at once, and whose turn comes next. Tenants take turns, so that one that submits a
//! thousand does not keep another from its first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::words::Tenant;

/// Places for running turns.
pub(crate) struct Admission {
    state: Mutex<State>,
}

struct State {
    free: usize,
    waiting: BTreeMap<Tenant, VecDeque<oneshot::Sender<Place>>>,
    last: Option<Tenant>,
}

/// A place. It is given back when it is dropped.
pub(crate) struct Place {
    admission: Arc<Admission>,
}

impl Admission {
    pub(crate) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State { free: places.max(1), waiting: BTreeMap::new(), last: None }),
        })
    }

    /// A place, when it is this tenant's turn.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue.
    pub(crate) async fn enter(self: &Arc<Self>, tenant: &Tenant) -> Place {
        let waiting = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.free > 0 {
                state.free -= 1;
                return Place { admission: self.clone() };
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.entry(tenant.clone()).or_default().push_back(sender);
            receiver
        };
        match waiting.await {
            Ok(place) => place,
            Err(_) => unreachable_place(self),
        }
    }

    fn give_back(self: &Arc<Self>) {
        let mut place = Place { admission: self.clone() };
        loop {
            let next = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                match state.next() {
                    Some(next) => next,
                    None => {
                        state.free += 1;
                        std::mem::forget(place);
                        return;
                    }
                }
            };
            match next.send(place) {
                Ok(()) => return,
                Err(returned) => place = returned,
            }
        }
    }
}

/// A sender is dropped only with the admission itself, which the caller holds; so this is never reached, and a place
/// too many is safer than a panic.
fn unreachable_place(admission: &Arc<Admission>) -> Place {
    Place { admission: admission.clone() }
}

impl State {
    /// The first in the queue of the tenant that comes after the last one served.
    fn next(&mut self) -> Option<oneshot::Sender<Place>> {
        let after = self.last.take();
        let tenant = after
            .as_ref()
            .and_then(|last| {
                self.waiting
                    .range::<Tenant, _>((std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded))
                    .next()
            })
            .or_else(|| self.waiting.iter().next())
            .map(|(tenant, _)| tenant.clone())?;
        let queue = self.waiting.get_mut(&tenant)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&tenant);
        }
        self.last = Some(tenant);
        next
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.clone().give_back();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn tenants_take_turns() {
        let admission = Admission::new(1);
        let [a, b] = ["a", "b"].map(|name| Tenant::new(name).unwrap());
        let first = admission.enter(&a).now_or_never().unwrap();
        let mut busy: Vec<_> = (0..3).map(|_| Box::pin(admission.enter(&a))).collect();
        let mut quiet = Box::pin(admission.enter(&b));
        busy.iter_mut().for_each(|waiting| assert!(waiting.as_mut().now_or_never().is_none()));
        assert!(quiet.as_mut().now_or_never().is_none());
        drop(first);
        let of_a = busy[0].as_mut().now_or_never().expect("the first in the queue of the first tenant");
        drop(of_a);
        let of_b =
            quiet.as_mut().now_or_never().expect("the other tenant comes before the first one's second");
        drop(busy.remove(1));
        drop(of_b);
        assert!(busy[1].as_mut().now_or_never().is_some(), "a waiter that gave up is passed over");
    }
}
