//! Budgets under load: a small run of the program that must end well, and command lines that it refuses.

use std::process::{Command, Output};

use serde_json::Value;

fn spend(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_spend")).args(arguments.split_whitespace()).output().unwrap()
}

#[test]
fn owners_that_die_pass_no_ceiling_and_leave_nothing_reserved() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let load = "--sessions 80 --rounds 2 --workers 3 --kills 6 --stops 1 --seed 3 --finish-within 120";
    let places = format!("--dir {} --json {}", folder.path().join("run").display(), file.display());
    let output = spend(&format!("{load} {places}"));
    let (table, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{table}{errors}");
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let verdict = &report["verdict"];
    assert_eq!(verdict["violations"], serde_json::json!([]));
    assert_eq!(verdict["counts"]["turns"], 160, "{table}");
    // What is judged was there to be judged.
    let some = [&verdict["refused"], &verdict["operations"]["swept"]];
    assert!(some.iter().all(|count| count.as_u64() > Some(0)), "{table}");
    assert!(verdict["counts"]["at_once"].as_u64() >= Some(80), "{table}");
    assert!(verdict["overruns"].as_u64() > Some(0) && report["reopened"].as_u64() > Some(0), "{table}");
    assert!(report["later_bills"].as_u64() > Some(0), "{table}");
    assert!(verdict["counts"]["cancelled"].as_u64() > Some(0), "{table}");
    assert!(report["kills"].as_u64() > Some(0), "{table}");
}

#[test]
fn a_wrong_command_line_is_refused() {
    for (arguments, named) in [
        ("--kils 3", "--kils"),
        ("--sessions 0", "--sessions"),
        ("--workers 0", "--workers"),
        ("walk", "walk"),
    ] {
        let output = spend(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(named), "{arguments}");
    }
}
