//! Mail: in order, in lanes, within its quota, and gone when it is consumed.

use super::StoreFixture;
use super::scene::{ALL, Scene, ids, post, texts, unique};
use super::writer::{Writer, refenced};
use crate::data::{Lane, MailKind};
use crate::ports::{
    Append, AppendError, Fence, MailItem, Post, PostError, Posted, SessionStatus, TurnEntry, TurnMark,
};
use crate::words::{MailId, Pseudonym, Timestamp};

/// Mail is read as it was posted.
pub async fn mail_is_kept_as_it_was_posted(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let session = scene.session().await.id;
    let sealed = b"\0 sealed \xff".to_vec();
    let (actor, posted) = (Pseudonym::from_bytes([7; 16]), Timestamp::from_millis(123_456_789));
    let turn = Some(unique());
    let mail = Post { actor, posted, turn, sealed: sealed.clone(), ..post(session, MailKind::Resolve, "") };
    let id = scene.accept(mail).await;
    let expected = MailItem { id, kind: MailKind::Resolve, actor, posted, turn, sealed };
    assert_eq!(scene.waiting(session, Lane::Control).await, [expected], "mail must be kept as it was posted");
}

/// A turn is found from the moment when its mail is posted, and asking for it again is a repeat for ever.
pub async fn a_turn_is_registered_with_its_mail(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let (session, turn) = (writer.session, unique());
    let first = Post {
        turn: Some(turn),
        dedupe: Some(super::scene::dedupe("key", "asked", Some(turn))),
        ..post(session, MailKind::Submit, "asked")
    };
    let mail = scene.accept(first.clone()).await;
    let found = async |turn| scene.store.journal.turn(turn).await;
    let waiting = Ok(Some(TurnEntry::waiting(session)));
    assert_eq!(found(turn).await, waiting, "a turn must be found as soon as its mail is posted");
    let (repeated, refused) = (unique(), unique());
    let again = Post { id: unique(), turn: Some(repeated), ..first.clone() };
    let answer = scene.store.mailbox.post(again).await;
    assert_eq!(answer, Ok(Posted::Duplicate(Some(turn))), "a repeat must get the first turn");
    let full = Post { turn: Some(refused), quota: 0, ..post(session, MailKind::Submit, "no room") };
    assert!(scene.store.mailbox.post(full).await.is_err(), "mail beyond the quota must be refused");
    for never in [repeated, refused] {
        assert_eq!(found(never).await, Ok(None), "mail that is not kept must register no turn");
    }
    let mut append = Append { consume_mail: vec![mail], ..writer.append(["started", "ended"]) };
    let [started, ended] = [0, 1].map(|place| append.records[place].header.seq);
    append.turns = vec![TurnMark::Started(turn, started), TurnMark::Ended(turn, ended)];
    writer.write(&scene.store, append).await;
    let entry = TurnEntry { session, started: Some(started), ended: Some(ended) };
    assert_eq!(found(turn).await, Ok(Some(entry)), "a turn that waited must start and end like any other");
    scene.accept(Post { id: unique(), dedupe: None, ..first }).await;
    assert_eq!(scene.waiting(session, Lane::Input).await, [], "a turn that was asked for must not run twice");
    assert_eq!(found(turn).await, Ok(Some(entry)), "and its entry must stay as it is");
}

/// An owner is not woken for an input that waits until a turn has ended.
pub async fn an_owner_is_not_told_of_inputs_behind_a_turn(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let (session, owner) = (writer.session, writer.fence.owner);
    scene.accept(post(session, MailKind::Submit, "next")).await;
    let told = async || scene.store.mailbox.awaiting(owner, None, ALL).await;
    assert_eq!(told().await, Ok(vec![session]), "a session without a turn must be told of its input");
    for status in [SessionStatus::Running, SessionStatus::Waiting, SessionStatus::Resting] {
        let append = writer.mark(status, None);
        writer.write(&scene.store, append).await;
        assert_eq!(told().await, Ok(vec![]), "an input must wait until the turn has ended ({status:?})");
    }
    scene.accept(post(session, MailKind::Signal, "a signal")).await;
    assert_eq!(told().await, Ok(vec![session]), "other mail must be told of");
}

