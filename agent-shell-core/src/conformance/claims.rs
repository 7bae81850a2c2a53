//! Claims: which sessions an owner gets.

use std::collections::BTreeSet;

use super::scene::{Scene, digest_of, ids, named, post, tenant, unique};
use super::{StoreFixture, Writer};
use crate::data::{MailKind, RequirementId};
use crate::ports::{Append, ClaimFilter, OwnershipError, Post, SessionStatus};
use crate::words::{OwnerId, SessionId, Timestamp};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn due() -> ClaimFilter {
    ClaimFilter { due_by: NOW, ..ClaimFilter::default() }
}

/// A session with this mark that nobody owns.
async fn left_with(scene: &Scene<'_>, status: SessionStatus, wake_at: Option<Timestamp>) -> SessionId {
    let mut writer = scene.owned().await;
    let append = writer.mark(status, wake_at);
    writer.write(&scene.store, append).await;
    let_go(scene, &writer).await;
    writer.session
}

async fn let_go(scene: &Scene<'_>, writer: &Writer) {
    let held = vec![(writer.session, writer.fence.epoch)];
    let released = scene.store.ownership.release(writer.fence.owner, held).await;
    assert_eq!(released, Ok(()), "an owner may let go of what it holds");
}

/// An unowned session of the tenant, with mail.
async fn with_mail(scene: &Scene<'_>, of_tenant: &str) -> SessionId {
    let session = scene.session_of(of_tenant).await.id;
    scene.accept(post(session, MailKind::Submit, "work")).await;
    session
}

/// Mail, a running turn and an instant that has come are work, each by itself; nothing else is.
pub async fn what_has_work_is_claimed(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let owner = scene.owner().await;
    let later = Timestamp::from_millis(NOW.as_millis() + 1);
    let mut work = vec![
        with_mail(&scene, "default").await,
        left_with(&scene, SessionStatus::Running, None).await,
        left_with(&scene, SessionStatus::Running, Some(later)).await,
        left_with(&scene, SessionStatus::Waiting, Some(NOW)).await,
        left_with(&scene, SessionStatus::Resting, Some(Timestamp::from_millis(1))).await,
    ];
    let resting = left_with(&scene, SessionStatus::Resting, None).await;
    scene.accept(post(resting, MailKind::Decide, "approved")).await;
    work.push(resting);
    scene.session().await;
    left_with(&scene, SessionStatus::Idle, None).await;
    left_with(&scene, SessionStatus::Waiting, Some(later)).await;
    left_with(&scene, SessionStatus::Resting, None).await;
    let claims = scene.claim(owner, due()).await;
    work.sort();
    assert_eq!(ids(&claims), work, "a claim must bring what has mail, runs, or is due, and nothing else");
    for claim in claims {
        assert_eq!(claim.entry, scene.entry(claim.entry.id).await, "a claim must show the session as it is");
        assert_eq!(claim.entry.owner, Some(owner), "a claim must name its owner");
    }
    assert_eq!(scene.claim(owner, due()).await, [], "what an owner holds already is not claimed again");
}

/// An input that waits until a turn has ended is no work, however the session became free; other mail is.
pub async fn inputs_behind_a_turn_are_no_work(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut sessions = Vec::new();
    for status in [SessionStatus::Waiting, SessionStatus::Resting] {
        let posted_after = left_with(&scene, status, None).await;
        scene.accept(post(posted_after, MailKind::Submit, "next")).await;
        let mut released = scene.owned().await;
        let mut dead = scene.owned().await;
        for writer in [&mut released, &mut dead] {
            scene.accept(post(writer.session, MailKind::Submit, "next")).await;
            let append = writer.mark(status, None);
            writer.write(&scene.store, append).await;
        }
        let_go(&scene, &released).await;
        sessions.extend([posted_after, released.session, dead.session]);
    }
    scene.outlive_leases().await;
    let owner = scene.owner().await;
    assert_eq!(scene.claim(owner, due()).await, [], "an input behind a turn must not be work");
    for &session in &sessions {
        scene.accept(post(session, MailKind::Decide, "approved")).await;
    }
    sessions.sort();
    assert_eq!(ids(&scene.claim(owner, due()).await), sessions, "a decision must be work");
}

/// Sessions that are named are claimed with or without work, and no others are.
pub async fn what_is_named_is_claimed_without_work(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let owner = scene.owner().await;
    let (idle, busy) = (scene.session().await.id, with_mail(&scene, "default").await);
    with_mail(&scene, "default").await;
    let claims = scene.claim(owner, named([busy, unique(), idle, busy])).await;
    assert_eq!(ids(&claims), [idle, busy], "a claim by name must bring each named session once");
    assert_eq!(scene.claim(owner, named([])).await, [], "a claim that names nothing brings nothing");
}

