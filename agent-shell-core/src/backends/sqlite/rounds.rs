//! Whose turn it is when a claim is limited: tenants one after another, and each tenant's sessions in rounds.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use crate::words::Tenant;

/// Tenants whose rounds are remembered at most; beyond that all begin anew with their first session.
const REMEMBERED: usize = 1 << 16;

/// A walk over the sessions of a tenant, in the order of their numbers. It takes in those that were registered when it
/// began; later ones wait for the next. So a session with work is served in this round or in the next, however much
/// new work the others get, and however many new ones come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Round {
    /// The number of the session that was served last.
    after: i64,
    /// The number of the last session that belongs to the round.
    end: i64,
}

impl Round {
    /// The numbers to look at, in this order: what is left of the round, then a round from the first to the newest.
    pub(super) fn spans(self) -> [RangeInclusive<i64>; 3] {
        let next = self.end.max(self.after).saturating_add(1);
        [self.after.saturating_add(1)..=self.end, 0..=self.after, next..=i64::MAX]
    }

    /// The order in which sessions are served.
    pub(super) fn place(self, nr: i64) -> (bool, i64) {
        (!self.has_left(nr), nr)
    }

    /// The round after a session was served.
    fn served(self, nr: i64, newest: i64) -> Self {
        Self { after: nr, end: if self.has_left(nr) { self.end } else { newest } }
    }

    fn has_left(self, nr: i64) -> bool {
        nr > self.after && nr <= self.end
    }
}

/// The rounds of all tenants. They live as long as the process; a new one begins every round anew.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    last: Option<Tenant>,
    rounds: HashMap<Tenant, Round>,
}

impl Rounds {
    pub(super) fn of(&self, tenant: &Tenant) -> Round {
        self.rounds.get(tenant).copied().unwrap_or_default()
    }

    /// How many of these tenants, which are in their order, come after those whose turn it is.
    pub(super) fn first<'a>(&self, mut tenants: impl Iterator<Item = &'a Tenant>) -> usize {
        tenants.position(|tenant| Some(tenant) > self.last.as_ref()).unwrap_or(0)
    }

    /// A session of the tenant was served, when `newest` was the newest of all sessions.
    pub(super) fn served(&mut self, tenant: &Tenant, nr: i64, newest: i64) {
        let round = self.of(tenant).served(nr, newest);
        if self.rounds.len() >= REMEMBERED {
            self.rounds.clear();
        }
        self.rounds.insert(tenant.clone(), round);
        self.last = Some(tenant.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sessions that are served when each gets new work at once, and `registered` says how many there are.
    fn served(times: usize, registered: impl Fn(usize) -> i64) -> Vec<i64> {
        let mut round = Round::default();
        let serve = |time| {
            let newest = registered(time);
            let next = (1..=newest).min_by_key(|nr| round.place(*nr)).unwrap();
            let spanned = round.spans().into_iter().flat_map(|span| *span.start()..=newest.min(*span.end()));
            assert!(spanned.eq({
                let mut all: Vec<_> = (0..=newest).collect();
                all.sort_by_key(|nr| round.place(*nr));
                all
            }));
            round = round.served(next, newest);
            next
        };
        (0..times).map(serve).collect()
    }

    #[test]
    fn rounds_go_over_all_sessions() {
        assert_eq!(served(7, |_| 3), [1, 2, 3, 1, 2, 3, 1]);
    }

    #[test]
    fn those_who_come_meanwhile_wait_for_the_next_round() {
        // With every turn a further one is there.
        assert_eq!(served(9, |time| 2 + time as i64), [1, 2, 1, 2, 3, 4, 1, 2, 3]);
    }
}
