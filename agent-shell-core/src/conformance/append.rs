//! Appends: whole or not at all, contiguous, and only what chains.

use super::scene::{Contents, Scene, dedupe, digest_of, post, tenant, unique};
use super::writer::{elsewhere, envelope, rebased, rechain, refenced};
use super::{StoreFixture, Writer};
use crate::data::{ChainVerifier, KeyId, Lane, MailKind, RequirementId};
use crate::ports::{
    Append, AppendError, Blob, Fence, Mark, NamedActor, Post, SessionStatus, Snapshot, StoreError, TurnEntry,
    TurnMark,
};
use crate::words::{Head, MailId, Pseudonym, Seq, SessionId, Timestamp, TurnId};

/// Records come back as they were written, byte by byte, and chain.
pub async fn records_are_kept_as_they_were_written(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let odd: [&[u8]; 4] = [b"", b"\0\x01\xff\xfe", "text".as_bytes(), &[0xAA; 70_000]];
    let append = writer.append(odd);
    let written = append.records.clone();
    writer.write(&scene.store, append).await;
    let read = scene.records(writer.session).await;
    assert_eq!(read, written, "a journal must give records back as they were written");
    let entry = scene.entry(writer.session).await;
    assert_eq!(entry.head, writer.head, "the session's head must be its last record's");
}

/// Places are 1, 2, 3, ... in the order of the appends.
pub async fn records_are_contiguous(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    for count in [1, 3, 2] {
        let append = writer.append(vec!["body"; count]);
        writer.write(&scene.store, append).await;
    }
    let mut verifier = ChainVerifier::new(None);
    let records = scene.records(writer.session).await;
    assert_eq!(records.len(), 6, "six records were appended");
    for record in &records {
        verifier.next(record).expect("records must be read in the order of their places, without gaps");
    }
    assert_eq!(verifier.finish(), Ok(writer.head), "the chain must end at the head");
}

/// An append takes effect with all its parts.
pub async fn an_append_takes_effect_whole(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let whole = Whole::prepare(&scene, &writer).await;
    whole.must_be_absent(&scene).await;
    writer.write(&scene.store, whole.append.clone()).await;
    whole.must_be_present(&scene).await;
}

/// An append that is refused, for whatever reason, leaves no trace.
pub async fn a_refused_append_leaves_nothing(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let first = writer.append(["first"]);
    writer.write(&scene.store, first).await;
    let whole = Whole::prepare(&scene, &writer).await;
    let refusals = refusals(&whole, &writer, &scene).await;
    let before = whole.see(&scene).await;
    for (why, refused) in refusals {
        let answer = scene.append(refused).await;
        assert!(answer.is_err(), "an append must be refused: {why}; the answer was {answer:?}");
        whole.must_be_absent(&scene).await;
        assert!(whole.see(&scene).await == before, "a refused append ({why}) must leave the store as it was");
    }
    writer.write(&scene.store, whole.append.clone()).await;
    whole.must_be_present(&scene).await;
}

/// The same append, spoilt in every way that a backend must see.
async fn refusals(whole: &Whole, writer: &Writer, scene: &Scene<'_>) -> Vec<(&'static str, Append)> {
    let good = || whole.append.clone();
    let Fence { owner, epoch } = writer.fence;
    let mut refusals = vec![
        ("another owner", refenced(good(), Fence { owner: unique(), epoch })),
        ("a later epoch", refenced(good(), Fence { owner, epoch: epoch.next() })),
        ("an old head", rebased(good(), Head::EMPTY)),
        ("a head of another chain", Append { expected: elsewhere(writer.head.seq), ..good() }),
        ("no records", Append { records: Vec::new(), ..good() }),
    ];
    let mut gap = good();
    gap.outbox.remove(0);
    refusals.push(("a gap among its envelopes", gap));
    let mut gap = good();
    gap.records.remove(0);
    refusals.push(("a gap before its records", gap));
    let system = |session, content| Post { system: true, ..post(session, MailKind::Decide, content) };
    let used = |asked| Some(dedupe("used", asked, None));
    for (why, spoilt) in [
        ("mail to no session", system(unique(), "lost")),
        ("mail beyond the quota", Post { quota: 1, ..system(whole.other, "too much") }),
        ("mail with a used key", Post { dedupe: used("another thing"), ..system(whole.other, "other") }),
    ] {
        let mut append = good();
        append.post_mail.push(spoilt);
        refusals.push((why, append));
    }
    scene.accept(Post { dedupe: used("one thing"), ..post(whole.other, MailKind::Decide, "one") }).await;
    refusals
}

