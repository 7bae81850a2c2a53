//! The archive: what leaves, what stays, what comes back, and what is refused meanwhile.

use std::sync::Arc;

use super::StoreFixture;
use super::ledger_scene::{Spender, account, money, stands};
use super::scene::{ALL, Contents, Scene, dedupe, digest_of, ids, named, new_session, post, unique};
use super::writer::Writer;
use crate::data::{Account, AccountKind, Ceiling, MailKind, Record, RequirementId};
use crate::ports::{
    Append, AppendError, ArchiveError, Archived, Blob, Busy, ClaimFilter, Mark, NewSession, Post, PostError,
    Posted, Restore, SessionEntry, SessionStatus, Snapshot, StoreError, TurnEntry, TurnMark,
};
use crate::words::{Head, Seq, SessionId, Timestamp, TurnId};

/// A session that is finished and that nobody holds, with everything that such a session can have.
struct Finished {
    writer: Writer,
    new: NewSession,
    turn: TurnId,
    blobs: Vec<Blob>,
    requires: Vec<RequirementId>,
}

impl Finished {
    async fn make(scene: &Scene<'_>) -> Self {
        let new = new_session("default");
        scene.open(new.clone()).await;
        let owner = scene.owner().await;
        let mut writer = scene.take(owner, new.id).await;
        let turn: TurnId = unique();
        let asked = Some(dedupe("key", "asked", Some(turn)));
        let mail = scene
            .accept(Post { turn: Some(turn), dedupe: asked, ..post(new.id, MailKind::Submit, "text") })
            .await;
        let mut append = writer.append(["one", "two", "three"]);
        let place = |nth: usize| append.records[nth].header.seq;
        append.turns = vec![TurnMark::Started(turn, place(0)), TurnMark::Ended(turn, place(1))];
        append.consume_mail = vec![mail];
        let blob = |name: &str| Blob { address: digest_of(name), sealed: name.into() };
        let mut blobs = vec![blob("one"), blob("two"), blob("three")];
        append.blobs = blobs.clone();
        blobs.sort_by_key(|blob| blob.address);
        let requires = vec![RequirementId(digest_of("tool"))];
        append.requires = Some(requires.clone());
        append.mark = Some(Mark::default());
        let head = append.records[2].head();
        append.snapshot = Some(Snapshot { head, fold_version: 1, sealed: b"text".to_vec() });
        writer.write(&scene.store, append).await;
        let finished = Self { writer, new, turn, blobs, requires };
        finished.let_go(scene).await;
        finished
    }

    async fn let_go(&self, scene: &Scene<'_>) {
        let held = vec![(self.new.id, self.writer.fence.epoch)];
        let released = scene.store.ownership.release(self.writer.fence.owner, held).await;
        released.expect("an owner must be able to let go");
    }

    fn head(&self) -> Head {
        self.writer.head
    }

    fn archived(&self) -> Archived {
        archived(self.head())
    }

    async fn archive(&self, scene: &Scene<'_>) {
        let left = scene.store.archive.archive(self.new.id, self.head(), self.archived()).await;
        assert_eq!(left, Ok(()), "a finished session must leave");
    }

    fn restore(&self, records: Vec<Record>) -> Restore {
        let (session, archived) = (self.new.id, self.archived());
        Restore { session, archived, records, blobs: self.blobs.clone(), requires: self.requires.clone() }
    }
}

fn archived(head: Head) -> Archived {
    Archived { head, at: Timestamp::from_millis(1_700_000_000_777), file: digest_of("the file") }
}

async fn blobs(scene: &Scene<'_>, session: SessionId) -> Vec<Blob> {
    let blobs = scene.store.archive.blobs(session, None, ALL).await;
    blobs.expect("a store must list blobs")
}

