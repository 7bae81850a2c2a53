//! The events program: workers that are killed with SIGKILL, and what its judge finds.

use std::process::{Command, Output};

fn events(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crash_events")).args(arguments.split_whitespace()).output().unwrap()
}

#[test]
fn events_outlive_their_processes_at_least_once_and_effects_exactly_once() {
    for (workers, seed) in [(1, 11), (2, 12)] {
        let output = events(&format!("--kills 6 --workers {workers} --seed {seed} --finish-within 60"));
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{said}{errors}");
        assert!(said.contains("violations  0"), "{said}");
        let told = said.lines().find_map(|line| line.strip_prefix("events      ")).unwrap();
        assert!(told.parse::<u64>().unwrap() > 50, "{said}");
    }
}

#[test]
fn a_wrong_command_line_is_refused() {
    for (arguments, named) in [("--kils 3", "--kils"), ("--workers 0", "--workers"), ("walk", "walk")] {
        let output = events(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(named), "{arguments}");
    }
}
