//! The crash harness as a program: a short run that must end well, and command lines that it refuses.

use std::process::{Command, Output};

use agent_shell_core::failpoint::Failpoint;
use agent_shell_tests::crash::is_elsewhere;
use serde_json::Value;

fn crash(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crash")).args(arguments.split_whitespace()).output().unwrap()
}

#[test]
fn a_few_kills_break_no_promise() {
    let report = report("--kills 8 --seed 4 --sessions 4 --controls 0");
    assert_eq!(report["kills"], 8);
    assert_eq!(report["violations"], serde_json::json!([]));
    let accepted = report["counts"]["accepted"].as_u64().unwrap();
    assert!(accepted > 4, "more than the closing turns: {report}");
    assert!(report["classes"]["irreversible"]["steps"].as_u64().unwrap() > 0, "{report}");
}

#[test]
fn a_run_in_which_people_meddle_breaks_no_promise() {
    let report = report("--kills 25 --seed 6 --sessions 1 --talks 0 --controls 6");
    let seen = [
        "taken_up",
        "interrupted",
        "superseded",
        "cancelled",
        "undone",
        "ruled_denied",
        "ruled_asked",
        "ruled_rewritten",
        "handed_off",
        "children",
        "forks",
    ];
    for what in seen {
        assert!(report["counts"][what].as_u64() > Some(0), "{what}: {report}");
    }
}

/// Runs the program and returns its report, which must tell of no violation.
fn report(arguments: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let journal = folder.path().join("run");
    let places = format!("--finish-within 180 --dir {} --json {}", journal.display(), file.display());
    let output = crash(&format!("{arguments} {places}"));
    let (table, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{table}{errors}");
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(report["violations"], serde_json::json!([]));
    report
}

#[test]
fn a_kill_at_each_failpoint_breaks_no_promise() {
    let report = report("--kills 2 --failpoints 1 --seed 5 --sessions 5");
    let (elsewhere, here): (Vec<Failpoint>, Vec<Failpoint>) =
        Failpoint::ALL.iter().partition(|point| is_elsewhere(**point));
    assert!(elsewhere.iter().all(|point| point.name().starts_with("archive.")), "{elsewhere:?}");
    for point in here {
        let at = &report["failpoints"][point.name()];
        assert!(at["hits"].as_u64() > Some(0) && at["kills"] == 1, "{point}: {at}");
    }
}

#[test]
fn owners_that_die_and_stand_still_break_no_promise() {
    let report = report("--kills 12 --owners 3 --stops --seed 9 --sessions 5");
    assert_eq!((&report["kills"], &report["owners"]), (&Value::from(12), &Value::from(3)));
    assert!(report["counts"]["epochs"].as_u64() > Some(1), "{report}");
}

#[test]
fn a_wrong_command_line_is_refused() {
    for (arguments, named) in [
        ("--kils 3", "--kils"),
        ("--sessions 0", "--sessions"),
        ("--controls 65", "--controls"),
        ("--owners 0", "--owners"),
        ("walk", "walk"),
    ] {
        let output = crash(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(named), "{arguments}");
    }
}
