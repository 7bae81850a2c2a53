//! History comes from git or says why not.

use super::super::tests::{folder_of, open};
use super::*;

fn git(folder: &tempfile::TempDir, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false"]);
    let status = command.args(arguments).current_dir(folder.path()).stdout(Stdio::null()).status();
    assert!(status.expect("these tests need git").success());
}

fn reason(history: History) -> String {
    match history {
        History::Absent { reason } => reason,
        History::Commits(commits) => panic!("{commits:?}"),
    }
}

#[test]
fn commits_are_listed_newest_first() {
    let folder = folder_of(&[("a", "1"), ("sub/b", "2")]);
    git(&folder, &["init", "--quiet"]);
    git(&folder, &["add", "a"]);
    git(&folder, &["commit", "--quiet", "--message", "first\n\nbody"]);
    git(&folder, &["add", "sub"]);
    git(&folder, &["commit", "--quiet", "--message", "second\u{1f}half", "--date", "2026-01-31T00:00:00Z"]);
    let History::Commits(commits) = history(&open(&folder)) else { panic!() };
    let subjects: Vec<_> = commits.iter().map(|commit| commit.subject.as_str()).collect();
    assert_eq!(subjects, ["second\u{1f}half", "first"]);
    assert_eq!((commits[0].author.as_str(), commits[0].date.as_str()), ("Ann", "2026-01-31"));
    assert_eq!(commits[0].id.len(), 40);
    // Only what touches the folder under review.
    let sub = Folder::open(&folder.path().join("sub"), super::super::Limits::default()).unwrap();
    let History::Commits(commits) = history(&sub) else { panic!() };
    assert_eq!(commits.len(), 1);
}

#[test]
fn no_repository_and_no_commit_are_reasons() {
    let folder = folder_of(&[]);
    assert_eq!(reason(history(&open(&folder))), "the folder is not in a git repository");
    git(&folder, &["init", "--quiet"]);
    let reason = reason(history(&open(&folder)));
    assert!(reason.contains("does not have any commits"), "{reason}");
}

#[test]
fn no_git_is_a_reason() {
    let reason = run(&mut Command::new("/nonexistent/git"), DEADLINE).unwrap_err();
    assert_eq!(reason, "git is not installed");
}

#[test]
fn a_git_that_hangs_is_given_up() {
    let deadline = Duration::from_millis(50);
    let reason = run(Command::new("sleep").arg("600"), deadline).unwrap_err();
    assert!(reason.contains("did not answer"), "{reason}");
}

#[test]
fn output_without_end_is_cut() {
    let output = run(Command::new("yes").arg("x".repeat(100)), DEADLINE).unwrap();
    assert_eq!(output.len() as u64, MAX_OUTPUT_BYTES);
}
