//! The small programs: each ends well by itself, says what it shows, and is short enough to be read at a glance.

use std::path::Path;
use std::process::Command;

/// Runs a program that must succeed, and returns what it printed.
fn printed(program: &str, arguments: &[&Path]) -> Vec<String> {
    let output = Command::new(program).args(arguments).output().expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} ended with {}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn tools() {
    let answered = r#"{"answered":{"charge":"200 charged in attempt 2","post":"posted last","ship":"on its way","tax":238}}"#;
    let failed =
        r#"{"failed":{"code":"not_applied","message":"there is nothing to charge","step":"charge"}}"#;
    assert_eq!(printed(env!("CARGO_BIN_EXE_tools"), &[]), [answered, failed]);
}

#[test]
fn parallel_plan() {
    let sum = r#"{"cities":["Oslo","Rome","Trondheim"],"offers":17}"#;
    assert_eq!(printed(env!("CARGO_BIN_EXE_parallel_plan"), &[]), [sum]);
}

#[test]
fn plan_by_model() {
    let told = r#"it was told: "step `p`: there is no tool `prices`: there are price, refund""#;
    assert_eq!(
        printed(env!("CARGO_BIN_EXE_plan_by_model"), &[]),
        ["1250 cents of A-17 were paid back", told]
    );
}

#[test]
fn budget() {
    let read = r#"{"answered":"3 pages read"}"#;
    let exceeded = "20000000 of nano_usd were asked for, and 10000000 are left of a User's budget";
    let none = "1 of tool_calls were asked for, and 0 are left of a Turn's budget";
    assert_eq!(printed(env!("CARGO_BIN_EXE_budget"), &[]), [none, read, read, exceeded]);
}

#[test]
fn fork() {
    let lines = [
        "[900 cents of A-17 are paid back]",
        "You have 900 cents back.",
        "by-same: 900 cents are back.",
        "  another answer; model default -> same",
        "by-generous: I could not pay that.",
        "  another answer; model default -> generous; calls refund, with other arguments or ends; \
         calls not made, for effects are off: 1",
        "the session itself: 1 turn, 4 messages",
    ];
    assert_eq!(printed(env!("CARGO_BIN_EXE_fork"), &[]), lines);
}

/// The gate lets a harmless change in, and keeps out one that makes the agent worse.
#[test]
fn evaluation_in_ci() {
    let good = printed(env!("CARGO_BIN_EXE_evaluation_in_ci"), &[]);
    assert_eq!(good.last().map(String::as_str), Some("the gate is passed"), "{good:?}");
    assert!(good.contains(&"0 cases went otherwise with `changed` than with `today`".to_owned()), "{good:?}");

    let worse =
        Command::new(env!("CARGO_BIN_EXE_evaluation_in_ci")).arg("Answer at once, without tools.").output();
    let worse = worse.expect("the program starts");
    assert_eq!(worse.status.code(), Some(1));
    let text = String::from_utf8_lossy(&worse.stdout);
    let changed = "  where: another answer; contains 1.00 -> 0.00; calls track -> none\n";
    assert!(text.contains(changed), "{text}");
    let fell = "the mean of `contains` is lower by 0.500, and 0.02 is allowed (1 of 2 cases are worse)";
    assert!(text.ends_with(&format!("the gate is not passed\n  `changed`: {fell}\n")), "{text}");
}

#[test]
fn approval() {
    let lines = [
        r#"waits for a person: {"order":"A-17"}"#,
        r#"{"answered":"A-17 is refunded"}"#,
        r#"waits for a person: {"order":"A-18"}"#,
        r#"{"failed":{"code":"denied","message":"the parcel is on its way","step":"refund"}}"#,
    ];
    assert_eq!(printed(env!("CARGO_BIN_EXE_approval"), &[]), lines);
}