/// Records that do not belong to the append are refused as `Corrupt`.
pub async fn records_must_be_the_appends_own(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let writer = scene.owned().await;
    let stranger = scene.session().await.id;
    let spoil = |change: &dyn Fn(&mut Append)| {
        let mut append = writer.append(["one", "two", "three"]);
        change(&mut append);
        append
    };
    let cases = [
        ("none", spoil(&|append| append.records.clear())),
        ("a gap before them", spoil(&|append| drop(append.records.remove(0)))),
        ("a gap between them", spoil(&|append| drop(append.records.remove(1)))),
        ("one twice", spoil(&|append| append.records.insert(1, append.records[0].clone()))),
        ("the wrong order", spoil(&|append| append.records.swap(1, 2))),
        ("another session's", spoil(&|append| rechain(append, |header| header.session = stranger))),
        ("another tenant's", spoil(&|append| rechain(append, |header| header.tenant = tenant("stranger")))),
        ("another epoch's", spoil(&|append| rechain(append, |header| header.epoch = header.epoch.next()))),
        ("another append's", spoil(&|append| append.records[2].append = unique())),
    ];
    for (which, append) in cases {
        let answer = scene.append(append).await;
        let corrupt = matches!(answer, Err(AppendError::Corrupt { .. }));
        assert!(corrupt, "records of an append ({which}) must be refused as Corrupt, not {answer:?}");
    }
    let entry = scene.entry(writer.session).await;
    assert_eq!(entry.head, Head::EMPTY, "a refused append must leave the head");
}

/// A session that was never registered takes nothing.
pub async fn an_unknown_session_takes_no_append(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let writer = Writer { session: unique(), ..scene.owned().await };
    let answer = scene.append(writer.append(["lost"])).await;
    let corrupt = matches!(answer, Err(AppendError::Corrupt { .. }));
    assert!(corrupt, "an append to an unknown session must be refused as Corrupt, not {answer:?}");
    assert_eq!(scene.records(writer.session).await, [], "an unknown session has no records");
}

/// A mark and requirements stay until an append changes them.
pub async fn what_an_append_does_not_change_stays(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let whole = Whole::prepare(&scene, &writer).await;
    writer.write(&scene.store, whole.append.clone()).await;
    let before = scene.entry(writer.session).await;
    let plain = writer.append(["plain"]);
    writer.write(&scene.store, plain).await;
    let after = scene.entry(writer.session).await;
    assert_eq!(after.mark, before.mark, "an append without a mark must leave the mark");
    assert_eq!(after.requires, before.requires, "an append without requirements must leave them");
    whole.must_be_present(&scene).await;
    let none = Append { requires: Some(Vec::new()), ..writer.mark(SessionStatus::Idle, None) };
    writer.write(&scene.store, none).await;
    let last = scene.entry(writer.session).await;
    assert_eq!(last.mark, Mark::default(), "an append with a mark must replace the mark");
    assert_eq!(last.requires, [], "an append with requirements must replace them");
}

/// An append with every part, and what must be seen of it.
pub(super) struct Whole {
    pub(super) append: Append,
    pub(super) other: SessionId,
    consumed: MailId,
    blob: Blob,
    turn: TurnId,
    actor: NamedActor,
}

impl Whole {
    /// Makes an append onto the writer's head, and posts the mail that it is to consume.
    pub(super) async fn prepare(scene: &Scene<'_>, writer: &Writer) -> Self {
        let other = scene.session().await.id;
        let consumed = scene.accept(post(writer.session, MailKind::Submit, "consume me")).await;
        let blob = Blob { address: digest_of(format!("blob {consumed}")), sealed: b"\0 a blob".to_vec() };
        let pseudonym = Pseudonym::from_bytes(consumed.to_bytes());
        let actor =
            NamedActor { actor: pseudonym, key: KeyId(digest_of("k")), sealed: b"sealed name".to_vec() };
        let turn: TurnId = unique();
        let mut append = writer.append(["whole 1", "whole 2"]);
        let reached = append.records[1].head();
        let mut mail = post(other, MailKind::Decide, "from another session");
        (mail.system, mail.dedupe) = (true, Some(dedupe("whole", "whole", Some(turn))));
        append.blobs = vec![blob.clone()];
        append.consume_mail = vec![consumed];
        append.post_mail = vec![mail];
        append.outbox = (1..=2).map(|index| envelope(writer.session, writer.sequence + index)).collect();
        append.requires = Some(vec![RequirementId(digest_of("tool a")), RequirementId(digest_of("tool b"))]);
        append.mark = Some(Mark { status: SessionStatus::Waiting, wake_at: Some(Timestamp::from_millis(9)) });
        append.turns =
            vec![TurnMark::Started(turn, append.records[0].header.seq), TurnMark::Ended(turn, reached.seq)];
        append.snapshot = Some(Snapshot { head: reached, fold_version: 3, sealed: b"\xff state".to_vec() });
        append.actors = vec![actor.clone()];
        Self { append, other, consumed, blob, turn, actor }
    }

