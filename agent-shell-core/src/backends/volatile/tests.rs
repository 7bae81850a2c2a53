//! The conformance suites on the volatile stores, and what these promise besides.

#![cfg(feature = "conformance")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{VolatileKeys, VolatileStore};
use crate::conformance::{KeyFixture, Scene, StoreFixture, TestClock, Writer, digest_of, post, run, unique};
use crate::data::{KeyId, Lane, MailKind};
use crate::ports::{
    Append, AppendError, Blob, ClaimFilter, KeyStore, NamedActor, PostError, Snapshot, Store, StoreError,
    TurnMark,
};
use crate::words::{Pseudonym, Seq, Timestamp, TurnId};

/// Volatile stores of one size.
struct Volatile {
    clock: TestClock,
    bytes: u64,
}

impl Default for Volatile {
    fn default() -> Self {
        Self::of(VolatileStore::DEFAULT_CAPACITY_BYTES)
    }
}

impl Volatile {
    fn of(bytes: u64) -> Self {
        Self { clock: TestClock::default(), bytes }
    }
}

#[async_trait]
impl StoreFixture for Volatile {
    async fn store(&self) -> Store {
        let store = VolatileStore::new(Arc::new(self.clock.clone()));
        Store::new(Arc::new(store.with_capacity_bytes(self.bytes)))
    }

    async fn reopen(&self, _: Store) -> Option<Store> {
        None
    }

    async fn advance(&self, time: Duration) {
        self.clock.advance(time);
    }
}

#[async_trait]
impl KeyFixture for Volatile {
    async fn keys(&self) -> Arc<dyn KeyStore> {
        Arc::new(VolatileKeys::new())
    }

    async fn reopen(&self, _: Arc<dyn KeyStore>) -> Option<Arc<dyn KeyStore>> {
        None
    }
}

crate::store_conformance!(Volatile::default());
crate::key_conformance!(Volatile::default());

/// Runs a test on a store with room for so many bytes, with one session that has an owner.
fn check<F: Future<Output = ()>>(bytes: u64, test: impl FnOnce(Store, Writer) -> F) {
    let fixture = Volatile::of(bytes);
    run(async {
        let scene = Scene::new(&fixture).await;
        let writer = scene.owned().await;
        test(scene.store, writer).await;
    });
}

fn is_unavailable(answer: &Result<crate::ports::Appended, AppendError>) -> bool {
    matches!(answer, Err(AppendError::Unavailable { .. }))
}

#[test]
fn a_full_store_is_unavailable_and_keeps_what_it_has() {
    check(20_000, |store, mut writer| async move {
        let mut kept = 0;
        let refused = loop {
            let append = writer.append([[1; 1000]]);
            if is_unavailable(&store.journal.append(append.clone().into()).await) {
                break append;
            }
            writer.head = append.records[0].head();
            kept += 1;
        };
        assert!((10..20).contains(&kept), "about twenty kilobytes hold {kept} records of one");
        assert!(is_unavailable(&store.journal.append(refused.into()).await), "a full store stays full");
        let entry = store.journal.session(writer.session).await.unwrap().unwrap();
        assert_eq!(entry.head, writer.head, "a refused append leaves nothing");
        let mail = post(writer.session, MailKind::Submit, &"x".repeat(1000));
        let answer = store.mailbox.post(mail).await;
        assert!(matches!(answer, Err(PostError::Store(StoreError::Unavailable { .. }))), "{answer:?}");
        let small = writer.append(["fits"]);
        writer.write(&store, small).await;
    });
}

#[test]
fn what_is_replaced_read_trimmed_or_refused_makes_room_again() {
    check(450_000, |store, mut writer| async move {
        let large = || vec![7; 50_000];
        let key = KeyId(digest_of("key"));
        let named = NamedActor { actor: Pseudonym::from_bytes([1; 16]), key, sealed: vec![1; 10_000] };
        for _ in 0..100 {
            let mut mail = post(writer.session, MailKind::Submit, "");
            mail.sealed = large();
            mail.named_actor = Some(named.clone());
            store.mailbox.post(mail.clone()).await.expect("what was read makes room");
            let mut append = writer.append(["read"]);
            append.consume_mail = vec![mail.id];
            append.blobs = vec![Blob { address: digest_of("the same blob"), sealed: large() }];
            append.snapshot = Some(Snapshot { head: writer.head, fold_version: 1, sealed: large() });
            append.outbox = writer.envelopes(1).outbox;
            append.outbox[0].envelope = large();
            append.actors = vec![named.clone()];
            let mut again = mail.clone();
            again.sealed = large();
            append.post_mail = vec![again];
            let mut refused = append.clone();
            refused.post_mail.push(post(unique(), MailKind::Decide, "to nobody"));
            assert!(store.journal.append(refused.into()).await.is_err(), "mail to nobody is refused");
            writer.write(&store, append).await;
            let rows = store.outbox.pending(Default::default(), 9).await.unwrap();
            store.outbox.acknowledge(rows[0].position).await.unwrap();
            assert_eq!(store.outbox.trim(Timestamp::from_millis(u64::MAX)).await, Ok(1));
        }
    });
}