/// README shows the whole program, and it does what README says: run twice, the turn is there once.
#[test]
fn first_embedding() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = std::fs::read_to_string(root.join("src/bin/first_embedding.rs")).unwrap();
    let readme = std::fs::read_to_string(root.join("../README.md")).unwrap();
    let (heading, program) = program.split_once('\n').unwrap();
    assert!(heading.starts_with("//! README's first embedding"), "{heading}");
    assert!(readme.contains(&format!("```rust,no_run\n{program}```\n")), "README shows another program");

    let folder = tempfile::tempdir().unwrap();
    let lines = || {
        let output =
            Command::new(env!("CARGO_BIN_EXE_first_embedding")).current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let first = lines();
    let [asked, paid, answer] = &first[..] else { panic!("{first:?}") };
    assert_eq!(asked, r#"asked to refund {"cents":1250,"order":"A-17"}"#);
    assert!(paid.starts_with("pays 1250 cents of A-17 back, under the key "), "{paid}");
    assert_eq!(answer, "Your order A-17 is refunded.");
    assert_eq!(lines(), ["Your order A-17 is refunded."], "nobody is asked or paid again");
}

#[test]
fn crash_and_resume() {
    let program = env!("CARGO_BIN_EXE_crash_and_resume");
    let folder = tempfile::tempdir().unwrap();
    // In a folder of the caller's it may run again; the journal grows, and each run has a turn of its own.
    let mut keys = Vec::new();
    for arguments in [&[][..], &[folder.path()], &[folder.path()]] {
        let lines = printed(program, arguments);
        let [end, key, answer] = &lines[..] else { panic!("{lines:?}") };
        assert!(cfg!(not(unix)) || end == "the first process ended by signal: 9 (SIGKILL)", "{end}");
        assert_eq!(*answer, format!(r#"{{"attempt":2,"key":"{key}"}}"#));
        keys.push(key.clone());
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 3, "each turn has a key of its own");
    assert!(folder.path().join("shell.db").exists());
}

#[test]
fn events() {
    let lines = [
        "1 agent-shell.turn-started.v1 -",
        "2 agent-shell.rest-opened.v1 -",
        "3 agent-shell.rest-ended.v1 denied",
        "4 agent-shell.turn-ended.v1 -",
    ];
    assert_eq!(printed(env!("CARGO_BIN_EXE_events"), &[]), lines);
}

#[test]
fn archive() {
    let lines = [
        "1 session left with 6 records",
        "it takes nothing: true",
        "its file can be read: 6 records",
        "it came back, and went on",
        "1 session expired, with 2 files",
    ];
    assert_eq!(printed(env!("CARGO_BIN_EXE_archive"), &[]), lines);
}

#[test]
fn own_backend() {
    let properties = printed(env!("CARGO_BIN_EXE_own_backend"), &[]);
    assert!(
        properties.iter().any(|line| line == "proved: a_destroyed_key_is_gone_for_good"),
        "{properties:?}"
    );
    assert!(properties.iter().all(|line| line.starts_with("proved: ")), "{properties:?}");
}

#[test]
fn chat_with_tools() {
    let lines = [
        "> Where is A-17?",
        r#"[call-1-1 found {"at":"Rotterdam","order":"A-17"}]"#,
        "Order A-17 is in Rotterdam.",
        "> Thank you!",
        "You are welcome.",
    ];
    assert_eq!(printed(env!("CARGO_BIN_EXE_chat_with_tools"), &[]), lines);
}

#[test]
fn typed_answer() {
    let lines = [
        "Verdict { refund: true, cents: 1250 }, after 2 answers",
        "Verdict { refund: false, cents: 0 }",
        "no verdict, after 7 answers",
    ];
    assert_eq!(printed(env!("CARGO_BIN_EXE_typed_answer"), &[]), lines);
}

#[test]
fn approval_from_a_separate_process() {
    let lines = [
        "the first process waits for a person",
        r#"the second process approves {"order":"A-17"}"#,
        "the first process: A-17 is refunded",
    ];
    assert_eq!(printed(env!("CARGO_BIN_EXE_approval_from_a_separate_process"), &[]), lines);
}

#[test]
fn testing_an_agent() {
    let lines = printed(env!("CARGO_BIN_EXE_testing_an_agent"), &[]);
    let [survives, attempts, bug] = &lines[..] else { panic!("{lines:?}") };
    let places =
        survives.strip_prefix("the agent survives a crash at ").and_then(|rest| rest.split(' ').next());
    assert!(
        places.and_then(|places| places.parse().ok()).is_some_and(|places: u32| places > 6),
        "{survives}"
    );
    assert_eq!(attempts, "cut off before it is recorded, the refund takes 2 attempts under one key");
    assert!(bug.starts_with("without the key: with a crash before record "), "{bug}");
    assert!(bug.contains("the effects are [") && bug.contains("and without the crash they are ["), "{bug}");
}

#[test]
fn sub_agent() {
    let lines = [
        "A-17:",
        "  booked A-17",
        "  told: A-17 is booked",
        r#"  the child of step `clerk`: {"answered":"A-17 is booked"}"#,
        "B-18:",
        "  booked B-18",
        "  took the booking of B-18 back",
        "  failed: it is no order of ours",
        r#"  the child of step `clerk`: "cancelled""#,
    ];
    assert_eq!(printed(env!("CARGO_BIN_EXE_sub_agent"), &[]), lines);
}

#[test]
fn saga() {
    let lines = [
        "  booked a train",
        "  booked a room",
        "  gave back a room",
        "  gave back a train",
        r#"failed: there is no such flight; {"left":[],"undone":["leg-1","leg-0"]}"#,
        "  booked a bus",
        "  booked a tent",
        "  gave back a tent",
        "  gave back a bus",
        r#""cancelled": {"left":[],"undone":["leg-1","leg-0"]}"#,
    ];
    assert_eq!(printed(env!("CARGO_BIN_EXE_saga"), &[]), lines);
}

/// Rome is never looked at, and all that was said ends with the turn into which it was said.
#[test]
fn steering() {
    let lines = printed(env!("CARGO_BIN_EXE_steering"), &[]);
    assert_eq!(lines[..2], [r#"looking at "Oslo""#, r#"looking at "Bergen""#]);
    assert_eq!(lines[2..5], [r#"{"answered":{"seen":"Bergen"}}"#; 3]);
    assert!(lines[5].starts_with("told: ") && lines[5].contains("it was not made"), "{lines:?}");
    let said = |text: &str| format!(r#"told: {{"user":[{{"text":"{text}"}}]}}"#);
    assert_eq!(lines[6..], [said("Trains only, please"), said("Not Rome: Bergen!")]);
}

#[test]
fn each_has_at_most_sixty_lines() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin");
    let programs = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut seen = 0;
    for program in programs.filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        let lines = std::fs::read_to_string(&program).unwrap().lines().count();
        assert!(lines <= 60, "{} has {lines} lines", program.display());
        seen += 1;
    }
    assert!(seen >= 12, "only {seen} programs were found");
}

#[test]
fn own_guard() {
    let lines = [
        r#"{"answered":"900 cents of A-17"}"#,
        r#"{"failed":{"code":"guard","message":"the guard `desk` denied it: it is no order of ours","step":"refund"}}"#,
        "the guard `desk` asks: it is more than 100 euros",
        r#"{"answered":"20000 cents of A-18"}"#,
        r#"{"answered":"50000 cents of A-19"}"#,
        "4 rulings stand in the journal",
    ];
    assert_eq!(printed(env!("CARGO_BIN_EXE_own_guard"), &[]), lines);
}

#[test]
fn untrusted_content() {
    let lines = [
        "without a guard:",
        "  sent to eve@outside.example: 4711-X",
        "held:",
        "  the guard `hold-untrusted` asks: content from outside was read before, and this call can't be taken back or \
         can carry data out",
        "  /text from the tool `door_code` in step `call-3-1`",
        "  /to from the tool `read_page` in step `call-1-1` (untrusted)",
        "  It is sunny.",
    ];
    assert_eq!(printed(env!("CARGO_BIN_EXE_untrusted_content"), &[]), lines);
}