/// Mail waits in the order in which it was accepted, which need not be the order of ids or of clocks.
pub async fn mail_is_read_in_the_order_of_its_posts(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let session = scene.session().await.id;
    let mut ids: Vec<MailId> = (0..6).map(|_| unique()).collect();
    ids.reverse();
    for (index, &id) in ids.iter().enumerate() {
        let posted = Timestamp::from_millis(1_000 - index as u64);
        scene.accept(Post { id, posted, ..post(session, MailKind::Submit, "in order") }).await;
    }
    let read: Vec<_> = scene.waiting(session, Lane::Input).await.iter().map(|item| item.id).collect();
    assert_eq!(read, ids, "mail must be read in the order in which its posts were committed");
}

/// Inputs and all else are read apart.
pub async fn mail_is_read_in_lanes(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let session = scene.session().await.id;
    let kinds = [
        (MailKind::Submit, "submit 1"),
        (MailKind::Decide, "decide"),
        (MailKind::Signal, "signal"),
        (MailKind::Submit, "submit 2"),
        (MailKind::Resolve, "resolve"),
        (MailKind::Abandon, "abandon"),
    ];
    for (kind, text) in kinds {
        scene.accept(post(session, kind, text)).await;
    }
    let input = texts(&scene.waiting(session, Lane::Input).await);
    assert_eq!(input, ["submit 1", "submit 2"], "the input lane must hold the inputs");
    let control = texts(&scene.waiting(session, Lane::Control).await);
    assert_eq!(control, ["decide", "resolve", "abandon"], "the control lane must hold the decisions");
    let signals = texts(&scene.waiting(session, Lane::Signal).await);
    assert_eq!(signals, ["signal"], "the signal lane must hold the signals");
    let stranger = scene.session().await.id;
    assert_eq!(scene.waiting(stranger, Lane::Input).await, [], "mail waits in its own session");
    assert_eq!(scene.waiting(unique(), Lane::Input).await, [], "an unknown session has no mail");
}

/// An owner is told in which of the sessions that it holds mail waits, whoever posted it.
pub async fn an_owner_finds_the_mail_of_what_it_holds(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let owner = scene.owner().await;
    let [held, quiet, others] =
        [scene.session().await.id, scene.session().await.id, scene.session().await.id];
    scene.take(owner, held).await;
    scene.take(owner, quiet).await;
    let other = scene.owner().await;
    scene.take(other, others).await;
    let free = scene.session().await.id;
    let page = async |owner, after, limit| {
        let sessions = scene.store.mailbox.awaiting(owner, after, limit).await;
        sessions.expect("a mailbox must say where mail waits")
    };
    let awaiting = async |owner, limit| page(owner, None, limit).await;
    assert_eq!(awaiting(owner, ALL).await, [], "no mail waits yet");
    for session in [held, others, free] {
        scene.accept(post(session, MailKind::Decide, "to whom it concerns")).await;
    }
    assert_eq!(awaiting(owner, ALL).await, [held], "an owner must find the mail of its own sessions alone");
    assert_eq!(awaiting(other, ALL).await, [others], "each owner must find its own");
    scene.accept(post(quiet, MailKind::Submit, "an input")).await;
    assert_eq!(awaiting(owner, ALL).await.len(), 2, "both lanes count");
    let first = awaiting(owner, 1).await;
    let second = page(owner, Some(first[0]), 1).await;
    assert_eq!(
        [first, second].concat(),
        [held.min(quiet), held.max(quiet)],
        "page by page, in the order of ids"
    );
}

/// Mail is read in pages; a page after mail that waits no more begins at the first.
pub async fn mail_is_read_in_pages(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let mut ids = Vec::new();
    for index in 0..7 {
        ids.push(scene.accept(post(writer.session, MailKind::Decide, &index.to_string())).await);
        scene.accept(post(writer.session, MailKind::Submit, "the other lane")).await;
    }
    let page = async |after, limit| {
        let page = scene.store.mailbox.waiting(writer.session, Lane::Control, after, limit).await;
        texts(&page.expect("a mailbox must answer"))
    };
    assert_eq!(page(None, 3).await, ["0", "1", "2"], "a page must not be longer than asked");
    assert_eq!(
        page(Some(ids[2]), 3).await,
        ["3", "4", "5"],
        "a page must go on after the mail that was asked"
    );
    assert_eq!(page(Some(ids[5]), ALL).await, ["6"], "the last page must end with the last mail");
    assert_eq!(page(Some(ids[6]), ALL).await, [""; 0], "nothing waits after the last mail");
    let append = Append { consume_mail: vec![ids[0], ids[3]], ..writer.append(["read"]) };
    writer.write(&scene.store, append).await;
    let page = scene.store.mailbox.waiting(writer.session, Lane::Control, Some(ids[3]), 3).await;
    let page = texts(&page.expect("a mailbox must answer"));
    assert_eq!(page, ["1", "2", "4"], "after mail that waits no more, a page must begin at the first");
}

