//! Many at once: each append is judged by itself, each session has one owner, and a publisher misses nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use tokio::task::JoinError;

use super::scene::{Scene, ids, post, unique};
use super::writer::{rechain, refenced};
use super::{StoreFixture, Writer};
use crate::data::{ChainVerifier, Lane, MailKind};
use crate::ports::{Append, AppendError, ClaimFilter, Fence, OutboxPosition, Post, PostError, Posted, Store};
use crate::words::SessionId;

const SESSIONS: usize = 16;
const ROUNDS: usize = 12;

/// Runs a future as a task of its own, so that it may run beside others.
#[allow(clippy::disallowed_methods)] // The suite is a test, and needs tasks that really run at once.
pub(super) async fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(task).await.map_err(JoinError::try_into_panic) {
        Ok(value) => value,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The runtime is shutting down, because the property failed elsewhere.
        Err(Err(_)) => std::future::pending().await,
    }
}

/// Appends that are committed together are judged one by one: in each session, of two appends after the same head
/// one wins, a stale one is fenced, and a damaged one is refused, whatever happens beside.
pub async fn appends_are_judged_one_by_one(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        let writer = scene.owned().await;
        sessions.push(spawn(contend(scene.store.clone(), writer)));
    }
    for writer in join_all(sessions).await {
        let records = scene.records(writer.session).await;
        assert_eq!(records.len(), ROUNDS, "one append of each round must be committed");
        let mut verifier = ChainVerifier::new(None);
        for record in &records {
            verifier.next(record).expect("records of concurrent appends must chain");
        }
        assert_eq!(verifier.finish(), Ok(writer.head), "the winner of the last round must be the head");
    }
}

/// Appends in rounds; each round has two contenders, a stale writer and a damaged append, at once.
async fn contend(store: Store, mut writer: Writer) -> Writer {
    for round in 0..ROUNDS {
        let one = writer.append([format!("one {round}")]);
        let two = writer.append([format!("two {round}")]);
        let stale = refenced(writer.append(["stale"]), Fence { owner: unique(), ..writer.fence });
        let damaged = Append { records: Vec::new(), ..writer.append(["damaged"]) };
        let heads = [one.records[0].head(), two.records[0].head()];
        let appends = [one, two, stale, damaged].map(|append| {
            let journal = store.journal.clone();
            spawn(async move { journal.append(append.into()).await })
        });
        let answers = join_all(appends).await;
        let (contenders, others) = answers.split_at(2);
        let won = contenders.iter().position(Result::is_ok).expect("one of two contenders must win");
        assert_eq!(
            contenders[won].as_ref().map(|appended| appended.head),
            Ok(heads[won]),
            "with its own head"
        );
        let conflict = Err(AppendError::Conflict { actual: heads[won] });
        assert_eq!(
            contenders[1 - won],
            conflict,
            "the other contender must get a conflict with the winner's head"
        );
        let fenced = Err(AppendError::Fenced { actual: writer.fence.epoch });
        assert_eq!(others[0], fenced, "a stale writer must be fenced whatever happens beside it");
        let refused = matches!(others[1], Err(AppendError::Corrupt { .. } | AppendError::Conflict { .. }));
        assert!(refused, "a damaged append must be refused by itself: {:?}", others[1]);
        writer.head = heads[won];
    }
    writer
}

/// However often an append is repeated at once, it is committed once and all repeats get its result.
pub async fn concurrent_repeats_are_committed_once(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    for round in 0..ROUNDS {
        let mut append = writer.append(["one", "two"]);
        append.outbox = writer.envelopes(1).outbox;
        rechain(&mut append, |_| {});
        let head = append.records[1].head();
        let repeats = (0..8).map(|_| {
            let (journal, append) = (scene.store.journal.clone(), append.clone());
            spawn(async move { journal.append(append.into()).await })
        });
        for answer in join_all(repeats).await {
            assert_eq!(
                answer.map(|appended| appended.head),
                Ok(head),
                "each repeat must get the append's result"
            );
        }
        (writer.head, writer.sequence) = (head, writer.sequence + 1);
        let records = scene.records(writer.session).await.len();
        assert_eq!(records, 2 * (round + 1), "repeats must append once");
    }
    assert_eq!(scene.pending().await.len(), ROUNDS, "repeats must write their envelope once");
}

/// Of owners that claim at once, each session goes to one.
pub async fn concurrent_claims_share_nothing(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut sessions: Vec<SessionId> = Vec::new();
    for _ in 0..SESSIONS * 2 {
        let session = scene.session().await.id;
        scene.accept(post(session, MailKind::Submit, "work")).await;
        sessions.push(session);
    }
    let mut claims = Vec::new();
    for _ in 0..4 {
        let (ownership, owner) = (scene.store.ownership.clone(), scene.owner().await);
        claims.push(spawn(async move {
            let mut taken = Vec::new();
            for _ in 0..SESSIONS {
                let claims = ownership.claim(owner, ClaimFilter::default(), 3).await;
                taken.extend(claims.expect("an owner with a lease may claim"));
            }
            taken
        }));
    }
    let taken: Vec<_> = join_all(claims).await.into_iter().flatten().collect();
    sessions.sort();
    assert_eq!(ids(&taken), sessions, "each session must be claimed by one owner, once");
    for claim in taken {
        let entry = scene.entry(claim.entry.id).await;
        assert_eq!((entry.owner, entry.epoch.number()), (claim.entry.owner, 1), "and stay with it");
    }
}

