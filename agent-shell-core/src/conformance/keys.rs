//! Keys: made once, kept, and when they are destroyed, gone for good.

use std::sync::Arc;

use futures::future::join_all;

use super::KeyFixture;
use super::concurrency::spawn;
use super::scene::digest_of;
use crate::data::{DataKey, KeyId};
use crate::ports::{KeyError, KeyStore};

fn id(name: &str) -> KeyId {
    KeyId(digest_of(name))
}

fn key(name: &str) -> DataKey {
    DataKey::from_bytes(*digest_of(format!("the bytes of key {name}")).as_bytes())
}

/// What can be compared of an answer.
fn bytes(answer: Result<DataKey, KeyError>) -> Result<[u8; 32], KeyError> {
    answer.map(|key| *key.expose())
}

async fn reopened(fixture: &dyn KeyFixture, keys: Arc<dyn KeyStore>) -> Arc<dyn KeyStore> {
    fixture.reopen(keys).await.expect("the fixture of a durable key store must open its data again")
}

/// A key that was made is the one that is fetched, and each id has its own.
pub async fn a_key_is_kept(fixture: &dyn KeyFixture) {
    let keys = fixture.keys().await;
    for name in ["a", "b"] {
        let made = bytes(keys.create(id(name), key(name)).await);
        assert_eq!(made, Ok(*key(name).expose()), "a new id must get the fresh key");
    }
    for name in ["b", "a"] {
        let fetched = bytes(keys.fetch(id(name)).await);
        assert_eq!(fetched, Ok(*key(name).expose()), "a key must be fetched as it was made");
    }
}

/// Who makes a key again gets the first one.
pub async fn a_key_is_made_once(fixture: &dyn KeyFixture) {
    let keys = fixture.keys().await;
    for attempt in ["first", "second", "third"] {
        let made = bytes(keys.create(id("a"), key(attempt)).await);
        assert_eq!(made, Ok(*key("first").expose()), "a key that exists must be returned, not replaced");
    }
    assert_eq!(bytes(keys.fetch(id("a")).await), Ok(*key("first").expose()), "the first key must stay");
}

/// However many make a key at once, all get the same one.
pub async fn a_key_is_made_once_under_concurrent_callers(fixture: &dyn KeyFixture) {
    let keys = fixture.keys().await;
    for round in 0..8 {
        let name = format!("contended {round}");
        let made = (0..8).map(|caller| {
            let (keys, name) = (keys.clone(), name.clone());
            spawn(async move { bytes(keys.create(id(&name), key(&format!("{name} {caller}"))).await) })
        });
        let made = join_all(made).await;
        let kept = bytes(keys.fetch(id(&name)).await);
        assert!(kept.is_ok(), "a key that was made must be there: {kept:?}");
        assert!(made.iter().all(|made| *made == kept), "concurrent callers must all get the same key");
    }
}

/// A key that never was is lost, not destroyed: nobody may take a missing key file for a purge.
pub async fn a_missing_key_is_lost_not_destroyed(fixture: &dyn KeyFixture) {
    let keys = fixture.keys().await;
    assert_eq!(bytes(keys.fetch(id("never")).await), Err(KeyError::Lost), "a key that never was is lost");
    assert!(keys.create(id("other"), key("other")).await.is_ok(), "a key store must make a key");
    assert_eq!(bytes(keys.fetch(id("never")).await), Err(KeyError::Lost), "also beside other keys");
}

/// A destroyed key never comes back, whatever is asked.
pub async fn a_destroyed_key_is_gone_for_good(fixture: &dyn KeyFixture) {
    let keys = fixture.keys().await;
    for name in ["gone", "kept"] {
        assert!(keys.create(id(name), key(name)).await.is_ok(), "a key store must make a key");
    }
    for _ in 0..2 {
        assert_eq!(keys.destroy(id("gone")).await, Ok(()), "a key may be destroyed, also again");
        let fetched = bytes(keys.fetch(id("gone")).await);
        assert_eq!(fetched, Err(KeyError::Destroyed), "a destroyed key is said to be destroyed");
        let made = bytes(keys.create(id("gone"), key("new")).await);
        assert_eq!(made, Err(KeyError::Destroyed), "a destroyed key must not be made anew");
    }
    assert_eq!(bytes(keys.fetch(id("kept")).await), Ok(*key("kept").expose()), "other keys must stay");
}

