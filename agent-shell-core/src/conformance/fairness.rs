//! Fairness: what claims that are limited bring over time.

use std::collections::BTreeMap;

use super::scene::{Scene, post};
use super::{StoreFixture, Writer};
use crate::data::{Lane, MailKind};
use crate::ports::{Append, Claim, ClaimFilter, SessionStatus};
use crate::words::{OwnerId, SessionId, Timestamp};

const NOW: u64 = 1_800_000_000_000;
/// Sessions that always have work.
const SESSIONS: usize = 9;
/// What a claim may bring.
const LIMIT: usize = 2;

/// What a session gets to do each time when it was served.
#[derive(Clone, Copy)]
enum Work {
    Mail,
    Running,
    Due,
}

/// Sessions that get new work as soon as they were served.
struct Load<'a> {
    scene: Scene<'a>,
    owner: OwnerId,
    works: BTreeMap<SessionId, Work>,
    served: BTreeMap<SessionId, usize>,
    time: u64,
}

impl<'a> Load<'a> {
    async fn of(fixture: &'a dyn StoreFixture) -> Self {
        let scene = Scene::new(fixture).await;
        let owner = scene.owner().await;
        Self { scene, owner, works: BTreeMap::new(), served: BTreeMap::new(), time: NOW }
    }

    /// One more session, with its first work.
    async fn add(&mut self, tenant: &str, work: Work) -> SessionId {
        let session = self.scene.session_of(tenant).await.id;
        self.works.insert(session, work);
        self.served.insert(session, 0);
        let writer = self.scene.take(self.owner, session).await;
        self.serve(writer).await;
        session
    }

    /// Claims, and serves what was claimed.
    async fn claim(&mut self, limit: usize) -> Vec<Claim> {
        let filter = ClaimFilter { due_by: Timestamp::from_millis(self.time), ..ClaimFilter::default() };
        let claims = self.scene.claim_at_most(self.owner, filter, limit).await;
        let claims = claims.expect("an owner with a lease may claim");
        assert!(!claims.is_empty() && claims.len() <= limit, "there is work, and the limit holds");
        for claim in &claims {
            *self.served.entry(claim.entry.id).or_default() += 1;
            self.serve(Writer::of(&claim.entry, self.owner)).await;
        }
        claims
    }

    /// Does what the session has to do, gives it new work, which is later than all before, and lets it go.
    async fn serve(&mut self, mut writer: Writer) {
        self.time += 1;
        let (session, now) = (writer.session, Timestamp::from_millis(self.time));
        let read = self.scene.waiting(session, Lane::Input).await;
        let mark = match self.works[&session] {
            Work::Mail => {
                let mail = post(session, MailKind::Submit, "work");
                self.scene.accept(crate::ports::Post { posted: now, ..mail }).await;
                writer.mark(SessionStatus::Idle, None)
            }
            Work::Running => writer.mark(SessionStatus::Running, None),
            Work::Due => writer.mark(SessionStatus::Waiting, Some(now)),
        };
        let consume_mail = read.into_iter().map(|item| item.id).collect();
        writer.write(&self.scene.store, Append { consume_mail, ..mark }).await;
        let held = vec![(session, writer.fence.epoch)];
        let released = self.scene.store.ownership.release(self.owner, held).await;
        assert_eq!(released, Ok(()), "an owner may let go of what it holds");
    }

    /// Asserts that each of these sessions was served so often at least.
    fn each_was_served(&self, sessions: &[SessionId], times: usize) {
        let served: Vec<_> = sessions.iter().map(|session| self.served[session]).collect();
        let all = served.iter().all(|count| *count >= times);
        assert!(all, "each session must have been served {times} times at least: {served:?}");
    }
}

/// When claims are limited, and whoever was served gets new work at once, of whatever kind, everybody is served.
pub async fn no_session_starves(fixture: &dyn StoreFixture) {
    let mut load = Load::of(fixture).await;
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        let work = [Work::Mail, Work::Running, Work::Due][number % 3];
        sessions.push(load.add("default", work).await);
    }
    // Enough for each to be served four times, of which one half must come about.
    for _ in 0..SESSIONS * 4 / LIMIT {
        load.claim(LIMIT).await;
    }
    load.each_was_served(&sessions, 2);
}

/// When claims are limited, those who come do not keep those who wait from being served, nor the other way round.
pub async fn who_waits_is_served_before_all_who_come(fixture: &dyn StoreFixture) {
    let mut load = Load::of(fixture).await;
    let mut waiting = Vec::new();
    for _ in 0..SESSIONS {
        waiting.push(load.add("default", Work::Mail).await);
    }
    let mut come = Vec::new();
    for _ in 0..SESSIONS * 2 {
        // As many new sessions as a claim takes.
        for _ in 0..LIMIT {
            come.push(load.add("default", Work::Mail).await);
        }
        load.claim(LIMIT).await;
    }
    // Once would not tell: they were there first.
    load.each_was_served(&waiting, 2);
    load.each_was_served(&come[..LIMIT], 1);
}

/// When claims bring fewer sessions than there are tenants, every tenant is served.
pub async fn no_tenant_starves(fixture: &dyn StoreFixture) {
    let mut load = Load::of(fixture).await;
    for tenant in ["a", "b", "c"] {
        for _ in 0..2 {
            load.add(tenant, Work::Mail).await;
        }
    }
    let mut served: BTreeMap<_, usize> = BTreeMap::new();
    for _ in 0..12 {
        for claim in load.claim(1).await {
            *served.entry(claim.entry.tenant).or_default() += 1;
        }
    }
    let counts: Vec<_> = served.values().copied().collect();
    assert!(counts.len() == 3 && counts.iter().all(|count| *count >= 2), "every tenant: {served:?}");
}
