//! Durability: what a store answered outlives its closing.

use super::StoreFixture;
use super::append::Whole;
use super::scene::{ALL, Scene, dedupe, new_session, post, texts, unique};
use super::writer::rebased;
use crate::data::{Lane, MailKind};
use crate::ports::{Append, AppendError, Appended, OutboxPosition, Post, PostError, Posted, SessionFilter};
use crate::words::{Head, MailId, Timestamp, TurnId};

/// A session with all that an append can bring is there again, exactly.
pub async fn everything_outlives_a_reopening(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let whole = Whole::prepare(&scene, &writer).await;
    writer.write(&scene.store, whole.append.clone()).await;
    let mut ids: Vec<MailId> = vec![unique(), unique(), unique()];
    ids.reverse();
    for &id in &ids {
        scene.accept(Post { id, ..post(writer.session, MailKind::Submit, "waits") }).await;
    }
    let mut before = scene.contents(writer.session).await;
    let scene = scene.reopened().await;
    whole.must_be_present(&scene).await;
    let mut after = scene.contents(writer.session).await;
    // Who owns a session may be known to be dead after a reopening.
    for contents in [&mut before, &mut after] {
        contents.entry.as_mut().expect("the session is registered").owner = None;
    }
    assert_eq!(after, before, "a session must be the same after a reopening");
    let read: Vec<_> = after.input.iter().map(|item| item.id).collect();
    assert_eq!(read, ids, "mail must keep its order");
}

/// A registered session keeps its name, and its id.
pub async fn a_registration_outlives_a_reopening(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let new = new_session("default");
    let entry = scene.open(new.clone()).await;
    let scene = scene.reopened().await;
    let again = scene.open(crate::ports::NewSession { id: unique(), ..new }).await;
    assert_eq!(again, entry, "a name must find its session after a reopening");
    let listed = scene.store.journal.sessions(SessionFilter::default(), None, ALL).await;
    assert_eq!(listed, Ok(vec![entry]), "a session must be listed after a reopening");
}

/// Epochs go on where they were, and the writers of before are fenced.
pub async fn epochs_outlive_a_reopening(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut stale = scene.owned().await;
    let append = stale.append(["before"]);
    stale.write(&scene.store, append).await;
    let scene = scene.reopened().await;
    let mut fresh = scene.take(scene.owner().await, stale.session).await;
    assert_eq!(fresh.fence.epoch, stale.fence.epoch.next(), "a claim must take the next epoch");
    assert_eq!(fresh.head, stale.head, "the head must be where it was");
    let fenced = AppendError::Fenced { actual: fresh.fence.epoch };
    assert_eq!(scene.append(stale.append(["late"])).await, Err(fenced), "a writer of before must be fenced");
    let append = fresh.append(["after"]);
    fresh.write(&scene.store, append).await;
    let behind = scene.append(rebased(fresh.append(["x"]), Head::EMPTY)).await;
    assert_eq!(behind, Err(AppendError::Conflict { actual: fresh.head }), "conflicts must be seen");
}

/// An append whose answer was lost with the process is recognised when it is repeated.
pub async fn a_repeat_is_recognised_after_a_reopening(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let whole = Whole::prepare(&scene, &writer).await;
    let head = writer.write(&scene.store, whole.append.clone()).await.head;
    let scene = scene.reopened().await;
    let again = scene.append(whole.append.clone()).await;
    assert_eq!(
        again.map(|appended| appended.head),
        Ok(head),
        "a repeat must get its result after a reopening"
    );
    scene.take(scene.owner().await, writer.session).await;
    let again = scene.append(whole.append.clone()).await;
    assert_eq!(again, Ok(Appended { head, still_owner: false }), "also when another owner has come");
    whole.must_be_present(&scene).await;
}

/// Mail that was consumed stays consumed, its key stays used, and quotas count what still waits.
pub async fn mail_outlives_a_reopening(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let session = writer.session;
    let turn: TurnId = unique();
    let keyed = |asked| {
        let dedupe = Some(dedupe("key", asked, Some(turn)));
        Post { dedupe, ..post(session, MailKind::Submit, asked) }
    };
    let consumed = scene.accept(keyed("refund")).await;
    let waiting = post(session, MailKind::Submit, "waits");
    scene.accept(waiting.clone()).await;
    let append = Append { consume_mail: vec![consumed], ..writer.append(["read"]) };
    writer.write(&scene.store, append).await;
    let scene = scene.reopened().await;
    let mailbox = &scene.store.mailbox;
    assert_eq!(
        texts(&scene.waiting(session, Lane::Input).await),
        ["waits"],
        "consumed mail must stay consumed"
    );
    let again = mailbox.post(keyed("refund")).await;
    assert_eq!(again, Ok(Posted::Duplicate(Some(turn))), "a used key must stay used");
    assert_eq!(mailbox.post(keyed("another")).await, Err(PostError::Mismatch), "with what it was used for");
    assert_eq!(
        mailbox.post(waiting).await,
        Ok(Posted::Accepted),
        "waiting mail must be recognised by its id"
    );
    let full = mailbox.post(Post { quota: 1, ..post(session, MailKind::Submit, "more") }).await;
    assert_eq!(full, Err(PostError::Overloaded { waiting: 1 }), "the quota must count what waits");
    assert_eq!(scene.entry(session).await.waiting_mail, 1, "and so must the entry");
}

/// Rows, positions, sequences and acknowledgements go on where they were.
pub async fn the_outbox_outlives_a_reopening(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let append = writer.envelopes(4);
    writer.write(&scene.store, append).await;
    let all = scene.pending().await;
    assert_eq!(scene.store.outbox.acknowledge(all[1].position).await, Ok(()), "rows may be acknowledged");
    let mut scene = scene.reopened().await;
    assert_eq!(scene.pending().await, all[2..], "acknowledgements must outlive a reopening");
    let replayed = scene.store.outbox.replay(writer.session, 1, ALL).await;
    assert_eq!(replayed.as_ref(), Ok(&all), "rows must outlive a reopening");
    assert_eq!(scene.store.outbox.acknowledge(all[3].position).await, Ok(()), "rows may be acknowledged");
    let trimmed = scene.store.outbox.trim(Timestamp::from_millis(u64::MAX >> 12)).await;
    assert_eq!(trimmed, Ok(4), "all rows are old");
    scene = scene.reopened().await;
    let mut fresh = scene.take(scene.owner().await, writer.session).await;
    fresh.sequence = 4;
    let append = fresh.envelopes(1);
    fresh.write(&scene.store, append).await;
    let pending =
        scene.store.outbox.pending(OutboxPosition::default(), ALL).await.expect("an outbox must answer");
    assert_eq!(pending.len(), 1, "a new row must be pending");
    assert!(pending[0].position > all[3].position, "a position must not be used again after a reopening");
}

/// A refused append leaves nothing for later either.
pub async fn a_refusal_leaves_nothing_after_a_reopening(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let writer = scene.owned().await;
    let whole = Whole::prepare(&scene, &writer).await;
    let mut damaged = whole.append.clone();
    damaged.records.remove(0);
    assert!(scene.append(damaged).await.is_err(), "an append with a gap must be refused");
    let scene = scene.reopened().await;
    whole.must_be_absent(&scene).await;
    assert_eq!(scene.entry(writer.session).await.head, Head::EMPTY, "the head must be where it was");
}