/// What must be seen of a session that left.
async fn must_have_left(scene: &Scene<'_>, finished: &Finished, before: &SessionEntry) {
    let session = finished.new.id;
    let journal = &scene.store.journal;
    let Contents { entry, records, snapshot, .. } = scene.contents(session).await;
    assert_eq!((records, snapshot), (vec![], None), "records and snapshot must have left");
    let blob = journal.blob(session, digest_of("one")).await;
    assert!(matches!(blob, Err(StoreError::NotFound { .. })), "blobs must have left: {blob:?}");
    assert_eq!(blobs(scene, session).await, [], "and none must be listed");
    let stub = SessionEntry {
        mark: Mark { status: SessionStatus::Archived, wake_at: None },
        requires: Vec::new(),
        owner: None,
        archived: Some(finished.archived()),
        ..before.clone()
    };
    assert_eq!(entry, Some(stub), "the stub must say what left, and be else as it was");
    let (started, ended) = (Some(Seq::new(1)), Some(Seq::new(2)));
    let turn = journal.turn(finished.turn).await;
    assert_eq!(turn, Ok(Some(TurnEntry { session, started, ended })), "turns must stay");
    let used = scene.store.mailbox.dedupe(session, MailKind::Submit, digest_of("key")).await;
    assert_eq!(used, Ok(Some(dedupe("key", "asked", Some(finished.turn)))), "dedupe keys must stay");
    let again = scene.open(NewSession { id: unique(), ..finished.new.clone() }).await;
    assert_eq!(again.id, session, "the name must still find it");
}

/// A finished session leaves with records, blobs, snapshot and requirements, and leaves a stub; others stay as they are.
pub async fn a_finished_session_leaves_whole(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let finished = Finished::make(&scene).await;
    let beside = Finished::make(&scene).await;
    let untouched = scene.contents(beside.new.id).await;
    let before = scene.entry(finished.new.id).await;
    let listed = blobs(&scene, finished.new.id).await;
    assert_eq!(listed, finished.blobs, "blobs must be listed in the order of their addresses");
    let after = scene.store.archive.blobs(finished.new.id, Some(listed[0].address), 1).await;
    assert_eq!(after.as_deref(), Ok(&listed[1..2]), "and in pages");
    finished.archive(&scene).await;
    must_have_left(&scene, &finished, &before).await;
    finished.archive(&scene).await; // A repeat is no error.
    must_have_left(&scene, &finished, &before).await;
    let other = Archived { file: digest_of("another file"), ..finished.archived() };
    let again = scene.store.archive.archive(finished.new.id, finished.head(), other).await;
    assert_eq!(again, Err(ArchiveError::NotArchived), "what left can't leave again in another way");
    assert_eq!(scene.contents(beside.new.id).await, untouched, "another session must stay as it was");
    assert_eq!(blobs(&scene, beside.new.id).await, beside.blobs, "with its blobs");
}

/// What has work, a living owner, mail, or events to tell stays, and so does what went on since it was looked at.
pub async fn only_what_is_finished_leaves(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let refused = async |finished: &Finished, head: Head, why: ArchiveError| {
        let before = scene.contents(finished.new.id).await;
        let left = scene.store.archive.archive(finished.new.id, head, archived(head)).await;
        assert_eq!(left, Err(why), "such a session must be refused");
        assert_eq!(scene.contents(finished.new.id).await, before, "and stay as it was");
        assert_eq!(blobs(&scene, finished.new.id).await, finished.blobs, "with its blobs");
    };
    let marked = async |status, wake_at| {
        let mut finished = Finished::make(&scene).await;
        finished.writer = scene.take(scene.owner().await, finished.new.id).await;
        let append = finished.writer.mark(status, wake_at);
        finished.writer.write(&scene.store, append).await;
        finished.let_go(&scene).await;
        finished
    };
    for (status, wake_at) in [
        (SessionStatus::Running, None),
        (SessionStatus::Waiting, None),
        (SessionStatus::Resting, None),
        (SessionStatus::Idle, Some(Timestamp::from_millis(u64::MAX >> 12))),
    ] {
        let working = marked(status, wake_at).await;
        refused(&working, working.head(), ArchiveError::Busy(Busy::Working)).await;
    }
    let moved = marked(SessionStatus::Idle, None).await;
    let earlier = scene.records(moved.new.id).await[2].head();
    refused(&moved, earlier, ArchiveError::Changed { actual: moved.head() }).await;
    let part = scene.store.archive.archive(moved.new.id, moved.head(), archived(earlier)).await;
    assert!(matches!(part, Err(ArchiveError::Wrong { .. })), "no part of it must leave: {part:?}");

    let mut held = Finished::make(&scene).await;
    held.writer = scene.take(scene.owner().await, held.new.id).await;
    refused(&held, held.head(), ArchiveError::Busy(Busy::Held)).await;
    let mailed = Finished::make(&scene).await;
    scene.accept(post(mailed.new.id, MailKind::Signal, "waits")).await;
    refused(&mailed, mailed.head(), ArchiveError::Busy(Busy::Mail)).await;

    let mut telling = Finished::make(&scene).await;
    telling.writer = scene.take(scene.owner().await, telling.new.id).await;
    let append = Append { mark: Some(Mark::default()), ..telling.writer.envelopes(2) };
    telling.writer.write(&scene.store, append).await;
    telling.let_go(&scene).await;
    refused(&telling, telling.head(), ArchiveError::Busy(Busy::Outbox)).await;
    let last = scene.pending().await.last().expect("rows are pending").position;
    scene.store.outbox.acknowledge(last).await.expect("rows may be acknowledged");
    telling.archive(&scene).await;
    let rows = scene.store.outbox.replay(telling.new.id, 1, ALL).await.map(|rows| rows.len());
    assert_eq!(rows, Ok(2), "rows of an archived session must still be found");

    scene.outlive_leases().await;
    held.archive(&scene).await; // A dead owner's hold is no hold.
    let unknown = scene.store.archive.archive(unique(), held.head(), held.archived()).await;
    assert_eq!(unknown, Err(ArchiveError::NoSession), "an unknown session can't leave");
}

