//! The recorder as the crash harness uses it: a process that can be killed, and goes on where it was.

use std::process::Command;

use agent_shell_tests::recorder::{
    Applied, Class, Effect, RecorderError, RecorderProcess, Settings, StepName, Verdict, audit_log,
};
use serde_json::json;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_recorder"))
}

fn effect(number: u64) -> Effect {
    let key = format!("key-{number}");
    let (turn, step) = ("turn".into(), format!("step-{number}"));
    Effect { class: Class::Idempotent, turn, step, key, epoch: 1, attempt: 1, payload: json!({}) }
}

#[test]
fn a_killed_recorder_forgets_nothing_that_it_answered() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(folder.path().join("socket"), folder.path().join("log"));
    let mut number = 0;
    for _ in 0..3 {
        let recorder = RecorderProcess::start(program(), settings).unwrap();
        let client = recorder.client();
        for _ in 0..5 {
            number += 1;
            let applied = Verdict::Applied(Applied { times: 1, number });
            assert_eq!(client.effect(&effect(number)).unwrap(), applied);
        }
        assert_eq!(client.effect(&effect(1)).unwrap(), Verdict::Applied(Applied { times: 1, number: 1 }));
        settings = recorder.kill();
    }
    let audit = audit_log(&settings.log).unwrap();
    assert_eq!((audit.totals().applied, audit.totals().repeated), (15, 3));
    assert_eq!(audit.violations(), []);
    let first = audit.step(&StepName { turn: "turn".into(), step: "step-1".into() }).unwrap();
    assert_eq!((first.calls, first.applied), (4, 1));
}

#[test]
fn a_recorder_that_cannot_start_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new(folder.path().join("socket"), folder.path().join("missing/log"));
    let error = RecorderProcess::start(program(), settings).unwrap_err();
    assert!(matches!(error, RecorderError::Process(_)), "{error}");
}

#[test]
fn a_misspelt_argument_is_refused() {
    let output = program().args(["--socket", "s", "--log", "l", "--sed", "7"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--sed"));
}
