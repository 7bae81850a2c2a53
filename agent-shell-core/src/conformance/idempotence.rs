//! Idempotence: an append that was committed answers as it did, whatever has happened since.

use super::StoreFixture;
use super::append::Whole;
use super::scene::{Scene, unique};
use super::writer::{rechain, refenced};
use crate::ports::{Append, AppendError, Appended};

/// A repeat of an append changes nothing and answers the same.
pub async fn an_append_is_idempotent_by_id(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let whole = Whole::prepare(&scene, &writer).await;
    let first = writer.write(&scene.store, whole.append.clone()).await;
    let before =
        (scene.contents(writer.session).await, scene.contents(whole.other).await, scene.pending().await);
    for _ in 0..2 {
        let again = scene.append(whole.append.clone()).await;
        assert_eq!(again, Ok(first), "a repeated append must answer what it answered");
    }
    let after =
        (scene.contents(writer.session).await, scene.contents(whole.other).await, scene.pending().await);
    assert_eq!(after, before, "a repeated append must change nothing");
    whole.must_be_present(&scene).await;
}

/// A repeat that comes after later appends of the same owner answers with its own head.
pub async fn a_repeat_is_recognised_after_later_appends(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let mut committed = Vec::new();
    for count in [2, 1, 3] {
        let append = writer.append(vec!["body"; count]);
        let appended = writer.write(&scene.store, append.clone()).await;
        committed.push((append, appended));
    }
    for (append, appended) in committed {
        let again = scene.append(append).await;
        assert_eq!(again, Ok(appended), "a repeat must answer with the head that its append reached");
    }
    assert_eq!(scene.records(writer.session).await.len(), 6, "a repeat must append nothing");
}

/// The id is looked up before the fence: a repeat by an owner that lost the session learns that it was committed.
pub async fn a_repeat_is_recognised_before_the_fence(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut stale = scene.owned().await;
    let append = stale.append(["one", "two"]);
    let head = stale.write(&scene.store, append.clone()).await.head;
    scene.outlive_leases().await;
    let mut fresh = scene.take(scene.owner().await, stale.session).await;
    let lost = Ok(Appended { head, still_owner: false });
    assert_eq!(
        scene.append(append.clone()).await,
        lost,
        "a repeat after a claim must answer, and say it is lost"
    );
    let further = fresh.append(["three"]);
    fresh.write(&scene.store, further).await;
    assert_eq!(scene.append(append.clone()).await, lost, "a repeat after another owner's append must answer");
    let released = scene.store.ownership.release(fresh.fence.owner, vec![(fresh.session, fresh.fence.epoch)]);
    assert_eq!(released.await, Ok(()), "an owner may let go");
    assert_eq!(scene.append(append).await, lost, "a repeat after a release must answer");
    assert_eq!(scene.records(stale.session).await.len(), 3, "a repeat must append nothing");
}

/// Whoever repeats a committed append under a fence that holds is told that it still owns the session.
pub async fn a_repeat_tells_whether_the_caller_owns_the_session(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let append = writer.append(["one"]);
    let head = writer.write(&scene.store, append.clone()).await.head;
    let renewed = scene.take(writer.fence.owner, writer.session).await;
    let answer = scene.append(append.clone()).await;
    let lost = Appended { head, still_owner: false };
    assert_eq!(answer, Ok(lost), "an owner under a later epoch does not hold the earlier one");
    let answer = scene.append(refenced(append, renewed.fence)).await;
    assert_eq!(answer, Ok(Appended { head, still_owner: true }), "the current fence holds");
}

/// The id decides, not the content: what was committed first stays.
pub async fn a_committed_id_wins_over_other_content(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let append = writer.append(["first content"]);
    let mut other = Append { id: append.id, ..writer.append(["other", "content"]) };
    rechain(&mut other, |_| {});
    other.outbox = writer.envelopes(1).outbox;
    let first = writer.write(&scene.store, append.clone()).await;
    assert_eq!(scene.append(other).await, Ok(first), "a committed id must answer what it answered");
    assert_eq!(scene.records(writer.session).await, append.records, "the first content must stay");
    assert_eq!(scene.pending().await, [], "nothing of the second content may be kept");
}

/// Another id at a place that is taken is a conflict, not a repeat.
pub async fn another_id_is_not_a_repeat(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let append = writer.append(["one"]);
    let mut twin = Append { id: unique(), ..append.clone() };
    rechain(&mut twin, |_| {});
    writer.write(&scene.store, append).await;
    let answer = scene.append(twin).await;
    let conflict = AppendError::Conflict { actual: writer.head };
    assert_eq!(answer, Err(conflict), "the same content under another id must be a conflict");
}

/// A refusal is not remembered: the same id may be committed later.
pub async fn a_refused_id_may_be_committed_later(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let append = writer.append(["one"]);
    let spoilt = Append { records: Vec::new(), ..append.clone() };
    let answer = scene.append(spoilt).await;
    assert!(matches!(answer, Err(AppendError::Corrupt { .. })), "an append must have records: {answer:?}");
    writer.write(&scene.store, append).await;
}