/// Mail and the archive exclude one another: what was accepted is in a session that stays.
pub async fn mail_and_the_archive_exclude_one_another(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    for round in 0..16 {
        let finished = Finished::make(&scene).await;
        let post = scene.store.mailbox.post(post(finished.new.id, MailKind::Submit, "now"));
        let archive = scene.store.archive.archive(finished.new.id, finished.head(), finished.archived());
        let (posted, left) = match round % 2 {
            0 => futures::join!(post, archive),
            _ => {
                let (left, posted) = futures::join!(archive, post);
                (posted, left)
            }
        };
        let entry = scene.entry(finished.new.id).await;
        match (posted, left) {
            (Ok(Posted::Accepted), Err(ArchiveError::Busy(Busy::Mail))) => {
                assert_eq!((entry.archived, entry.waiting_mail), (None, 1), "accepted mail must wait");
            }
            (Err(PostError::Archived), Ok(())) => {
                assert_eq!(entry.archived, Some(finished.archived()), "a session that left must have left");
            }
            both => panic!("either the mail or the archive must come first: {both:?}"),
        }
    }
}

/// An archived session takes no append, no mail and no claim, but for the purge that ends it.
pub async fn an_archived_session_takes_a_purge_alone(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut finished = Finished::make(&scene).await;
    finished.archive(&scene).await;
    let session = finished.new.id;
    let late = scene.append(finished.writer.append(["late"])).await;
    assert_eq!(late, Err(AppendError::Archived), "an archived session must take no append");
    for kind in [MailKind::Submit, MailKind::Decide, MailKind::Signal] {
        let answer = scene.store.mailbox.post(post(session, kind, "late")).await;
        assert_eq!(answer, Err(PostError::Archived), "an archived session must take no such mail");
    }
    let owner = scene.owner().await;
    assert_eq!(ids(&scene.claim(owner, named([session])).await), [session; 0], "it must not be claimed");
    let mut sender = scene.owned().await;
    let mail = Post { system: true, ..post(session, MailKind::Decide, "late") };
    let append = Append { post_mail: vec![mail], ..sender.append(["says more"]) };
    sender.write(&scene.store, append).await;
    assert_eq!(scene.entry(session).await.waiting_mail, 0, "mail of another session must be passed over");

    scene.accept(post(session, MailKind::Purge, "")).await;
    let busy = scene.store.archive.expire(session, finished.archived()).await;
    assert_eq!(busy, Err(ArchiveError::Busy(Busy::Mail)), "what is to be purged must not go before");
    let found = scene.claim(owner, ClaimFilter::default()).await;
    assert_eq!(ids(&found), [session], "a purge that waits must be work");
    let claimed = Writer::of(&found[0].entry, owner);
    assert_eq!(claimed.head, finished.head(), "the head must be the archived one");
    let late = scene.append(claimed.append(["late"])).await;
    assert_eq!(late, Err(AppendError::Archived), "nothing but a purge must be appended");
    finished.writer = claimed;
    let append = finished.writer.mark(SessionStatus::Purged, None);
    finished.writer.write(&scene.store, append.clone()).await;
    let entry = scene.entry(session).await;
    assert_eq!((entry.head, entry.mark.status), (finished.head(), SessionStatus::Purged));
    let base = Head { seq: append.expected.seq, hash: append.expected.hash };
    assert_eq!(entry.archived, Some(archived(base)), "what stands in the file must still be said");
    assert_eq!(scene.records(session).await, append.records, "the record of the purge must be there");
    assert_eq!(entry.name, SessionEntry::purged_name(session), "and the name must be erased");
}

