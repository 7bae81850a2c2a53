//! Reading: records in pages, blobs, snapshots, turns and actors.

use super::StoreFixture;
use super::scene::{ALL, Scene, digest_of, post, tenant, unique};
use crate::data::{KeyId, MailKind};
use crate::ports::{Append, Blob, NamedActor, Post, Snapshot, StoreError, TurnEntry, TurnMark};
use crate::words::{Digest, Head, Pseudonym, Seq};

/// Pages are in order, no longer than asked, and not empty before the end.
pub async fn records_are_read_in_pages(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    for _ in 0..5 {
        let append = writer.append(["a", "b"]);
        writer.write(&scene.store, append).await;
    }
    for limit in [1, 3, 10, 50] {
        let mut after = Seq::ZERO;
        while after < Seq::new(10) {
            let page = scene.store.journal.read(writer.session, after, limit).await;
            let page = page.expect("a journal must answer");
            assert!(!page.is_empty(), "a page must hold at least one record if there is any after {after}");
            assert!(page.len() <= limit, "a page must not be longer than asked");
            for record in page {
                assert_eq!(
                    record.header.seq,
                    after.next(),
                    "a page must go on after the place that was asked"
                );
                after = after.next();
            }
        }
    }
    for after in [10, 11, u64::MAX >> 1] {
        let page = scene.store.journal.read(writer.session, Seq::new(after), ALL).await;
        assert_eq!(page, Ok(Vec::new()), "nothing stands after the head");
    }
}

/// What is not there is said to be absent.
pub async fn the_unknown_is_absent(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let journal = &scene.store.journal;
    let session = unique();
    assert_eq!(journal.session(session).await, Ok(None), "an unknown session must be absent");
    assert_eq!(journal.read(session, Seq::ZERO, 9).await, Ok(Vec::new()), "it has no records");
    assert_eq!(journal.snapshot(session).await, Ok(None), "it has no snapshot");
    assert_eq!(journal.turn(unique()).await, Ok(None), "an unknown turn must be absent");
    let actor = journal.actor(&tenant("default"), Pseudonym::from_bytes([9; 16])).await;
    assert_eq!(actor, Ok(None), "an unknown actor must be absent");
    for session in [session, scene.session().await.id] {
        let blob = journal.blob(session, digest_of("no blob")).await;
        assert!(matches!(blob, Err(StoreError::NotFound { .. })), "an unknown blob is NotFound: {blob:?}");
    }
}

/// A blob belongs to its session, and one that exists is left as it is.
pub async fn blobs_are_kept_by_session_and_address(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut one = scene.owned().await;
    let mut two = scene.owned().await;
    let address = digest_of("address");
    let blob = |sealed: &[u8]| Blob { address, sealed: sealed.to_vec() };
    let empty = Blob { address: digest_of("empty"), sealed: Vec::new() };
    let append = Append { blobs: vec![blob(b"\0first"), empty.clone()], ..one.append(["1"]) };
    one.write(&scene.store, append).await;
    let stranger = scene.store.journal.blob(two.session, address).await;
    assert!(
        matches!(stranger, Err(StoreError::NotFound { .. })),
        "a blob belongs to one session: {stranger:?}"
    );
    let append = Append { blobs: vec![blob(b"another session's")], ..two.append(["1"]) };
    two.write(&scene.store, append).await;
    let append = Append { blobs: vec![blob(b"second")], ..one.append(["2"]) };
    one.write(&scene.store, append).await;
    for (session, address, expected) in [
        (one.session, address, &b"\0first"[..]),
        (one.session, empty.address, b""),
        (two.session, address, b"another session's"),
    ] {
        let kept = scene.store.journal.blob(session, address).await;
        assert_eq!(kept, Ok(expected.to_vec()), "a blob that exists must be left as it is");
    }
}

