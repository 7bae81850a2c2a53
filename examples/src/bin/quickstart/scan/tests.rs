//! What the scanners see of a folder, and what they leave out.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use tempfile::TempDir;

use super::*;

/// A folder with these files, each with the given text.
pub(super) fn folder_of(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

pub(super) fn open(folder: &TempDir) -> Folder {
    Folder::open(folder.path(), Limits::default()).unwrap()
}

/// The paths under review, and what is left out.
fn check(folder: &Folder) -> (Vec<String>, Vec<(String, Reason)>) {
    let reviewed = folder.listing().unwrap().files.iter().map(|file| file.name()).collect();
    let left_out = files(folder).unwrap().left_out;
    assert!(left_out.is_complete());
    (reviewed, left_out.items.into_iter().map(|left_out| (left_out.path, left_out.reason)).collect())
}

#[test]
fn gitignore_is_honoured_without_a_repository() {
    let folder = folder_of(&[
        (".gitignore", "*.log\n/build\n"),
        ("a.rs", ""),
        ("a.log", ""),
        ("build/b.rs", ""),
        ("sub/build/c.rs", ""),
        ("sub/.gitignore", "d.rs"),
        ("sub/d.rs", ""),
    ]);
    let (reviewed, left_out) = check(&open(&folder));
    assert_eq!(reviewed, [".gitignore", "a.rs", "sub/.gitignore", "sub/build/c.rs"]);
    assert_eq!(left_out, []);
}

#[test]
fn the_programs_own_folders_are_not_reviewed() {
    let folder =
        folder_of(&[("a.rs", ""), (".git/config", ""), (".agent-shell/journal", ""), ("mine/tickets", "")]);
    let named = folder.path().join("sub/../mine");
    fs::create_dir(folder.path().join("sub")).unwrap();
    let folder = open(&folder).without(&named);
    assert_eq!(check(&folder).0, ["a.rs"]);
}

#[test]
fn a_state_folder_that_does_not_exist_yet_is_not_reviewed_later() {
    let folder = folder_of(&[("a.rs", "")]);
    let state = folder.path().join("state");
    let opened = open(&folder).without(&state);
    fs::create_dir(&state).unwrap();
    fs::write(state.join("journal"), "").unwrap();
    assert_eq!(check(&opened).0, ["a.rs"]);
}

#[test]
fn links_are_told_apart_and_not_followed() {
    let folder = folder_of(&[("sub/a.rs", "")]);
    let at = |name: &str| folder.path().join(name);
    symlink("nowhere", at("broken")).unwrap();
    symlink("itself", at("itself")).unwrap();
    symlink("pong", at("ping")).unwrap();
    symlink("ping", at("pong")).unwrap();
    symlink("..", at("sub/up")).unwrap();
    symlink("sub/a.rs", at("fine")).unwrap();
    let (reviewed, left_out) = check(&open(&folder));
    assert_eq!(reviewed, ["sub/a.rs"]);
    let expected = [
        ("broken", Reason::BrokenLink),
        ("fine", Reason::LinkNotFollowed),
        ("itself", Reason::LoopingLink),
        ("ping", Reason::LoopingLink),
        ("pong", Reason::LoopingLink),
        ("sub/up", Reason::LoopingLink),
    ];
    assert_eq!(left_out, expected.map(|(path, reason)| (path.to_owned(), reason)));
}

#[test]
fn a_folder_behind_a_link_is_reviewed_where_it_is() {
    let folder = folder_of(&[("real/a.rs", "")]);
    symlink("a.rs", folder.path().join("real/link")).unwrap();
    symlink("real", folder.path().join("link")).unwrap();
    let opened = Folder::open(&folder.path().join("link"), Limits::default()).unwrap();
    let (reviewed, left_out) = check(&opened);
    assert_eq!(reviewed, ["a.rs"]);
    assert_eq!(left_out, [("link".to_owned(), Reason::LinkNotFollowed)]);
}

#[test]
fn what_is_no_file_is_left_out_unopened() {
    let folder = folder_of(&[("a.rs", "")]);
    let _socket = UnixListener::bind(folder.path().join("socket")).unwrap();
    let (reviewed, left_out) = check(&open(&folder));
    assert_eq!(reviewed, ["a.rs"]);
    assert_eq!(left_out, [("socket".to_owned(), Reason::NotAFile)]);
}

#[test]
fn a_file_that_cannot_be_read_is_left_out() {
    // Permissions do not bind root, so the refusal comes through the seam.
    fn refuse_b(path: &Path) -> io::Result<u64> {
        if path.ends_with("b.rs") { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(1) }
    }
    let folder = folder_of(&[("a.rs", "x"), ("b.rs", "x")]);
    let (reviewed, left_out) = check(&open(&folder).with_probe(refuse_b));
    assert_eq!(reviewed, ["a.rs"]);
    assert_eq!(left_out, [("b.rs".to_owned(), Reason::Unreadable)]);
}

#[test]
fn the_walks_errors_name_the_path_that_failed() {
    let denied = ignore::Error::Io(io::ErrorKind::PermissionDenied.into());
    let path = ignore::Error::WithPath { path: "secret".into(), err: Box::new(denied) };
    let error = ignore::Error::WithDepth { depth: 1, err: Box::new(path) };
    assert_eq!(walk::failed_path(&error), Path::new("secret"));
}

#[test]
fn a_file_that_vanished_is_counted_by_who_reads_it() {
    let folder = folder_of(&[("a.rs", "x"), ("b.rs", "x")]);
    let opened = open(&folder);
    assert_eq!(files(&opened).unwrap().files, 2);
    fs::remove_file(folder.path().join("b.rs")).unwrap();
    let coverage = languages(&opened).unwrap().coverage;
    assert_eq!((coverage.read, coverage.failed), (1, 1));
}

#[test]
fn names_that_are_not_utf8_are_kept_apart() {
    let folder = folder_of(&[]);
    for name in [b"caf\xe9.rs", b"caf\xe8.rs"] {
        fs::write(folder.path().join(OsStr::from_bytes(name)), "fn main() {}\n").unwrap();
    }
    let opened = open(&folder);
    let (reviewed, left_out) = check(&opened);
    assert_eq!(reviewed, [r"caf\xE8.rs", r"caf\xE9.rs"]);
    assert!(left_out.iter().all(|(_, reason)| *reason == Reason::NameNotUtf8) && left_out.len() == 2);
    let rust = &languages(&opened).unwrap().languages[0];
    assert_eq!((rust.name.as_str(), rust.files, rust.lines), ("Rust", 2, Some(2)));
}

#[test]
fn an_empty_folder_is_a_valid_review() {
    let folder = folder_of(&[]);
    let opened = open(&folder);
    assert_eq!(check(&opened), (vec![], vec![]));
    assert!(languages(&opened).unwrap().languages.is_empty());
    assert!(headings(&opened).unwrap().documents.items.is_empty());
    assert!(notes(&opened).unwrap().notes.items.is_empty());
}

#[test]
fn what_is_no_folder_is_an_error_that_says_so() {
    let folder = folder_of(&[("file", "")]);
    let open = |name: &str| Folder::open(&folder.path().join(name), Limits::default()).unwrap_err();
    assert!(matches!(open("missing"), FolderError::Missing { .. }));
    assert!(matches!(open("file"), FolderError::NotAFolder { .. }));
    assert!(matches!(open("file/below"), FolderError::NotAFolder { .. }));
    symlink("itself", folder.path().join("itself")).unwrap();
    assert!(matches!(open("itself"), FolderError::Unreadable { .. }));
    assert!(open("missing").to_string().contains("missing"));
}

#[test]
fn a_folder_that_goes_away_is_an_error_of_the_scanner() {
    let folder = folder_of(&[]);
    let opened = open(&folder);
    fs::remove_dir(folder.path()).unwrap();
    assert!(matches!(files(&opened), Err(FolderError::Missing { .. })));
}

#[test]
fn files_beyond_the_limit_are_counted() {
    let folder = folder_of(&[("a", "1"), ("b", "22"), ("c/d", "333"), ("e", "4444")]);
    let opened = Folder::open(folder.path(), Limits { max_files: 2, ..Limits::default() }).unwrap();
    let seen = files(&opened).unwrap();
    assert_eq!((seen.files, seen.bytes, seen.folders), (2, 3, 1));
    assert_eq!(seen.left_out_by_reason, [(Reason::BeyondFileLimit, 2)].into());
    assert!(seen.left_out.items.is_empty() && seen.left_out.is_complete() && !seen.ended_early);
}

#[test]
fn a_walk_ends_at_its_limit_and_says_so() {
    let folder = folder_of(&[("a", ""), ("b", ""), ("c", "")]);
    let walked = |max_entries| {
        let opened = Folder::open(folder.path(), Limits { max_entries, ..Limits::default() }).unwrap();
        let seen = files(&opened).unwrap();
        (seen.files, seen.ended_early)
    };
    assert_eq!(walked(2), (2, true));
    assert_eq!(walked(3), (3, false));
}

#[test]
fn folders_that_lie_too_deep_are_named() {
    let folder = folder_of(&[("a/b/c", ""), ("a/d", "")]);
    let opened = Folder::open(folder.path(), Limits { max_depth: 2, ..Limits::default() }).unwrap();
    let (reviewed, left_out) = check(&opened);
    assert_eq!(reviewed, ["a/d"]);
    assert_eq!(left_out, [("a/b".to_owned(), Reason::TooDeep)]);
}

#[test]
fn bytes_are_bounded_per_file_and_in_all() {
    let folder = folder_of(&[("a.rs", "1\n2\n3\n4\n"), ("b.rs", "1\n"), ("c.rs", "1\n2\n")]);
    let limits = Limits { max_bytes_per_file: 4, max_bytes_total: 6, ..Limits::default() };
    let measured = languages(&Folder::open(folder.path(), limits).unwrap()).unwrap();
    let coverage = &measured.coverage;
    assert_eq!((coverage.read, coverage.cut_short, coverage.beyond_limit), (2, 1, 1));
    assert_eq!((measured.languages[0].lines, measured.languages[0].bytes), (Some(3), 14));
}

#[test]
fn binaries_do_not_use_up_the_bytes() {
    let binary = "\0".repeat(50_000);
    let text = "x".repeat(40_000) + "\n";
    let folder = folder_of(&[("a.bin", &binary), ("b.bin", &binary), ("c.rs", &text)]);
    let limits = Limits { max_bytes_total: 60_000, ..Limits::default() };
    let measured = languages(&Folder::open(folder.path(), limits).unwrap()).unwrap();
    let coverage = &measured.coverage;
    assert_eq!((coverage.read, coverage.binary, coverage.beyond_limit), (1, 2, 0));
    assert_eq!((measured.languages[1].name.as_str(), measured.languages[1].lines), ("Rust", Some(1)));
}

#[test]
fn languages_are_sorted_by_size_and_binaries_have_no_lines() {
    let folder = folder_of(&[
        ("a.rs", "fn a() {}\nfn b() {}"),
        ("b.PY", "pass\n"),
        ("c.toml", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\n"),
        ("Makefile", ""),
    ]);
    let measured = languages(&open(&folder)).unwrap();
    let rows: Vec<_> =
        measured.languages.iter().map(|row| (row.name.as_str(), row.files, row.lines)).collect();
    let expected =
        [("TOML", 1, None), ("Rust", 1, Some(2)), ("Python", 1, Some(1)), ("Makefile", 1, Some(0))];
    assert_eq!(rows, expected);
    assert_eq!(measured.coverage.binary, 1);
    let largest: Vec<_> = measured.largest.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(largest, ["c.toml", "a.rs", "b.PY"]);
}

#[test]
fn every_result_stays_within_its_bytes() {
    let folder = TempDir::new().unwrap();
    let long = "ü".repeat(120);
    let note =
        format!("// {}: {}\n", NoteKind::Todo.word(), "\u{1}".repeat(300)).repeat(30) + &"\n".repeat(300);
    for number in 0..1500 {
        let name = format!("{number}{long}");
        fs::write(folder.path().join(format!("{name}.rs")), &note).unwrap();
        fs::write(folder.path().join(format!("{name}.md")), "").unwrap();
        fs::write(folder.path().join(format!("{name}x.md")), format!("# {long}\n").repeat(30)).unwrap();
        symlink("nowhere", folder.path().join(&name)).unwrap();
        let large = fs::File::create(folder.path().join(format!("{name}.bin"))).unwrap();
        large.set_len(languages::VERY_LARGE_BYTES).unwrap();
    }
    let opened = open(&folder);
    let size = |result: &dyn Fn() -> serde_json::Result<Vec<u8>>| result().unwrap().len();
    for bytes in [
        size(&|| serde_json::to_vec(&files(&opened).unwrap())),
        size(&|| serde_json::to_vec(&languages(&opened).unwrap())),
        size(&|| serde_json::to_vec(&headings(&opened).unwrap())),
        size(&|| serde_json::to_vec(&notes(&opened).unwrap())),
    ] {
        assert!((20_000..=MAX_RESULT_BYTES).contains(&bytes), "{bytes} bytes");
    }
    let seen = files(&opened).unwrap();
    assert_eq!(seen.left_out_by_reason[&Reason::BrokenLink], 1500);
    assert_eq!(seen.left_out.items.len() as u64 + seen.left_out.left_out, 1500);
}

#[test]
fn a_result_survives_its_journal() {
    let folder = folder_of(&[("a.md", "# A\n"), ("b.md", ""), ("c.rs", "// TODO: x\n")]);
    symlink("nowhere", folder.path().join("broken")).unwrap();
    let folder = open(&folder);
    let review = Review {
        folder: folder.name(),
        files: files(&folder).unwrap(),
        languages: languages(&folder).unwrap(),
        headings: headings(&folder).unwrap(),
        notes: notes(&folder).unwrap(),
        history: history(&folder),
    };
    let json = serde_json::to_string(&review).unwrap();
    assert_eq!(serde_json::from_str::<Review>(&json).unwrap(), review);
}