/// What left comes back as it was, but for the snapshot, and goes on; what did not leave does not come.
pub async fn what_left_comes_back(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut finished = Finished::make(&scene).await;
    let session = finished.new.id;
    let before = scene.contents(session).await;
    let archive = &scene.store.archive;
    let restore = async |restore: Restore| archive.restore(Arc::new(restore)).await;
    let whole = finished.restore(before.records.clone());
    assert_eq!(restore(whole.clone()).await, Err(ArchiveError::NotArchived), "nothing has left yet");
    finished.archive(&scene).await;
    let stub = scene.contents(session).await;
    let mut cut = whole.clone();
    cut.records.pop();
    let mut gap = whole.clone();
    gap.records.remove(1);
    let mut foreign = whole.clone();
    foreign.records = scene.records(Finished::make(&scene).await.new.id).await;
    for wrong in [cut, gap, foreign] {
        let refused = restore(wrong).await;
        assert!(matches!(refused, Err(ArchiveError::Wrong { .. })), "it must be refused: {refused:?}");
    }
    let mut other = whole.clone();
    other.archived.file = digest_of("another file");
    assert_eq!(restore(other).await, Err(ArchiveError::NotArchived), "another file did not leave");
    assert_eq!(scene.contents(session).await, stub, "a refusal must change nothing");
    assert_eq!(restore(whole.clone()).await, Ok(()), "what left must come back");
    let after = scene.contents(session).await;
    assert_eq!(after, Contents { snapshot: None, ..before }, "and be as it was");
    assert_eq!(blobs(&scene, session).await, finished.blobs, "with its blobs");
    assert_eq!(restore(whole).await, Err(ArchiveError::NotArchived), "it comes back once");
    finished.writer = scene.take(scene.owner().await, session).await;
    let append = Append { mark: Some(Mark::default()), ..finished.writer.append(["goes", "on"]) };
    finished.writer.write(&scene.store, append).await;
    assert_eq!(scene.records(session).await.len(), 5, "it must go on after its head");
    finished.let_go(&scene).await;
    finished.archive(&scene).await;
    assert_eq!(scene.records(session).await, [], "and may leave again");
}

/// Of a purged session all leaves but the record of the purge, which stays its end.
pub async fn a_purged_session_leaves_its_end(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut finished = Finished::make(&scene).await;
    let session = finished.new.id;
    finished.writer = scene.take(scene.owner().await, session).await;
    let append = finished.writer.mark(SessionStatus::Purged, None);
    finished.writer.write(&scene.store, append).await;
    let records = scene.records(session).await;
    let before = scene.entry(session).await;
    scene.outlive_leases().await;
    let archived = archived(records[2].head());
    let whole = scene.store.archive.archive(session, finished.head(), finished.archived()).await;
    assert!(matches!(whole, Err(ArchiveError::Wrong { .. })), "the record of the purge must stay: {whole:?}");
    let left = scene.store.archive.archive(session, finished.head(), archived).await;
    assert_eq!(left, Ok(()), "a purged session may leave");
    assert_eq!(scene.records(session).await, records[3..], "up to the record of its purge");
    let stub = SessionEntry { owner: None, archived: Some(archived), ..before.clone() };
    assert_eq!(scene.entry(session).await, stub, "and is purged as before");
    let mut back = finished.restore(records[..3].to_vec());
    (back.archived, back.blobs) = (archived, Vec::new());
    assert_eq!(scene.store.archive.restore(Arc::new(back)).await, Ok(()), "it may come back");
    assert_eq!(scene.records(session).await, records, "with every record in its place");
    assert_eq!(scene.entry(session).await, SessionEntry { owner: None, ..before }, "purged as before");
}