/// A session has one snapshot, the latest.
pub async fn a_snapshot_replaces_the_one_before(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let mut other = scene.owned().await;
    let kept = |session| scene.store.journal.snapshot(session);
    assert_eq!(kept(writer.session).await, Ok(None), "a new session has no snapshot");
    for (version, text) in [(1, "one"), (4, "two, longer than one"), (2, "")] {
        let append = writer.append(["folded"]);
        let head = append.records[0].head();
        let snapshot = Snapshot { head, fold_version: version, sealed: text.into() };
        writer.write(&scene.store, Append { snapshot: Some(snapshot.clone()), ..append }).await;
        assert_eq!(
            kept(writer.session).await,
            Ok(Some(snapshot.clone())),
            "the latest snapshot must be kept"
        );
        let append = writer.append(["not folded"]);
        writer.write(&scene.store, append).await;
        assert_eq!(kept(writer.session).await, Ok(Some(snapshot)), "an append without one must leave it");
    }
    let append = other.append(["elsewhere"]);
    other.write(&scene.store, append).await;
    assert_eq!(kept(other.session).await, Ok(None), "a snapshot belongs to one session");
    assert_eq!(scene.records(writer.session).await.len(), 6, "a snapshot must not remove records");
}

/// A turn is found from its first append on, and its end from its last.
pub async fn turns_are_found_from_start_to_end(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let (one, two) = (unique(), unique());
    let entry = |started, ended: Option<u64>| {
        Ok(Some(TurnEntry {
            session: writer.session,
            started: Some(Seq::new(started)),
            ended: ended.map(Seq::new),
        }))
    };
    let steps = [
        (vec![TurnMark::Started(one, Seq::new(1))], [entry(1, None), Ok(None)]),
        (vec![], [entry(1, None), Ok(None)]),
        (
            vec![TurnMark::Ended(one, Seq::new(3)), TurnMark::Started(two, Seq::new(3))],
            [entry(1, Some(3)), entry(3, None)],
        ),
        (vec![TurnMark::Ended(two, Seq::new(4))], [entry(1, Some(3)), entry(3, Some(4))]),
    ];
    for (turns, expected) in steps {
        let append = Append { turns, ..writer.append(["turns"]) };
        writer.write(&scene.store, append).await;
        let found = [scene.store.journal.turn(one).await, scene.store.journal.turn(two).await];
        assert_eq!(found, expected, "turns must be found where their records stand");
    }
}

/// The name behind a pseudonym is kept once for each tenant, whether it came with an append or with mail.
pub async fn actors_are_kept_by_tenant(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let actor = Pseudonym::from_bytes(*b"somebody's name.");
    let named = |sealed: &str| NamedActor { actor, key: KeyId(digest_of(sealed)), sealed: sealed.into() };
    let mut writer = scene.owned().await;
    let append = Append { actors: vec![named("first")], ..writer.append(["1"]) };
    writer.write(&scene.store, append).await;
    let append = Append { actors: vec![named("second")], ..writer.append(["2"]) };
    writer.write(&scene.store, append).await;
    let mail = post(writer.session, MailKind::Submit, "hello");
    scene.accept(Post { named_actor: Some(named("third")), ..mail }).await;
    let elsewhere = scene.session_of("elsewhere").await.id;
    let journal = &scene.store.journal;
    let kept = journal.actor(&tenant("default"), actor).await;
    assert_eq!(kept, Ok(Some(named("first"))), "the first name of an actor must be kept");
    let kept = journal.actor(&tenant("elsewhere"), actor).await;
    assert_eq!(kept, Ok(None), "an actor's name belongs to one tenant");
    let mail = post(elsewhere, MailKind::Submit, "hello");
    scene.accept(Post { named_actor: Some(named("by mail")), ..mail }).await;
    let kept = journal.actor(&tenant("elsewhere"), actor).await;
    assert_eq!(kept, Ok(Some(named("by mail"))), "mail must bring its actor's name");
}

/// Session heads of different sessions do not mix.
pub async fn sessions_have_chains_of_their_own(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writers = [scene.owned().await, scene.owned().await, scene.owned().await];
    for round in 0..3 {
        for (index, writer) in writers.iter_mut().enumerate().skip(round) {
            let append = writer.append([format!("session {index}, round {round}")]);
            writer.write(&scene.store, append).await;
        }
    }
    for (index, writer) in writers.iter().enumerate() {
        let records = scene.records(writer.session).await;
        assert_eq!(records.len(), index + 1, "a session must hold its own records, and no others");
        let head: Head = scene.entry(writer.session).await.head;
        assert_eq!(head, writer.head, "a session must have a head of its own");
        assert_ne!(head.hash, Digest::ZERO, "a head must be a hash");
    }
}