/// What a living owner holds is left alone, work or not, named or not.
pub async fn the_living_are_left_alone(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut held = scene.owned().await;
    let append = held.mark(SessionStatus::Running, Some(Timestamp::from_millis(1)));
    held.write(&scene.store, append).await;
    scene.accept(post(held.session, MailKind::Submit, "work")).await;
    let other = scene.owner().await;
    assert_eq!(scene.claim(other, due()).await, [], "a session of a living owner must not be claimed");
    let claims = scene.claim(other, named([held.session])).await;
    assert_eq!(claims, [], "a session of a living owner must not be claimed by name either");
    let append = held.append(["still mine"]);
    held.write(&scene.store, append).await;
}

/// An owner that names a session which it holds gets it under a new epoch.
pub async fn an_owner_may_claim_its_own_by_name(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let first = scene.owned().await;
    scene.accept(post(first.session, MailKind::Submit, "work")).await;
    let owner = first.fence.owner;
    assert_eq!(scene.claim(owner, due()).await, [], "its own session is claimed only if it is named");
    let mut again = scene.take(owner, first.session).await;
    assert_eq!(again.fence.epoch, first.fence.epoch.next(), "a claim must take the next epoch");
    let append = again.append(["again"]);
    again.write(&scene.store, append).await;
}

/// What dead owners held and what has work is claimed; their idle sessions are claimed when they are named.
pub async fn the_dead_are_replaced(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let dead = scene.owner().await;
    let mut running = scene.take(dead, scene.session().await.id).await;
    let append = running.mark(SessionStatus::Running, None);
    running.write(&scene.store, append).await;
    let idle = scene.take(dead, scene.session().await.id).await;
    scene.outlive_leases().await;
    let heir = scene.owner().await;
    let claims = scene.claim(heir, due()).await;
    assert_eq!(ids(&claims), [running.session], "what a dead owner held, with work, must be claimed");
    let entry = &claims[0].entry;
    assert_eq!(entry.epoch, running.fence.epoch.next(), "under the next epoch");
    assert_eq!((entry.head, entry.owner), (running.head, Some(heir)), "as it is now");
    let taken = scene.take(heir, idle.session).await;
    assert_eq!(taken.fence.epoch, idle.fence.epoch.next(), "under the next epoch");
}

/// A session goes only to who offers all that it requires.
pub async fn requirements_must_be_offered(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let tool = |name: &str| RequirementId(digest_of(name));
    let mut writer = scene.owned().await;
    let requires = Some(vec![tool("a"), tool("b")]);
    let append = Append { requires, ..writer.mark(SessionStatus::Running, None) };
    writer.write(&scene.store, append).await;
    let_go(&scene, &writer).await;
    let owner = scene.owner().await;
    for lacking in [vec![], vec!["a"], vec!["b", "c"]] {
        let offers: BTreeSet<_> = lacking.iter().map(|name| tool(name)).collect();
        for filter in [due(), named([writer.session])] {
            let claims = scene.claim(owner, ClaimFilter { offers: Some(offers.clone()), ..filter }).await;
            assert_eq!(claims, [], "who offers {lacking:?} must not get what requires a and b");
        }
    }
    for enough in [Some(vec!["a", "b"]), Some(vec!["c", "b", "a"]), None] {
        let offers = enough.as_ref().map(|names| names.iter().map(|name| tool(name)).collect());
        let claims = scene.claim(owner, ClaimFilter { offers, ..due() }).await;
        assert_eq!(ids(&claims), [writer.session], "who offers {enough:?} must get it");
        let released = scene.store.ownership.release(owner, vec![(writer.session, claims[0].entry.epoch)]);
        assert_eq!(released.await, Ok(()), "an owner may let go of what it holds");
    }
    with_mail(&scene, "default").await;
    let claims = scene.claim(owner, ClaimFilter { offers: Some(BTreeSet::new()), ..due() }).await;
    assert_eq!(claims.len(), 1, "what requires nothing goes to anyone");
}