/// An archived session is removed with all that is known of it, and its name is free; others stay.
pub async fn an_expired_session_is_gone(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let beside = Finished::make(&scene).await;
    // The newest one: what a backend calls it must not be used again.
    let mut finished = Finished::make(&scene).await;
    let session = finished.new.id;
    assert_eq!(scene.records(session).await.len(), 3, "its records are there");
    let archive = &scene.store.archive;
    let expire = async |archived| archive.expire(session, archived).await;
    assert_eq!(expire(finished.archived()).await, Err(ArchiveError::NotArchived), "it did not leave yet");
    finished.writer = scene.take(scene.owner().await, session).await;
    let append = Append { mark: Some(Mark::default()), ..finished.writer.envelopes(2) };
    finished.writer.write(&scene.store, append).await;
    finished.let_go(&scene).await;
    let last = scene.pending().await.last().expect("rows are pending").position;
    scene.store.outbox.acknowledge(last).await.expect("rows may be acknowledged");
    finished.archive(&scene).await;
    let untouched = scene.contents(beside.new.id).await;
    let busy = expire(finished.archived()).await;
    assert_eq!(busy, Err(ArchiveError::Busy(Busy::Outbox)), "a consumer may still ask for its rows");
    scene.store.outbox.trim(Timestamp::from_millis(u64::MAX >> 12)).await.expect("rows may be trimmed");
    let other = Archived { file: digest_of("another file"), ..finished.archived() };
    assert_eq!(expire(other).await, Err(ArchiveError::NotArchived), "it left in another way");
    assert_eq!(expire(finished.archived()).await, Ok(()), "an archived session must be removed");
    must_be_gone(&scene, &finished).await;
    assert_eq!(scene.contents(beside.new.id).await, untouched, "another session must stay as it was");
    assert_eq!(expire(finished.archived()).await, Err(ArchiveError::NoSession), "it goes once");
}

async fn must_be_gone(scene: &Scene<'_>, finished: &Finished) {
    let session = finished.new.id;
    let journal = &scene.store.journal;
    assert_eq!(journal.session(session).await, Ok(None), "the entry must be gone");
    assert_eq!(journal.turn(finished.turn).await, Ok(None), "and its turns");
    let used = scene.store.mailbox.dedupe(session, MailKind::Submit, digest_of("key")).await;
    assert_eq!(used, Ok(None), "and its dedupe keys");
    let mail = scene.store.mailbox.post(post(session, MailKind::Submit, "late")).await;
    assert_eq!(mail, Err(PostError::NoSession), "it must take no mail");
    let mut next =
        Finished { new: NewSession { id: unique(), ..finished.new.clone() }, ..Finished::make(scene).await };
    let entry = scene.open(next.new.clone()).await;
    assert_eq!((entry.id, entry.head), (next.new.id, Head::EMPTY), "its name must be free");
    next.writer = scene.take(scene.owner().await, entry.id).await;
    let append = next.writer.append(["first"]);
    next.writer.write(&scene.store, append).await;
    assert_eq!(scene.records(session).await, [], "what comes under its name must not be found under its id");
}

/// What a session's own account holds goes with the session, and not before; other accounts stay.
pub async fn an_expired_sessions_account_is_gone(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut finished = Finished::make(&scene).await;
    let session = finished.new.id;
    let writer = scene.take(scene.owner().await, session).await;
    let mut spender = Spender { writer, turn: unique() };
    scene.start_turn(&mut spender).await;
    let (own, tenant) = (Account::session(session), account(AccountKind::Tenant));
    let accounts = [(own, Ceiling::NONE), (tenant, Ceiling::NONE)];
    scene.reserve(spender.ask("one", money(10), &accounts)).await;
    let ending = Append { mark: Some(Mark::default()), ..spender.ending() };
    spender.writer.write(&scene.store, ending).await;
    finished.writer = spender.writer;
    finished.let_go(&scene).await;
    finished.archive(&scene).await;
    assert_eq!(scene.balance(own).await, stands(10, 0), "an archived session must keep its account");
    let expired = scene.store.archive.expire(session, finished.archived()).await;
    assert_eq!(expired, Ok(()), "an archived session must be removed");
    assert_eq!(scene.balance(own).await, None, "its account must go with it");
    assert_eq!(scene.balance(tenant).await, stands(10, 0), "and the others must stay");
}

/// What left, what came back and what went stays so after a reopening.
pub async fn an_archive_outlives_a_reopening(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let (left, back, gone) =
        (Finished::make(&scene).await, Finished::make(&scene).await, Finished::make(&scene).await);
    let entry = scene.entry(left.new.id).await;
    let records = scene.records(back.new.id).await;
    for finished in [&left, &back, &gone] {
        finished.archive(&scene).await;
    }
    let restored = scene.store.archive.restore(Arc::new(back.restore(records.clone()))).await;
    assert_eq!(restored, Ok(()), "what left must come back");
    let expired = scene.store.archive.expire(gone.new.id, gone.archived()).await;
    assert_eq!(expired, Ok(()), "an archived session must be removed");
    let scene = scene.reopened().await;
    must_have_left(&scene, &left, &entry).await;
    assert_eq!(scene.records(back.new.id).await, records, "what came back must be there");
    must_be_gone(&scene, &gone).await;
}
