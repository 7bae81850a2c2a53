//! What a host is told when what it names can't be used.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::sqlite::{SqliteKeys, SqliteOptions, SqliteStore};
use agent_shell_core::{Error, ErrorKind, Shell, Subject, Tenant};

#[tokio::test]
async fn a_wrong_name_of_a_session_is_told_as_such() {
    let shell = Shell::volatile().open().await.unwrap();
    for (name, problem) in [
        ("", "is empty: give it at least one character"),
        ("a\nb", "holds a control character: remove it"),
        (&"x".repeat(257), "has 257 bytes: at most 256 are allowed"),
    ] {
        let of_a_tenant = shell.session_of(Tenant::default(), name, Subject::None);
        for refused in [shell.session(name), of_a_tenant] {
            let error = refused.expect_err("the name is wrong");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert_eq!(error.to_string(), format!("the session's name {problem}"));
        }
    }
    shell.shutdown().await.unwrap();
}

/// What `Shell::at`, the store and the keys say of a path.
async fn refusals(path: &Path) -> [Error; 3] {
    let clock = || Arc::new(SystemClock::new());
    let store = SqliteStore::open(path, SqliteOptions::default(), clock()).await;
    let keys = SqliteKeys::open(path, SqliteOptions::default(), clock()).await;
    [
        Shell::at(path).open().await.expect_err("a shell"),
        store.expect_err("a store").into(),
        keys.expect_err("keys").into(),
    ]
}

#[tokio::test]
async fn a_path_at_which_no_file_can_lie_is_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    std::fs::create_dir(at("folder")).unwrap();
    std::fs::write(at("file"), "text").unwrap();
    let show = |path: PathBuf| path.display().to_string();
    let (folder_there, file) = (show(at("folder")), show(at("file")));
    let (missing, deeper) = (show(at("missing")), show(at("file/deeper")));
    for (path, told) in [
        (
            "missing/a.db",
            format!(
                "the folder {missing} is not there, so {missing}/a.db can't lie in it: make the folder first"
            ),
        ),
        ("file/a.db", format!("{file} is no folder, so {file}/a.db can't lie in it: choose another path")),
        (
            "file/deeper/a.db",
            format!("{deeper} is no folder, so {deeper}/a.db can't lie in it: choose another path"),
        ),
        ("folder", format!("{folder_there} is a folder: name a file in it, such as {folder_there}/shell.db")),
    ] {
        for error in refusals(&at(path)).await {
            assert_eq!((error.kind(), error.to_string()), (ErrorKind::InvalidInput, told.clone()));
        }
    }
    for error in refusals(Path::new("")).await {
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    let mut left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["file", "folder"], "nothing was made");
    assert_eq!(std::fs::read_dir(at("folder")).unwrap().count(), 0, "nor in the folder");
}
