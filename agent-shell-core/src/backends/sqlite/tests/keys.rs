//! Keys: who can read the file, and what is left of a key that was destroyed.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::join_all;

use super::run;
use crate::backends::SystemClock;
use crate::backends::sqlite::{SqliteKeys, SqliteOptions, file};
use crate::conformance::digest_of;
use crate::data::{DataKey, KeyId};
use crate::ports::{KeyError, KeyStore};

async fn opened(path: &Path) -> SqliteKeys {
    let opened = SqliteKeys::open(path, SqliteOptions::default(), Arc::new(SystemClock::new())).await;
    opened.expect("the key store opens")
}

fn id(number: u32) -> KeyId {
    KeyId(digest_of(format!("id {number}")))
}

fn key(number: u32) -> [u8; 32] {
    *digest_of(format!("key {number}")).as_bytes()
}

/// All bytes of the files in a folder.
fn bytes_in(folder: &Path) -> Vec<u8> {
    let files = std::fs::read_dir(folder).unwrap();
    files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

/// Which of so many keys have their bytes, or the first half of them, somewhere in a folder.
fn found_in(folder: &Path, keys: u32) -> Vec<u32> {
    let bytes = bytes_in(folder);
    let halves: std::collections::HashMap<[u8; 16], u32> =
        (0..keys).map(|number| (*key(number).first_chunk().unwrap(), number)).collect();
    let mut found: Vec<u32> = bytes.windows(16).filter_map(|window| halves.get(window).copied()).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn nobody_else_can_read_the_file() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let fresh = SqliteKeys::path_beside(folder.path().join("fresh.db"));
        let keys = opened(&fresh).await;
        keys.create(id(1), DataKey::from_bytes(key(1))).await.unwrap();
        assert_eq!(mode(&fresh), 0o600);
        assert_eq!(fresh.file_name().unwrap(), "fresh.db.keys");
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            assert_eq!(mode(&entry.unwrap().path()), 0o600, "also of what lies beside it");
        }
        let wide = folder.path().join("wide.keys");
        std::fs::write(&wide, "").unwrap();
        std::fs::set_permissions(&wide, std::fs::Permissions::from_mode(0o644)).unwrap();
        drop(opened(&wide).await);
        assert_eq!(mode(&wide), 0o600, "a file that others could read is closed to them");
    });
}

/// Many keys, on many pages that split and shrink: a copy of a key may be left where a page was rearranged.
#[test]
fn destroyed_keys_leave_no_bytes_however_many() {
    const KEYS: u32 = 1500;
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let keys = opened(&folder.path().join("keys")).await;
        // An order that has nothing to do with that of the rows.
        let scrambled = |number: u32| number.wrapping_mul(2_654_435_761);
        let gone = |number: u32| scrambled(number) % 10 < 7;
        for some in (0..KEYS).collect::<Vec<_>>().chunks(100) {
            let made = join_all(
                some.iter().map(|&number| keys.create(id(number), DataKey::from_bytes(key(number)))),
            );
            assert!(made.await.iter().all(Result::is_ok));
        }
        assert_eq!(found_in(folder.path(), KEYS).len() as u32, KEYS, "the search finds what is there");
        let mut destroyed: Vec<u32> = (0..KEYS).filter(|&number| gone(number)).collect();
        destroyed.sort_by_key(|&number| scrambled(number));
        for some in destroyed.chunks(70) {
            assert!(
                join_all(some.iter().map(|&number| keys.destroy(id(number)))).await.iter().all(Result::is_ok)
            );
        }
        let kept: Vec<u32> = (0..KEYS).filter(|&number| !gone(number)).collect();
        assert_eq!(found_in(folder.path(), KEYS), kept, "only the keys that were kept may be found");
        drop(keys);
        let keys = opened(&folder.path().join("keys")).await;
        assert_eq!(keys.fetch(id(kept[0])).await.map(|key| *key.expose()), Ok(key(kept[0])));
        assert_eq!(keys.fetch(id(destroyed[0])).await.map(drop), Err(KeyError::Destroyed));
    });
}

#[test]
fn keys_of_the_first_format_are_read_and_later_ones_are_proven() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let first = file::Format { migrations: &file::KEYS.migrations[..1], ..file::KEYS };
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute_batch(first.migrations[0]).unwrap();
        let stamp = format!("PRAGMA application_id = {}; PRAGMA user_version = 1", first.application_id);
        connection.execute_batch(&stamp).unwrap();
        let made = "INSERT INTO keys (id, key, created_at) VALUES (?1, ?2, 0)";
        connection.execute(made, (id(1).0.as_bytes(), key(1))).unwrap();
        drop(connection);
        let keys = opened(&path).await;
        assert_eq!(keys.fetch(id(1)).await.map(|found| *found.expose()), Ok(key(1)));
        keys.create(id(2), DataKey::from_bytes(key(2))).await.unwrap();
        drop(keys);
        let connection = rusqlite::Connection::open(&path).unwrap();
        assert_eq!(connection.execute("UPDATE keys SET key = ?1 WHERE proof IS NOT NULL", (key(3),)), Ok(1));
        drop(connection);
        let changed = opened(&path).await.fetch(id(2)).await.map(drop);
        assert!(matches!(changed, Err(KeyError::Corrupt { .. })), "{changed:?}");
    });
}

#[test]
fn two_handles_share_the_keys() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let (one, two) = (opened(&path).await, opened(&path).await);
        let made = one.create(id(1), DataKey::from_bytes(key(1))).await.unwrap();
        let again = two.create(id(1), DataKey::from_bytes(key(2))).await.unwrap();
        assert_eq!(made.expose(), again.expose(), "the first key stays");
        two.destroy(id(1)).await.unwrap();
        assert_eq!(one.fetch(id(1)).await.map(drop), Err(KeyError::Destroyed));
    });
}
