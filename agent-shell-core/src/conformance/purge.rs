//! Purges: what is erased, what stays, and that nothing comes after.

use super::StoreFixture;
use super::scene::{ALL, Scene, dedupe, digest_of, ids, named, new_session, post, unique};
use super::writer::{Writer, rechain};
use crate::data::{Lane, MailKind, RequirementId};
use crate::ports::{
    Append, AppendError, Blob, ClaimFilter, Mark, NewSession, Post, PostError, SessionEntry, SessionFilter,
    SessionStatus, Snapshot, StoreError, TurnEntry, TurnMark,
};
use crate::words::{Seq, Timestamp, TurnId};

const PURGED: Mark = Mark { status: SessionStatus::Purged, wake_at: None };

/// A session with everything that a session can have, and what it is known by.
struct Full {
    writer: Writer,
    new: NewSession,
    ended: TurnId,
    running: TurnId,
    waiting: TurnId,
}

impl Full {
    async fn make(scene: &Scene<'_>) -> Self {
        let new = new_session("default");
        scene.open(new.clone()).await;
        let owner = scene.owner().await;
        let mut writer = scene.take(owner, new.id).await;
        let [ended, running, waiting] = [unique(), unique(), unique()];
        let submit = |turn: TurnId, key| Post {
            turn: Some(turn),
            dedupe: Some(dedupe(key, "asked", Some(turn))),
            ..post(new.id, MailKind::Submit, "text")
        };
        scene.accept(submit(waiting, "waits")).await;
        scene.accept(post(new.id, MailKind::Decide, "text")).await;
        scene.accept(post(new.id, MailKind::Signal, "text")).await;
        let mut append = writer.append(["one", "two", "three"]);
        let place = |nth: usize| append.records[nth].header.seq;
        append.turns = vec![
            TurnMark::Started(ended, place(0)),
            TurnMark::Ended(ended, place(1)),
            TurnMark::Started(running, place(2)),
        ];
        append.blobs = vec![Blob { address: digest_of("blob"), sealed: b"text".to_vec() }];
        append.requires = Some(vec![RequirementId(digest_of("tool"))]);
        append.mark = Some(Mark { status: SessionStatus::Waiting, wake_at: Some(Timestamp::from_millis(1)) });
        let head = append.records[2].head();
        append.snapshot = Some(Snapshot { head, fold_version: 1, sealed: b"text".to_vec() });
        writer.write(&scene.store, append).await;
        Self { writer, new, ended, running, waiting }
    }

    fn purge(&self) -> Append {
        let mut append = self.writer.append(["purged"]);
        append.mark = Some(PURGED);
        rechain(&mut append, |_| {});
        append
    }
}

/// A purge leaves records, the entry and the turns, and erases all else of its session, and nothing of another.
pub async fn a_purge_erases_all_but_the_chain(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut full = Full::make(&scene).await;
    let beside = Full::make(&scene).await;
    let untouched = scene.contents(beside.new.id).await;
    let before = scene.records(full.new.id).await;
    let purge = full.purge();
    full.writer.write(&scene.store, purge).await;
    must_be_purged(&scene, &full, before.len()).await;
    assert_eq!(scene.records(full.new.id).await[..before.len()], before, "records must stay as they were");
    assert_eq!(scene.contents(beside.new.id).await, untouched, "another session must stay as it was");
    let blob = scene.store.journal.blob(beside.new.id, digest_of("blob")).await;
    assert!(blob.is_ok(), "another session's blobs must stay");
}

/// What must be seen of a session that was purged after `before` records.
async fn must_be_purged(scene: &Scene<'_>, full: &Full, before: usize) {
    let session = full.new.id;
    let journal = &scene.store.journal;
    let contents = scene.contents(session).await;
    assert_eq!(contents.records.len(), before + 1, "records must stay");
    assert_eq!((contents.input, contents.control, contents.snapshot), (vec![], vec![], None));
    assert_eq!(scene.waiting(session, Lane::Signal).await, [], "mail must be erased");
    let blob = journal.blob(session, digest_of("blob")).await;
    assert!(matches!(blob, Err(StoreError::NotFound { .. })), "a blob must be erased: {blob:?}");
    let used = scene.store.mailbox.dedupe(session, MailKind::Submit, digest_of("waits")).await;
    assert_eq!(used, Ok(None), "a dedupe key must be erased");
    let entry = contents.entry.expect("the entry of a purged session must stay");
    let last = entry.head.seq;
    assert_eq!(last, Seq::new(before as u64 + 1), "the head must be that of the last record");
    assert_eq!(entry.mark, PURGED, "the mark must be set");
    assert_eq!(
        (entry.waiting_mail, entry.requires),
        (0, vec![]),
        "nothing must wait, and nothing be required"
    );
    assert_eq!(entry.sealed, b"", "the sealed name must be erased");
    assert_eq!(entry.name, SessionEntry::purged_name(session), "the digest of the name must be erased");
    let turn = async |turn| journal.turn(turn).await.expect("a store must answer");
    let at = |started: u64, ended| {
        Some(TurnEntry { session, started: Some(Seq::new(started)), ended: Some(ended) })
    };
    assert_eq!(turn(full.ended).await, at(1, Seq::new(2)), "a turn that had ended must stay as it was");
    assert_eq!(turn(full.running).await, at(3, last), "a turn that ran must end with the purge");
    assert_eq!(
        turn(full.waiting).await,
        at(last.number(), last),
        "a turn that waited must end with the purge"
    );
}

