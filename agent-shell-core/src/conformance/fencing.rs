//! Fencing and conflicts: only the owner appends, and only after the head that it knows.

use super::StoreFixture;
use super::scene::{Scene, named, unique};
use super::writer::{elsewhere, rebased, refenced};
use crate::ports::{Append, AppendError, Fence};
use crate::words::{Epoch, Head, Seq};

/// Refuses an append with `Fenced`, naming the session's epoch, and changes nothing.
async fn must_be_fenced(scene: &Scene<'_>, append: Append, actual: Epoch, why: &str) {
    let before = scene.contents(append.session).await;
    let session = append.session;
    let answer = scene.append(append).await;
    assert_eq!(answer, Err(AppendError::Fenced { actual }), "{why} must be fenced");
    assert_eq!(scene.contents(session).await, before, "a fenced append must change nothing");
}

/// A session that nobody claimed has no owner, and takes nothing.
pub async fn a_session_without_an_owner_takes_no_append(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let session = scene.session().await;
    let owner = scene.owner().await;
    let writer = super::Writer::of(&session, owner);
    must_be_fenced(&scene, writer.append(["early"]), Epoch::ZERO, "an append before any claim").await;
}

/// The right epoch does not help another owner.
pub async fn another_owner_is_fenced(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let writer = scene.owned().await;
    let epoch = writer.fence.epoch;
    let owner = scene.owner().await;
    let append = refenced(writer.append(["other"]), Fence { owner, epoch });
    must_be_fenced(&scene, append, epoch, "another owner under the right epoch").await;
}

/// The right owner is fenced under any epoch but the latest.
pub async fn another_epoch_is_fenced(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let first = scene.owned().await;
    let Fence { owner, epoch } = first.fence;
    let mut second = scene.take(owner, first.session).await;
    assert_eq!(second.fence.epoch, epoch.next(), "each claim must take the next epoch");
    must_be_fenced(&scene, first.append(["old"]), epoch.next(), "the owner's own earlier epoch").await;
    let later = Fence { owner, epoch: epoch.next().next() };
    must_be_fenced(&scene, refenced(second.append(["early"]), later), epoch.next(), "a later epoch").await;
    let append = second.append(["now"]);
    second.write(&scene.store, append).await;
}

/// An owner whose lease ran out and whose session was taken can't write any more, whatever it believes.
pub async fn a_stale_writer_is_fenced(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut stale = scene.owned().await;
    let append = stale.append(["while it lived"]);
    stale.write(&scene.store, append).await;
    scene.outlive_leases().await;
    let mut fresh = scene.take(scene.owner().await, stale.session).await;
    let actual = fresh.fence.epoch;
    assert_eq!(actual, stale.fence.epoch.next(), "a claim must take the next epoch");
    must_be_fenced(&scene, stale.append(["late"]), actual, "a stale writer").await;
    let append = fresh.append(["by the new owner"]);
    fresh.write(&scene.store, append).await;
    must_be_fenced(&scene, stale.append(["later"]), actual, "a stale writer with an old head").await;
    let caught_up = rebased(stale.append(["latest"]), fresh.head);
    must_be_fenced(&scene, caught_up, actual, "a stale writer with the right head").await;
}

/// Who let a session go can't write to it.
pub async fn a_released_session_takes_no_append(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let writer = scene.owned().await;
    let Fence { owner, epoch } = writer.fence;
    let released = scene.store.ownership.release(owner, vec![(writer.session, epoch)]).await;
    assert_eq!(released, Ok(()), "a session that is held must be released");
    must_be_fenced(&scene, writer.append(["after"]), epoch, "an append after a release").await;
}

/// Who resigned can't write.
pub async fn an_owner_that_resigned_is_fenced(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let writer = scene.owned().await;
    assert_eq!(scene.store.ownership.resign(writer.fence.owner).await, Ok(()), "an owner may resign");
    must_be_fenced(&scene, writer.append(["after"]), writer.fence.epoch, "who resigned").await;
}

/// A lease that ran out does not fence by itself: as long as nobody claimed the session, its owner is its owner.
pub async fn only_a_claim_fences(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    scene.outlive_leases().await;
    let append = writer.append(["late, but alone"]);
    writer.write(&scene.store, append).await;
}

/// An append after another place than the head is a conflict that names the head.
pub async fn another_place_is_a_conflict(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let append = writer.append(["one", "two"]);
    let between = append.records[0].head();
    writer.write(&scene.store, append).await;
    let before = scene.contents(writer.session).await;
    for expected in [Head::EMPTY, between, elsewhere(Seq::new(3)), elsewhere(Seq::new(900))] {
        let answer = scene.append(rebased(writer.append(["three"]), expected)).await;
        let conflict = AppendError::Conflict { actual: writer.head };
        assert_eq!(answer, Err(conflict), "an append after {expected:?} must be a conflict");
    }
    assert_eq!(scene.contents(writer.session).await, before, "a conflict must change nothing");
}

/// The right place with the hash of another chain is a conflict.
pub async fn another_hash_is_a_conflict(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let foreign = rebased(writer.append(["one"]), elsewhere(Seq::ZERO));
    let answer = scene.append(foreign).await;
    assert_eq!(answer, Err(AppendError::Conflict { actual: Head::EMPTY }), "the empty head has a hash too");
    let append = writer.append(["one"]);
    writer.write(&scene.store, append).await;
    let answer = scene.append(rebased(writer.append(["two"]), elsewhere(writer.head.seq))).await;
    let conflict = AppendError::Conflict { actual: writer.head };
    assert_eq!(answer, Err(conflict), "an append onto another hash must be a conflict");
}

/// Who is fenced is told so, and not that its head is old.
pub async fn the_fence_is_judged_before_the_head(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let stale = scene.owned().await;
    scene.outlive_leases().await;
    let mut fresh = scene.take(scene.owner().await, stale.session).await;
    let append = fresh.append(["moves the head"]);
    fresh.write(&scene.store, append).await;
    for expected in [Head::EMPTY, elsewhere(Seq::new(1)), elsewhere(Seq::new(5))] {
        let append = rebased(stale.append(["late"]), expected);
        must_be_fenced(&scene, append, fresh.fence.epoch, "a stale writer with a wrong head").await;
    }
}

/// Epochs only rise, whoever claims and lets go.
pub async fn every_claim_takes_the_next_epoch(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let session = scene.session().await;
    assert_eq!(session.epoch, Epoch::ZERO, "a new session has had no owner");
    let (one, two) = (scene.owner().await, scene.owner().await);
    for (number, owner) in [one, two, two, one].into_iter().enumerate() {
        let claims = scene.claim(owner, named([session.id])).await;
        let epoch = Epoch::new(number as u64 + 1);
        assert_eq!(claims[0].entry.epoch, epoch, "each claim must take the next epoch");
        assert_eq!(claims[0].entry.owner, Some(owner), "a claim must name the new owner");
        assert_eq!(claims[0].entry, scene.entry(session.id).await, "a claim must show the session as it is");
        let stranger = scene.store.ownership.release(unique(), vec![(session.id, epoch)]).await;
        drop(stranger); // A backend may refuse a stranger, or pass it over.
        assert_eq!(scene.entry(session.id).await.owner, Some(owner), "only the owner may let go");
        let released = scene.store.ownership.release(owner, vec![(session.id, epoch)]).await;
        assert_eq!(released, Ok(()), "an owner may let go");
        let entry = scene.entry(session.id).await;
        assert_eq!((entry.owner, entry.epoch), (None, epoch), "a release must keep the epoch");
    }
}