/// A post that is repeated while its mail waits is answered as the first time, and kept once.
pub async fn a_post_is_idempotent_by_id(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let session = scene.session().await.id;
    let keyed = super::scene::dedupe("key", "content", Some(unique()));
    let plain = post(session, MailKind::Decide, "plain");
    let deduped = Post { dedupe: Some(keyed), ..post(session, MailKind::Decide, "with a key") };
    for _ in 0..3 {
        scene.accept(plain.clone()).await;
        scene.accept(deduped.clone()).await;
    }
    let waiting = texts(&scene.waiting(session, Lane::Control).await);
    assert_eq!(waiting, ["plain", "with a key"], "a repeated post must be kept once");
    assert_eq!(scene.entry(session).await.waiting_mail, 2, "a repeated post must be counted once");
    let full = Post { quota: 1, ..plain };
    scene.accept(full).await; // It waits already, so no quota is needed.
}

/// Nothing can be posted to a session that was never registered.
pub async fn an_unknown_session_takes_no_mail(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let answer = scene.store.mailbox.post(post(unique(), MailKind::Submit, "lost")).await;
    assert_eq!(answer, Err(PostError::NoSession), "mail to an unknown session must be refused");
}

/// Mail goes when a record consumes it; what is not there is passed over.
pub async fn consumed_mail_is_gone(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let other = scene.session().await.id;
    let elsewhere = scene.accept(post(other, MailKind::Submit, "elsewhere")).await;
    let mut ids = Vec::new();
    for text in ["a", "b", "c"] {
        ids.push(scene.accept(post(writer.session, MailKind::Submit, text)).await);
    }
    let signal = scene.accept(post(writer.session, MailKind::Decide, "d")).await;
    assert_eq!(
        scene.entry(writer.session).await.waiting_mail,
        4,
        "an entry must count the mail of all lanes"
    );
    let consume_mail = vec![ids[1], unique(), elsewhere, signal, ids[1]];
    let append = Append { consume_mail, ..writer.append(["read"]) };
    writer.write(&scene.store, append).await;
    let waiting = texts(&scene.waiting(writer.session, Lane::Input).await);
    assert_eq!(waiting, ["a", "c"], "consumed mail must be gone, and the rest must wait in order");
    assert_eq!(scene.waiting(writer.session, Lane::Control).await, [], "mail of every lane may be consumed");
    assert_eq!(scene.entry(writer.session).await.waiting_mail, 2, "consumed mail must not be counted");
    let theirs = texts(&scene.waiting(other, Lane::Input).await);
    assert_eq!(theirs, ["elsewhere"], "an append must consume mail of its own session only");
}

/// Mail beyond its lane's quota is refused, what is consumed makes room, and inputs that queue leave room for the
/// signal or the approval that the running turn waits for.
pub async fn mail_is_bounded_by_its_quota(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let session = writer.session;
    let mail = |kind| Post { quota: 2, ..post(session, kind, "mail") };
    let full = Err(PostError::Overloaded { waiting: 2 });
    let first = scene.accept(mail(MailKind::Submit)).await;
    scene.accept(mail(MailKind::Submit)).await;
    let answer = scene.store.mailbox.post(mail(MailKind::Submit)).await;
    assert_eq!(answer, full, "mail beyond the quota must be refused");
    scene.accept(mail(MailKind::Decide)).await;
    scene.accept(mail(MailKind::Decide)).await;
    let answer = scene.store.mailbox.post(mail(MailKind::Resolve)).await;
    assert_eq!(answer, full, "all decisions must share one quota, apart from that of inputs");
    scene.accept(mail(MailKind::Signal)).await;
    assert_eq!(scene.entry(session).await.waiting_mail, 5, "refused mail must not be kept");
    let append = Append { consume_mail: vec![first], ..writer.append(["read"]) };
    writer.write(&scene.store, append).await;
    scene.accept(mail(MailKind::Submit)).await;
    let answer = scene.store.mailbox.post(mail(MailKind::Submit)).await;
    assert_eq!(answer, full, "the quota must hold again");
}