/// After a purge the session takes nothing: no append, no mail, no claim; a repeat of the purge is a repeat.
pub async fn a_purged_session_takes_nothing(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut full = Full::make(&scene).await;
    let purge = full.purge();
    full.writer.write(&scene.store, purge.clone()).await;
    let (session, owner) = (full.new.id, full.writer.fence.owner);
    let again = scene.append(purge).await;
    assert_eq!(again.map(|appended| appended.head), Ok(full.writer.head), "a repeat must be recognised");
    let late = scene.append(full.writer.append(["late"])).await;
    assert_eq!(late, Err(AppendError::Purged), "a purged session must take no append");
    for kind in [MailKind::Submit, MailKind::Decide, MailKind::Signal] {
        let answer = scene.store.mailbox.post(post(session, kind, "late")).await;
        assert_eq!(answer, Err(PostError::Purged), "a purged session must take no mail");
    }
    assert_eq!(scene.store.mailbox.awaiting(owner, None, ALL).await, Ok(vec![]), "nothing waits in it");
    let held = vec![(session, full.writer.fence.epoch)];
    scene.store.ownership.release(owner, held).await.expect("a purged session may be let go");
    let other = scene.owner().await;
    let due = ClaimFilter { due_by: Timestamp::from_millis(u64::MAX), ..ClaimFilter::default() };
    for filter in [named([session]), due] {
        assert_eq!(ids(&scene.claim(other, filter).await), [session; 0], "it must not be claimed");
    }
    let mut sender = scene.owned().await;
    let mail = Post { system: true, ..post(session, MailKind::Decide, "late") };
    let append = Append { post_mail: vec![mail], ..sender.append(["says more"]) };
    sender.write(&scene.store, append).await;
    assert_eq!(scene.entry(session).await.waiting_mail, 0, "mail of another session must be passed over");
}

/// A purged session is found by its id and its key, and its name is free.
pub async fn a_purged_sessions_name_is_free(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut full = Full::make(&scene).await;
    let purge = full.purge();
    full.writer.write(&scene.store, purge).await;
    let (id, key, name) = (full.new.id, full.new.key, full.new.name);
    let listed = async |filter| {
        let page = scene.store.journal.sessions(filter, None, ALL).await;
        page.expect("a store must list its sessions").iter().map(|entry| entry.id).collect::<Vec<_>>()
    };
    let by_key = || SessionFilter { key: Some(key), ..SessionFilter::default() };
    let by_name = || SessionFilter { name: Some(name), ..SessionFilter::default() };
    assert_eq!(listed(by_key()).await, [id], "a purged session must be found by its key");
    assert_eq!(listed(by_name()).await, [id; 0], "and not by its name");
    let status = SessionFilter { status: Some(SessionStatus::Purged), ..SessionFilter::default() };
    assert_eq!(listed(status).await, [id], "and by its status");
    let next = scene.open(NewSession { name, ..new_session("default") }).await;
    assert_ne!(next.id, id, "the name must be free for another session");
    assert_eq!(listed(by_name()).await, [next.id], "which is found by it");
    assert_eq!(listed(by_key()).await, [id], "a session must be found by its own key alone");
    let stranger = SessionFilter { key: Some(new_session("default").key), ..SessionFilter::default() };
    assert_eq!(listed(stranger).await, [id; 0], "an unknown key has no sessions");
}

/// A purge outlives a reopening.
pub async fn a_purge_outlives_a_reopening(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut full = Full::make(&scene).await;
    let before = scene.records(full.new.id).await.len();
    let purge = full.purge();
    full.writer.write(&scene.store, purge).await;
    let scene = scene.reopened().await;
    must_be_purged(&scene, &full, before).await;
    let late = scene.store.mailbox.post(post(full.new.id, MailKind::Submit, "late")).await;
    assert_eq!(late, Err(PostError::Purged), "a purged session must take no mail after a reopening");
}
