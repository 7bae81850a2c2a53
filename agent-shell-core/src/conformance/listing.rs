//! Sessions: found by name, registered once, listed in pages.

use futures::future::join_all;

use super::StoreFixture;
use super::scene::{ALL, Scene, digest_of, new_session, post, tenant, unique};
use crate::data::MailKind;
use crate::ports::{Mark, NewSession, SessionEntry, SessionFilter, SessionStatus};
use crate::words::{Epoch, Head, SessionId};

/// A new session is as it was registered, and has nothing in it.
pub async fn a_session_is_registered_as_asked(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let new = new_session("default");
    let NewSession { id, tenant, name, sealed, key, created } = new.clone();
    let expected = SessionEntry {
        id,
        tenant,
        name,
        sealed,
        key,
        created,
        head: Head::EMPTY,
        epoch: Epoch::ZERO,
        owner: None,
        mark: Mark::default(),
        requires: Vec::new(),
        waiting_mail: 0,
        sequence: 0,
        archived: None,
    };
    assert_eq!(scene.open(new).await, expected, "a new session must be registered as asked");
    assert_eq!(scene.entry(id).await, expected, "a registered session must be found by its id");
}

/// Whoever opens a name again gets the first entry, as it is now.
pub async fn a_name_finds_the_first_session(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let new = new_session("default");
    let first = scene.open(new.clone()).await;
    let second = NewSession { name: new.name, ..new_session("default") };
    assert_eq!(scene.open(second.clone()).await, first, "a name must find the session that has it");
    let absent = scene.store.journal.session(second.id).await;
    assert_eq!(absent, Ok(None), "the second id must not be registered");
    let mut writer = scene.take(scene.owner().await, first.id).await;
    let append = writer.mark(SessionStatus::Running, None);
    writer.write(&scene.store, append).await;
    scene.accept(post(first.id, MailKind::Submit, "hello")).await;
    let found = scene.open(new).await;
    assert_eq!(found, scene.entry(first.id).await, "a name must find the session as it is now");
    assert_eq!((found.head, found.waiting_mail), (writer.head, 1), "its entry must be up to date");
}

/// The same name in two tenants names two sessions.
pub async fn a_name_belongs_to_its_tenant(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let one = scene.open(new_session("one")).await;
    let two = scene.open(NewSession { name: one.name, ..new_session("two") }).await;
    assert_ne!(one.id, two.id, "a name must be unique within its tenant only");
    assert_eq!(two.tenant, tenant("two"), "the second session must belong to its own tenant");
}

/// However many open a name at once, one session comes of it.
pub async fn a_name_is_unique_under_concurrent_callers(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    for round in 0..8 {
        let name = digest_of(format!("contended {round}"));
        let opens = (0..8).map(|_| {
            let new = NewSession { name, ..new_session("default") };
            let journal = scene.store.journal.clone();
            super::concurrency::spawn(async move { journal.open_session(new).await })
        });
        let entries = join_all(opens).await;
        let first = entries[0].clone().expect("a store must register a session");
        for entry in entries {
            assert_eq!(entry.as_ref(), Ok(&first), "all concurrent callers must get the same entry");
        }
        let filter = SessionFilter { name: Some(name), ..SessionFilter::default() };
        let listed = scene.store.journal.sessions(filter, None, ALL).await;
        assert_eq!(listed, Ok(vec![first]), "one session must be registered");
    }
}

/// Pages go through all sessions in the order of their ids, whatever order they were registered in.
pub async fn sessions_are_listed_in_the_order_of_their_ids(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut ids: Vec<SessionId> = (0..11).map(|_| unique()).collect();
    for step in 0..11 {
        let id = ids[step * 7 % 11];
        scene.open(NewSession { id, ..new_session("default") }).await;
    }
    ids.sort();
    for limit in [1, 4, 11, 100] {
        let listed = pages(&scene, SessionFilter::default(), limit).await;
        let listed: Vec<_> = listed.iter().map(|entry| entry.id).collect();
        assert_eq!(listed, ids, "pages of {limit} must list every session once, in the order of ids");
    }
}

/// A filter lets through what has its tenant, its name, its status and its owner.
pub async fn sessions_are_filtered(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let owner = scene.owner().await;
    let statuses =
        [SessionStatus::Idle, SessionStatus::Running, SessionStatus::Waiting, SessionStatus::Resting];
    let mut all = Vec::new();
    for of_tenant in ["one", "two"] {
        for status in statuses {
            let mut writer = scene.take(owner, scene.session_of(of_tenant).await.id).await;
            let append = writer.mark(status, None);
            writer.write(&scene.store, append).await;
            all.push(scene.entry(writer.session).await);
        }
    }
    for of_tenant in [None, Some(tenant("one")), Some(tenant("two")), Some(tenant("three"))] {
        for status in [None].into_iter().chain(statuses.map(Some)) {
            for name in [None, Some(all[2].name), Some(digest_of("no such name"))] {
                let filter =
                    SessionFilter { tenant: of_tenant.clone(), name, status, ..SessionFilter::default() };
                let wanted = all.iter().filter(|entry| {
                    filter.tenant.as_ref().is_none_or(|only| *only == entry.tenant)
                        && filter.name.is_none_or(|only| only == entry.name)
                        && filter.status.is_none_or(|only| only == entry.mark.status)
                });
                let wanted: Vec<_> = wanted.cloned().collect();
                let listed = pages(&scene, filter.clone(), 3).await;
                assert_eq!(listed, wanted, "a listing must hold what {filter:?} lets through");
            }
        }
    }
    let other = scene.owner().await;
    let taken = scene.session().await.id;
    scene.take(other, taken).await;
    let held_by = async |owner| pages(&scene, SessionFilter { owner, ..SessionFilter::default() }, 3).await;
    assert_eq!(held_by(Some(owner)).await, all, "a listing must hold what the owner holds");
    assert_eq!(held_by(Some(other)).await, [scene.entry(taken).await], "and nothing of another's");
    assert_eq!(held_by(Some(unique())).await, [], "a stranger holds nothing");
}

async fn pages(scene: &Scene<'_>, filter: SessionFilter, limit: usize) -> Vec<SessionEntry> {
    let mut listed: Vec<SessionEntry> = Vec::new();
    loop {
        let after = listed.last().map(|entry| entry.id);
        let page = scene.store.journal.sessions(filter.clone(), after, limit).await;
        let page = page.expect("a store must list its sessions");
        assert!(page.len() <= limit, "a page must not be longer than asked");
        if page.is_empty() {
            return listed;
        }
        listed.extend(page);
        assert!(listed.len() <= ALL, "a listing that goes on after the last session must come to an end");
    }
}