#[test]
fn an_append_beyond_the_bound_is_too_large() {
    check(VolatileStore::DEFAULT_CAPACITY_BYTES, |store, mut writer| async move {
        let allowed = VolatileStore::MAX_APPEND_BYTES;
        let append = writer.append([vec![0; allowed + 1]]);
        let answer = store.journal.append(append.into()).await;
        assert_eq!(answer, Err(AppendError::TooLarge { bytes: allowed + 1, allowed }));
        let append = writer.append([vec![0; allowed]]);
        writer.write(&store, append).await;
    });
}

#[test]
fn tenants_take_turns_from_claim_to_claim() {
    let fixture = Volatile::default();
    run(async {
        let scene = Scene::new(&fixture).await;
        for (tenant, count) in [("a", 6), ("b", 2), ("c", 2)] {
            for _ in 0..count {
                let session = scene.session_of(tenant).await.id;
                scene.store.mailbox.post(post(session, MailKind::Submit, "work")).await.unwrap();
            }
        }
        let owner = scene.owner().await;
        let mut served = String::new();
        for _ in 0..10 {
            let claims = scene.store.ownership.claim(owner, ClaimFilter::default(), 1).await.unwrap();
            served += claims[0].entry.tenant.as_str();
        }
        assert_eq!(served, "abcabcaaaa", "a claim of one goes on with the next tenant");
    });
}

#[test]
fn a_tenants_oldest_work_is_claimed_first() {
    let fixture = Volatile::default();
    run(async {
        let scene = Scene::new(&fixture).await;
        let mut sessions = Vec::new();
        for posted in [30, 10, 20] {
            let session = scene.session().await.id;
            let mut mail = post(session, MailKind::Submit, "work");
            mail.posted = Timestamp::from_millis(posted);
            scene.store.mailbox.post(mail).await.unwrap();
            sessions.push((posted, session));
        }
        sessions.sort();
        let owner = scene.owner().await;
        let claims = scene.claim(owner, ClaimFilter::default()).await;
        let claimed = claims.iter().map(|claim| claim.entry.id);
        assert!(claimed.eq(sessions.into_iter().map(|(_, session)| session)), "the oldest mail comes first");
    });
}

#[test]
fn an_id_is_known_by_its_last_append_also_when_it_is_moved() {
    check(1 << 20, |store, mut writer| async move {
        let append = writer.append(["once"]);
        let id = append.id;
        let first = writer.write(&store, append).await;
        let mut moved = writer.append(["once"]);
        moved.id = id;
        moved.records[0].append = id;
        assert_eq!(
            store.journal.append(moved.into()).await,
            Ok(first),
            "the same id at the new head is a repeat"
        );
    });
}

#[test]
fn turns_must_start_once_before_they_end_once() {
    check(1 << 20, |store, mut writer| async move {
        let (turn, seq): (TurnId, _) = (unique(), Seq::new(1));
        let (start, end) = (TurnMark::Started(turn, seq), TurnMark::Ended(turn, seq));
        let with =
            |writer: &Writer, turns: &[TurnMark]| Append { turns: turns.to_vec(), ..writer.append(["turn"]) };
        for wrong in [&[end][..], &[end, start], &[start, start], &[start, end, end]] {
            let answer = store.journal.append(with(&writer, wrong).into()).await;
            assert!(matches!(answer, Err(AppendError::Corrupt { .. })), "{wrong:?}: {answer:?}");
        }
        let append = with(&writer, &[start, end]);
        writer.write(&store, append).await;
        for wrong in [start, end] {
            let answer = store.journal.append(with(&writer, &[wrong]).into()).await;
            assert!(matches!(answer, Err(AppendError::Corrupt { .. })), "{wrong:?}: {answer:?}");
        }
    });
}

#[test]
fn an_append_may_write_to_its_own_session() {
    check(1 << 20, |store, mut writer| async move {
        let mut append = writer.append(["to myself"]);
        append.post_mail = vec![post(writer.session, MailKind::Decide, "later")];
        let mut refused = append.clone();
        refused.post_mail.push(post(unique(), MailKind::Decide, "to nobody"));
        assert!(store.journal.append(refused.into()).await.is_err(), "mail to nobody is refused");
        writer.write(&store, append).await;
        let waiting = store.mailbox.waiting(writer.session, Lane::Control, None, 9).await.unwrap();
        assert_eq!(waiting.len(), 1);
    });
}