/// Of posts with one dedupe key at once, one is kept; the quota holds however many post at once.
pub async fn concurrent_posts_are_judged_one_by_one(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let session = scene.session().await.id;
    let turn = unique();
    let keyed = (0..8).map(|_| {
        let dedupe = Some(super::scene::dedupe("key", "input", Some(turn)));
        Post { dedupe, ..post(session, MailKind::Submit, "keyed") }
    });
    let free = (0..32).map(|_| Post { quota: 10, ..post(session, MailKind::Submit, "free") });
    let posts = keyed.chain(free).map(|post| {
        let mailbox = scene.store.mailbox.clone();
        spawn(async move { mailbox.post(post).await })
    });
    let answers = join_all(posts).await;
    let (keyed, free) = answers.split_at(8);
    let accepted = |answers: &[_]| answers.iter().filter(|answer| **answer == Ok(Posted::Accepted)).count();
    let duplicates = keyed.iter().filter(|answer| **answer == Ok(Posted::Duplicate(Some(turn)))).count();
    assert_eq!((accepted(keyed), duplicates), (1, 7), "one of the posts with a key must be kept: {keyed:?}");
    let refused = free.iter().filter(|answer| matches!(answer, Err(PostError::Overloaded { .. }))).count();
    assert_eq!(accepted(free) + refused, 32, "a post is accepted, or refused for its quota: {free:?}");
    let waiting = scene.waiting(session, Lane::Input).await.len();
    assert_eq!(waiting, accepted(free) + 1, "what was accepted waits");
    assert!((9..=11).contains(&waiting), "the quota must hold when many post at once: {waiting} wait");
}

/// Appends that post mail to one another's sessions neither wait for one another nor lose any.
pub async fn sessions_may_write_to_one_another(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writers = Vec::new();
    for _ in 0..4 {
        writers.push(scene.owned().await);
    }
    let sessions: Vec<_> = writers.iter().map(|writer| writer.session).collect();
    let tasks = writers.into_iter().map(|mut writer| {
        let (store, others) = (scene.store.clone(), sessions.clone());
        spawn(async move {
            for _ in 0..ROUNDS {
                let others = others.iter().filter(|&&other| other != writer.session);
                let post_mail =
                    others.map(|&other| Post { system: true, ..post(other, MailKind::Decide, "hello") });
                let append = Append { post_mail: post_mail.collect(), ..writer.append(["round"]) };
                writer.write(&store, append).await;
            }
        })
    });
    join_all(tasks).await;
    for session in sessions {
        let waiting = scene.waiting(session, Lane::Control).await.len();
        assert_eq!(waiting, 3 * ROUNDS, "every session must have got all mail of the others");
    }
}

/// A publisher that remembers the last position which it saw misses no row, while many append.
pub async fn a_publisher_misses_no_row(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut tasks = Vec::new();
    for _ in 0..SESSIONS {
        let (store, mut writer) = (scene.store.clone(), scene.owned().await);
        tasks.push(spawn(async move {
            for _ in 0..ROUNDS {
                let append = writer.envelopes(2);
                writer.write(&store, append).await;
            }
        }));
    }
    let (outbox, written) = (scene.store.outbox.clone(), Arc::new(AtomicBool::new(false)));
    let all_written = written.clone();
    let publisher = spawn(async move {
        let (mut seen, mut last) = (BTreeMap::<SessionId, u64>::new(), OutboxPosition::default());
        loop {
            let nothing_follows = all_written.load(Ordering::SeqCst);
            let rows = outbox.pending(last, 7).await.expect("an outbox must answer");
            if rows.is_empty() && nothing_follows {
                return seen;
            }
            for row in rows {
                assert!(row.position > last, "rows must come in the order of their positions");
                last = row.position;
                let before = seen.insert(row.session, row.outgoing.sequence).unwrap_or(0);
                assert_eq!(row.outgoing.sequence, before + 1, "a publisher must miss no row of a session");
            }
            tokio::task::yield_now().await;
        }
    });
    let writers = async {
        join_all(tasks).await;
        written.store(true, Ordering::SeqCst);
    };
    let ((), seen) = futures::future::join(writers, publisher).await;
    let rows = seen.values().sum::<u64>() as usize;
    assert_eq!((seen.len(), rows), (SESSIONS, SESSIONS * ROUNDS * 2), "a publisher must have seen every row");
}