/// The runtime's mail has a quota of its own, which users can't fill, and which does not take theirs.
pub async fn system_mail_has_a_quota_of_its_own(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let session = writer.session;
    let mail = |system| Post { quota: 2, system, ..post(session, MailKind::Decide, "mail") };
    for system in [false, false] {
        scene.accept(mail(system)).await;
    }
    scene.accept(mail(true)).await;
    let own = scene.accept(mail(true)).await;
    for system in [false, true] {
        let answer = scene.store.mailbox.post(mail(system)).await;
        let full = Err(PostError::Overloaded { waiting: 2 });
        assert_eq!(answer, full, "each quota counts its own mail (system: {system})");
    }
    let append = Append { consume_mail: vec![own], ..writer.append(["read"]) };
    writer.write(&scene.store, append).await;
    let answer = scene.store.mailbox.post(mail(false)).await;
    assert_eq!(
        answer,
        Err(PostError::Overloaded { waiting: 2 }),
        "system mail must not make room for users'"
    );
    scene.accept(mail(true)).await;
}

/// Mail that an append posts counts against the runtime's quota; a full mailbox refuses the whole append.
pub async fn an_append_posts_mail_within_the_system_quota(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let target = scene.session().await.id;
    let mail = |text| Post { quota: 2, system: true, ..post(target, MailKind::Decide, text) };
    for _ in 0..2 {
        scene.accept(Post { system: false, ..mail("a user's") }).await;
    }
    let append = Append { post_mail: vec![mail("1"), mail("2"), mail("3")], ..writer.append(["too much"]) };
    let answer = scene.append(append).await;
    let unavailable = matches!(answer, Err(AppendError::Unavailable { .. }));
    assert!(unavailable, "an append whose mail finds no room must be Unavailable, not {answer:?}");
    let waiting = texts(&scene.waiting(target, Lane::Control).await);
    assert_eq!(waiting, ["a user's"; 2], "none of a refused append's mail may be kept");
    let append = Append { post_mail: vec![mail("1"), mail("2")], ..writer.append(["enough"]) };
    writer.write(&scene.store, append).await;
    let waiting = texts(&scene.waiting(target, Lane::Control).await);
    assert_eq!(waiting, ["a user's", "a user's", "1", "2"], "an append's mail must be posted in its order");
    let answer = scene.store.mailbox.post(mail("4")).await;
    let full = Err(PostError::Overloaded { waiting: 2 });
    assert_eq!(answer, full, "mail of appends must count against the runtime's quota");
    let user = scene.store.mailbox.post(Post { system: false, quota: 3, ..mail("user") }).await;
    assert_eq!(user, Ok(Posted::Accepted), "and not against the users'");
}

/// An append may ask another session for a turn: the turn is found from then on, a second request for it is a repeat, whoever
/// posts it, and a session that nobody owns is claimed for it. A refused append asks for nothing.
pub async fn an_append_registers_the_turns_that_its_mail_asks_for(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let (target, turn) = (scene.session().await.id, unique());
    let request = || Post { turn: Some(turn), system: true, ..post(target, MailKind::Submit, "a child's") };
    let asking = |writer: &Writer| Append { post_mail: vec![request()], ..writer.append(["asks"]) };
    let found = async || scene.store.journal.turn(turn).await;
    let Fence { owner, epoch } = writer.fence;
    let stale = refenced(asking(&writer), Fence { owner, epoch: epoch.next() });
    assert!(scene.append(stale).await.is_err(), "a stale owner must be refused");
    assert_eq!(found().await, Ok(None), "a refused append must register no turn");
    assert_eq!(scene.waiting(target, Lane::Input).await, [], "and post nothing");
    for _ in 0..2 {
        let append = asking(&writer);
        writer.write(&scene.store, append).await;
        assert_eq!(found().await, Ok(Some(TurnEntry::waiting(target))), "the turn must be found");
        let waiting = scene.waiting(target, Lane::Input).await;
        assert_eq!(waiting.len(), 1, "a turn that was asked for must not be asked for again");
    }
    scene.accept(Post { system: false, ..request() }).await;
    assert_eq!(scene.waiting(target, Lane::Input).await.len(), 1, "by nobody");
    let claims = scene.claim(owner, Default::default()).await;
    assert!(ids(&claims).contains(&target), "a session with such a request must be claimed");
}