    /// All that can be seen of both sessions.
    async fn see(&self, scene: &Scene<'_>) -> (Contents, Contents, usize) {
        let own = scene.contents(self.append.session).await;
        (own, scene.contents(self.other).await, scene.pending().await.len())
    }

    pub(super) async fn must_be_absent(&self, scene: &Scene<'_>) {
        let session = self.append.session;
        let journal = &scene.store.journal;
        let blob = journal.blob(session, self.blob.address).await;
        assert!(matches!(blob, Err(StoreError::NotFound { .. })), "a blob must not be kept: {blob:?}");
        assert_eq!(journal.turn(self.turn).await, Ok(None), "a turn must not be marked");
        let actor = journal.actor(&self.append.records[0].header.tenant, self.actor.actor).await;
        assert_eq!(actor, Ok(None), "an actor must not be kept");
        let own = scene.contents(session).await;
        assert!(own.input.iter().any(|item| item.id == self.consumed), "mail must not be consumed");
        assert_eq!(own.snapshot, None, "a snapshot must not be kept");
        assert_eq!(own.outbox, [], "envelopes must not be kept");
        let mail = &self.append.post_mail[0];
        let theirs = scene.waiting(self.other, Lane::Control).await;
        assert!(theirs.iter().all(|item| item.id != mail.id), "mail must not be posted");
        let used = mail.dedupe.expect("the append's mail has a dedupe key");
        let row = scene.store.mailbox.dedupe(self.other, mail.kind, used.key).await;
        assert_eq!(row, Ok(None), "a dedupe key must not be used up");
    }

    pub(super) async fn must_be_present(&self, scene: &Scene<'_>) {
        let Append { session, records, outbox, .. } = &self.append;
        let journal = &scene.store.journal;
        let blob = journal.blob(*session, self.blob.address).await;
        assert_eq!(blob.as_ref(), Ok(&self.blob.sealed), "a blob must be kept");
        let (started, ended) = (Some(records[0].header.seq), Some(records[1].header.seq));
        let turn = journal.turn(self.turn).await;
        assert_eq!(turn, Ok(Some(TurnEntry { session: *session, started, ended })), "a turn must be marked");
        let actor = journal.actor(&records[0].header.tenant, self.actor.actor).await;
        assert_eq!(actor, Ok(Some(self.actor.clone())), "an actor must be kept");
        let own = scene.contents(*session).await;
        let held = own.records.iter().filter(|record| record.append == self.append.id);
        assert!(held.eq(records), "the records must be kept, once");
        assert!(own.input.iter().all(|item| item.id != self.consumed), "mail must be consumed");
        assert_eq!(own.snapshot, self.append.snapshot, "the snapshot must be kept");
        let sent: Vec<_> = own.outbox.iter().map(|item| &item.outgoing).collect();
        assert_eq!(sent, outbox.iter().collect::<Vec<_>>(), "the envelopes must be kept, once");
        assert!(own.outbox.iter().all(|item| item.session == *session), "a row must name its session");
        let mail = &self.append.post_mail[0];
        let theirs = scene.waiting(self.other, Lane::Control).await;
        let posted = theirs.iter().filter(|item| item.id == mail.id).count();
        assert_eq!(posted, 1, "mail to another session must be posted, once");
        let used = mail.dedupe.expect("the append's mail has a dedupe key");
        let row = scene.store.mailbox.dedupe(self.other, mail.kind, used.key).await;
        assert_eq!(row, Ok(Some(used)), "the dedupe key of posted mail must be used up");
        let entry = own.entry.expect("the session is registered");
        assert_eq!(Some(entry.mark), self.append.mark, "the mark must be set");
        assert_eq!(Some(entry.requires), self.append.requires, "the requirements must be set");
        assert!(entry.head.seq >= Seq::new(2), "the head must be moved");
    }
}
