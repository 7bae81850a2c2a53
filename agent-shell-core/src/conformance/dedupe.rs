//! Dedupe keys: the first use of a key counts, for the life of the session.

use super::StoreFixture;
use super::scene::{Scene, dedupe, digest_of, post, texts, unique};
use crate::data::{Lane, MailKind};
use crate::ports::{Append, AppendError, Dedupe, Post, PostError, Posted};
use crate::words::{SessionId, TurnId};

/// A submit under a key.
fn keyed(session: SessionId, key: &str, asked: &str, turn: TurnId) -> Post {
    Post { dedupe: Some(dedupe(key, asked, Some(turn))), ..post(session, MailKind::Submit, asked) }
}

/// The same key with the same input is answered with the first one's turn, and not kept.
pub async fn a_repeat_gets_the_first_turn(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let session = scene.session().await.id;
    let first: TurnId = unique();
    scene.accept(keyed(session, "key", "refund", first)).await;
    for _ in 0..2 {
        let answer = scene.store.mailbox.post(keyed(session, "key", "refund", unique())).await;
        assert_eq!(answer, Ok(Posted::Duplicate(Some(first))), "a repeat must get the first one's turn");
    }
    assert_eq!(scene.entry(session).await.waiting_mail, 1, "a repeat must not be kept");
    let no_turn = || Post { dedupe: Some(dedupe("n", "x", None)), ..post(session, MailKind::Signal, "x") };
    scene.accept(no_turn()).await;
    let answer = scene.store.mailbox.post(no_turn()).await;
    assert_eq!(answer, Ok(Posted::Duplicate(None)), "a repeat of mail without a turn has none");
}

/// The same key with another input is refused, and not kept.
pub async fn a_used_key_with_another_input_is_a_mismatch(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let session = scene.session().await.id;
    let first: TurnId = unique();
    scene.accept(keyed(session, "key", "refund", first)).await;
    let answer = scene.store.mailbox.post(keyed(session, "key", "another", first)).await;
    assert_eq!(answer, Err(PostError::Mismatch), "a used key with another input must be refused");
    let answer = scene.store.mailbox.post(keyed(session, "key", "refund", unique())).await;
    assert_eq!(answer, Ok(Posted::Duplicate(Some(first))), "a mismatch must leave the first use as it was");
    assert_eq!(texts(&scene.waiting(session, Lane::Input).await), ["refund"], "a mismatch must not be kept");
}

/// A key is unique within its session and kind only; mail without a key is never a repeat.
pub async fn keys_are_apart_by_session_and_kind(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let (one, two) = (scene.session().await.id, scene.session().await.id);
    let used = Some(dedupe("key", "one thing", None));
    for (session, kind, dedupe) in [
        (one, MailKind::Signal, used),
        (one, MailKind::Decide, used),
        (two, MailKind::Signal, Some(dedupe("key", "another thing", None))),
        (one, MailKind::Signal, None),
        (one, MailKind::Signal, None),
        (one, MailKind::Signal, Some(dedupe("another key", "one thing", None))),
    ] {
        scene.accept(Post { dedupe, ..post(session, kind, "mail") }).await;
    }
    assert_eq!(scene.entry(one).await.waiting_mail, 5, "different keys, kinds and sessions must not collide");
}

/// A key stays used when its mail was consumed, whatever came since.
pub async fn a_key_stays_used_after_consumption(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let session = writer.session;
    let first: TurnId = unique();
    let original = keyed(session, "key", "refund", first);
    let mail = scene.accept(original.clone()).await;
    let append = Append { consume_mail: vec![mail], ..writer.append(["read"]) };
    writer.write(&scene.store, append).await;
    for again in [original, keyed(session, "key", "refund", unique())] {
        let answer = scene.store.mailbox.post(again).await;
        assert_eq!(
            answer,
            Ok(Posted::Duplicate(Some(first))),
            "a key must stay used after its mail was read"
        );
    }
    let answer = scene.store.mailbox.post(keyed(session, "key", "another", first)).await;
    assert_eq!(answer, Err(PostError::Mismatch), "and another input must still be refused");
    assert_eq!(scene.entry(session).await.waiting_mail, 0, "a repeat must not be kept");
}

/// A repeat needs no room: it is recognised in a full mailbox too.
pub async fn a_repeat_is_answered_in_a_full_mailbox(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let session = scene.session().await.id;
    let first: TurnId = unique();
    let full = |post: Post| Post { quota: 1, ..post };
    scene.accept(full(keyed(session, "key", "refund", first))).await;
    let answer = scene.store.mailbox.post(full(keyed(session, "key", "refund", unique()))).await;
    assert_eq!(answer, Ok(Posted::Duplicate(Some(first))), "a repeat must be recognised before the quota");
    let answer = scene.store.mailbox.post(full(keyed(session, "key", "another", first))).await;
    assert_eq!(answer, Err(PostError::Mismatch), "and so must a mismatch");
    let refused = full(keyed(session, "new key", "refund", first));
    let answer = scene.store.mailbox.post(refused.clone()).await;
    assert_eq!(answer, Err(PostError::Overloaded { waiting: 1 }), "new mail must be refused");
    let used = scene.store.mailbox.dedupe(session, MailKind::Submit, digest_of("new key")).await;
    assert_eq!(used, Ok(None), "mail that is refused must not use up its key");
    scene.accept(Post { quota: 2, ..refused }).await;
}

/// Whoever asks for a key's first use is told.
pub async fn the_first_use_of_a_key_can_be_asked_for(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let session = scene.session().await.id;
    let first: Dedupe = dedupe("key", "refund", Some(unique()));
    scene.accept(Post { dedupe: Some(first), ..post(session, MailKind::Submit, "refund") }).await;
    let again = Dedupe { turn: Some(unique()), ..first };
    let answer =
        scene.store.mailbox.post(Post { dedupe: Some(again), ..post(session, MailKind::Submit, "x") });
    assert_eq!(answer.await, Ok(Posted::Duplicate(first.turn)), "a repeat must get the first turn");
    let mailbox = &scene.store.mailbox;
    let asked = mailbox.dedupe(session, MailKind::Submit, first.key).await;
    assert_eq!(asked, Ok(Some(first)), "the first use of a key must be told");
    for (session, kind, key) in [
        (scene.session().await.id, MailKind::Submit, first.key),
        (session, MailKind::Signal, first.key),
        (session, MailKind::Submit, digest_of("unused")),
        (unique(), MailKind::Submit, first.key),
    ] {
        assert_eq!(mailbox.dedupe(session, kind, key).await, Ok(None), "an unused key must be unknown");
    }
}

/// Mail that an append posts is deduplicated as well: a repeat is passed over, a mismatch refuses the append.
pub async fn an_appends_mail_is_deduplicated(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let target = scene.session().await.id;
    let mail = |asked| {
        let dedupe = Some(dedupe("child", asked, None));
        Post { dedupe, system: true, ..post(target, MailKind::Signal, asked) }
    };
    for body in ["first", "again"] {
        let append = Append { post_mail: vec![mail("done"), mail("done")], ..writer.append([body]) };
        writer.write(&scene.store, append).await;
    }
    assert_eq!(scene.entry(target).await.waiting_mail, 1, "a repeat in an append must be passed over");
    let append = Append { post_mail: vec![mail("failed")], ..writer.append(["mismatch"]) };
    let answer = scene.append(append).await;
    let corrupt = matches!(answer, Err(AppendError::Corrupt { .. }));
    assert!(corrupt, "an append whose mail has a used key must be Corrupt, not {answer:?}");
    assert_eq!(scene.entry(writer.session).await.head, writer.head, "and must leave nothing");
}