/// Destroying an id that never was leaves a tombstone too, so that a late `create` finds it.
pub async fn a_tombstone_needs_no_key(fixture: &dyn KeyFixture) {
    let keys = fixture.keys().await;
    assert_eq!(keys.destroy(id("never")).await, Ok(()), "an id that never was may be destroyed");
    let made = bytes(keys.create(id("never"), key("late")).await);
    assert_eq!(made, Err(KeyError::Destroyed), "a tombstone must refuse a later key");
    assert_eq!(bytes(keys.fetch(id("never")).await), Err(KeyError::Destroyed), "and be found");
}

/// Keys and their absence are the same after a reopening.
pub async fn keys_outlive_a_reopening(fixture: &dyn KeyFixture) {
    let keys = fixture.keys().await;
    for name in ["a", "b"] {
        assert!(keys.create(id(name), key(name)).await.is_ok(), "a key store must make a key");
    }
    let keys = reopened(fixture, keys).await;
    for name in ["a", "b"] {
        assert_eq!(
            bytes(keys.fetch(id(name)).await),
            Ok(*key(name).expose()),
            "a key must outlive a reopening"
        );
        let made = bytes(keys.create(id(name), key("new")).await);
        assert_eq!(made, Ok(*key(name).expose()), "a key must not be replaced after a reopening");
    }
    assert_eq!(bytes(keys.fetch(id("never")).await), Err(KeyError::Lost), "a key that never was is lost");
}

/// A tombstone outlives a reopening: a destroyed key is still destroyed, and not lost.
pub async fn tombstones_outlive_a_reopening(fixture: &dyn KeyFixture) {
    let keys = fixture.keys().await;
    for name in ["gone", "kept"] {
        assert!(keys.create(id(name), key(name)).await.is_ok(), "a key store must make a key");
    }
    for name in ["gone", "never"] {
        assert_eq!(keys.destroy(id(name)).await, Ok(()), "a key may be destroyed");
    }
    let keys = reopened(fixture, keys).await;
    for name in ["gone", "never"] {
        let fetched = bytes(keys.fetch(id(name)).await);
        assert_eq!(fetched, Err(KeyError::Destroyed), "a destroyed key must stay destroyed");
        let made = bytes(keys.create(id(name), key("new")).await);
        assert_eq!(made, Err(KeyError::Destroyed), "a destroyed key must not be made anew");
    }
    assert_eq!(bytes(keys.fetch(id("kept")).await), Ok(*key("kept").expose()), "other keys must stay");
}

/// After a key was destroyed its bytes stand in no file of the store, open or opened again. A fixture that can't
/// search its store says so, and checks this in its own way.
pub async fn a_destroyed_key_leaves_no_bytes(fixture: &dyn KeyFixture) {
    let keys = fixture.keys().await;
    for name in ["gone", "kept"] {
        assert!(keys.create(id(name), key(name)).await.is_ok(), "a key store must make a key");
    }
    let Some(held) = fixture.holds(key("gone").expose()).await else { return };
    assert!(held, "the fixture must find a key that the store holds, else it proves nothing by finding none");
    assert_eq!(keys.destroy(id("gone")).await, Ok(()), "a key may be destroyed");
    let held = fixture.holds(key("gone").expose()).await;
    assert_eq!(held, Some(false), "a destroyed key must stand in no file of the store");
    let _keys = reopened(fixture, keys).await;
    let held = fixture.holds(key("gone").expose()).await;
    assert_eq!(held, Some(false), "a destroyed key must stand in no file of the store after a reopening");
    assert_eq!(fixture.holds(key("kept").expose()).await, Some(true), "other keys must stay");
}