/// A purge needs nothing: who offers nothing gets a session in which one waits, whatever the session requires.
pub async fn a_purge_waits_for_no_requirement(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let requires = Some(vec![RequirementId(digest_of("gone"))]);
    let append = Append { requires, ..writer.mark(SessionStatus::Resting, None) };
    writer.write(&scene.store, append).await;
    let_go(&scene, &writer).await;
    let owner = scene.owner().await;
    let nothing = || Some(BTreeSet::new());
    let posted = scene.store.mailbox.post(post(writer.session, MailKind::Decide, "a decision")).await;
    assert!(posted.is_ok(), "mail must be accepted: {posted:?}");
    for filter in [due(), named([writer.session])] {
        let claims = scene.claim(owner, ClaimFilter { offers: nothing(), ..filter }).await;
        assert_eq!(claims, [], "a decision is for who offers what the session requires");
    }
    let purge = Post { system: true, ..post(writer.session, MailKind::Purge, "") };
    let posted = scene.store.mailbox.post(purge).await;
    assert!(posted.is_ok(), "a purge must be accepted: {posted:?}");
    for filter in [due(), named([writer.session])] {
        let claims = scene.claim(owner, ClaimFilter { offers: nothing(), ..filter }).await;
        assert_eq!(ids(&claims), [writer.session], "a purge needs no tool, and must not wait for one");
        let released = scene.store.ownership.release(owner, vec![(writer.session, claims[0].entry.epoch)]);
        assert_eq!(released.await, Ok(()), "an owner may let go of what it holds");
    }
}

/// A claim for one tenant brings only its sessions.
pub async fn claims_are_filtered_by_tenant(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let owner = scene.owner().await;
    let (one, two) = (with_mail(&scene, "one").await, with_mail(&scene, "two").await);
    let only = |name| Some(tenant(name));
    let claims = scene.claim(owner, ClaimFilter { tenant: only("two"), ..named([one]) }).await;
    assert_eq!(claims, [], "a named session of another tenant must be left");
    let claims = scene.claim(owner, ClaimFilter { tenant: only("two"), ..due() }).await;
    assert_eq!(ids(&claims), [two], "a claim for one tenant must bring its sessions only");
    let claims = scene.claim(owner, ClaimFilter { tenant: only("three"), ..due() }).await;
    assert_eq!(claims, [], "a tenant without sessions has none to claim");
    assert_eq!(ids(&scene.claim(owner, due()).await), [one], "the other tenant's must still be there");
}

/// The limit holds, and repeated claims bring everything.
pub async fn claims_keep_to_their_limit(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let owner = scene.owner().await;
    let mut work = Vec::new();
    for _ in 0..7 {
        work.push(with_mail(&scene, "default").await);
    }
    let mut claimed = Vec::new();
    for _ in 0..4 {
        let claims = scene.claim_at_most(owner, due(), 2).await.expect("an owner with a lease may claim");
        assert!(claims.len() <= 2, "a claim must not bring more than asked");
        claimed.extend(ids(&claims));
    }
    claimed.sort();
    assert_eq!(claimed, work, "repeated claims must bring every session once");
}

/// A tenant with much work does not keep others from getting some.
pub async fn claims_are_spread_over_tenants(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let owner = scene.owner().await;
    for (of_tenant, count) in [("a-large", 12), ("b-small", 1), ("c-small", 1), ("d-large", 12)] {
        for _ in 0..count {
            with_mail(&scene, of_tenant).await;
        }
    }
    let claims = scene.claim_at_most(owner, due(), 4).await.expect("an owner with a lease may claim");
    let served: BTreeSet<_> = claims.iter().map(|claim| claim.entry.tenant.clone()).collect();
    assert_eq!((claims.len(), served.len()), (4, 4), "a claim of four must serve four tenants: {served:?}");
}

/// Who is not enlisted claims nothing.
pub async fn a_stranger_claims_nothing(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let session = with_mail(&scene, "default").await;
    let stranger: OwnerId = unique();
    for filter in [due(), named([session])] {
        let answer = scene.claim_at_most(stranger, filter, 9).await;
        assert_eq!(answer, Err(OwnershipError::NotEnlisted), "who is not enlisted must not claim");
    }
    assert_eq!(scene.entry(session).await.owner, None, "and must get nothing");
}

/// A release counts only for the epoch and the owner that it names.
pub async fn a_stale_release_is_passed_over(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let first = scene.owned().await;
    let owner = first.fence.owner;
    let mut second = scene.take(owner, first.session).await;
    let other = scene.take(owner, scene.session().await.id).await;
    let held = vec![
        (first.session, first.fence.epoch),
        (unique(), first.fence.epoch),
        (other.session, other.fence.epoch),
    ];
    let released = scene.store.ownership.release(owner, held).await;
    assert_eq!(released, Ok(()), "a release must pass over what is not held");
    let append = second.append(["still mine"]);
    second.write(&scene.store, append).await;
    assert_eq!(scene.entry(other.session).await.owner, None, "and let go of what is");
}
