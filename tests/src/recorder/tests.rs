//! The recorder in this process, spoken to through its client. Killing it as a process of its own is
//! tested where the binary is at hand, in `tests/all`.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

struct World {
    folder: TempDir,
    client: RecorderClient,
}

impl World {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::new(folder.path().join("socket"), folder.path().join("log"));
        change(&mut settings);
        let recorder = Recorder::open(settings).unwrap();
        thread::spawn(move || recorder.serve());
        let client = RecorderClient::new(folder.path().join("socket"));
        Self { folder, client }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn call(&self, class: Class, key: &str, epoch: u64) -> Verdict {
        self.client.effect(&effect(class, "s", key, epoch)).unwrap()
    }
}

fn effect(class: Class, step: &str, key: &str, epoch: u64) -> Effect {
    let (step, key) = (step.to_owned(), key.to_owned());
    Effect { class, turn: "t".into(), step, key, epoch, attempt: 1, payload: serde_json::json!({ "a": 1 }) }
}

fn step(name: &str) -> StepName {
    StepName { turn: "t".into(), step: name.into() }
}

fn applied(times: u64, number: u64) -> Verdict {
    Verdict::Applied(Applied { times, number })
}

#[test]
fn speaks_the_documented_lines() {
    let world = World::new(|_| {});
    let mut stream = UnixStream::connect(world.folder.path().join("socket")).unwrap();
    let mut check = |request: &str, answer: &str| {
        writeln!(stream, "{request}").unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(&stream), &mut line).unwrap();
        assert_eq!(line.trim_end(), answer, "to {request}");
    };
    let call = |class: &str, key: &str, epoch: u64| {
        format!(
            r#"{{"effect":{{"class":"{class}","turn":"t","step":"{class}","key":"{key}","epoch":{epoch},"attempt":1,"payload":{{}}}}}}"#
        )
    };
    check(&call("irreversible", "a", 3), r#"{"applied":{"times":1,"number":1}}"#);
    check(&call("irreversible", "a", 3), r#"{"applied":{"times":2,"number":2}}"#);
    check(&call("idempotent", "b", 3), r#"{"applied":{"times":1,"number":3}}"#);
    check(&call("idempotent", "b", 4), r#"{"applied":{"times":1,"number":3}}"#);
    check(&call("probed", "c", 3), r#"{"applied":{"times":1,"number":4}}"#);
    check(&call("probed", "c", 3), r#"{"refused":"used key"}"#);
    check(&call("probed", "d", 2), r#"{"refused":"stale epoch"}"#);
    check(&call("pure", "e", 3), r#"{"counted":{"calls":1}}"#);
    check(r#"{"probe":{"key":"c"}}"#, r#"{"probed":{"applied":{"times":1,"number":4}}}"#);
    check(r#"{"probe":{"key":"d"}}"#, r#"{"probed":{"applied":null}}"#);
    check(
        r#"{"truth":{"turn":"t","step":"irreversible"}}"#,
        r#"{"truth":{"applied":{"times":2,"number":2},"calls":2,"keys":["a"]}}"#,
    );
    check(
        r#"{"audit":{}}"#,
        r#"{"audit":{"calls":8,"pure":1,"applied":4,"repeated":1,"refused":2,"steps":4,"keys":4,"violations":2}}"#,
    );
    check(
        r#"{"burn":{}}"#,
        r#"{"error":"unknown variant `burn`, expected one of `effect`, `probe`, `truth`, `audit` at line 1 column 7"}"#,
    );
}

#[test]
fn a_fence_holds_back_a_late_call() {
    let world = World::new(|_| {});
    let fence = Fence { turn: "t".into(), step: "s".into(), epoch: 5 };
    let probe = Probe { key: "a".into(), fence: Some(fence) };
    assert_eq!(world.client.probe(&probe).unwrap(), None);
    assert_eq!(world.call(Class::Probed, "a", 4), Verdict::Refused(Refusal::StaleEpoch));
    assert_eq!(world.call(Class::Probed, "a", 5), applied(1, 1));
}

#[test]
fn a_restart_knows_all_and_cuts_off_a_torn_tail() {
    let world = World::new(|_| {});
    assert_eq!(world.call(Class::Idempotent, "a", 1), applied(1, 1));
    assert_eq!(world.call(Class::Probed, "b", 7), applied(2, 2));
    let copy = world.folder.path().join("copy");
    fs::copy(world.log(), &copy).unwrap();
    let whole = fs::read(&copy).unwrap();
    fs::write(&copy, [&whole[..], br#"{"call":{"effect":{"cla"#].concat()).unwrap();

    let socket = world.folder.path().join("other");
    let recorder = Recorder::open(Settings::new(&socket, &copy)).unwrap();
    assert_eq!(fs::read(&copy).unwrap(), whole);
    thread::spawn(move || recorder.serve());
    let client = RecorderClient::new(&socket);
    assert_eq!(client.effect(&effect(Class::Idempotent, "s", "a", 2)).unwrap(), applied(1, 1));
    assert_eq!(
        client.effect(&effect(Class::Probed, "s", "c", 6)).unwrap(),
        Verdict::Refused(Refusal::StaleEpoch)
    );
    assert_eq!(client.effect(&effect(Class::Irreversible, "x", "d", 1)).unwrap(), applied(1, 3));
}

#[test]
fn a_broken_line_in_the_log_is_refused() {
    let world = World::new(|_| {});
    world.call(Class::Pure, "a", 1);
    let copy = world.folder.path().join("copy");
    fs::write(&copy, [b"{\n", &fs::read(world.log()).unwrap()[..]].concat()).unwrap();
    let error = Recorder::open(Settings::new(world.folder.path().join("other"), &copy)).unwrap_err();
    assert!(matches!(error, RecorderError::Corrupt { line: 1, .. }), "{error}");
}

#[test]
fn two_recorders_share_neither_log_nor_socket() {
    let world = World::new(|_| {});
    let open = |socket: &str, log: &str| {
        let folder = world.folder.path();
        Recorder::open(Settings::new(folder.join(socket), folder.join(log))).unwrap_err()
    };
    assert!(matches!(open("other", "log"), RecorderError::InUse { .. }));
    assert!(matches!(open("socket", "other"), RecorderError::Socket { .. }));
}

#[test]
fn a_line_without_its_end_is_never_acted_on() {
    let world = World::new(|_| {});
    let mut stream = UnixStream::connect(world.folder.path().join("socket")).unwrap();
    let line = serde_json::to_vec(&Request::Effect(effect(Class::Irreversible, "s", "a", 1))).unwrap();
    stream.write_all(&line).unwrap();
    drop(stream);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(world.client.truth(&step("s")).unwrap(), Truth::default());
}

#[test]
fn a_dropped_answer_is_ambiguous_and_was_applied() {
    let world = World::new(|settings| settings.chaos.drop_per_thousand = 1000);
    let error = world.client.effect(&effect(Class::Irreversible, "s", "a", 1)).unwrap_err();
    assert!(matches!(error, ClientError::Unanswered(_)), "{error}");
    assert_eq!(world.client.truth(&step("s")).unwrap().applied, Some(Applied { times: 1, number: 1 }));
}

#[test]
fn a_late_answer_is_ambiguous_for_the_impatient() {
    let world = World::new(|settings| {
        settings.chaos = Chaos { delay_per_thousand: 1000, delay_ms: 200..=300, ..Chaos::default() };
    });
    let hasty = world.client.clone().with_timeout(Duration::from_millis(20));
    let error = hasty.effect(&effect(Class::Irreversible, "s", "a", 1)).unwrap_err();
    assert!(matches!(error, ClientError::Unanswered(_)), "{error}");
    // The late answer to the first call is never taken for the answer to another.
    assert_eq!(world.client.truth(&step("s")).unwrap().calls, 1);
    assert_eq!(world.client.effect(&effect(Class::Irreversible, "x", "b", 1)).unwrap(), applied(1, 2));
}

#[test]
fn one_seed_gives_one_sequence_of_trouble() {
    let draws = |seed| {
        let chaos = Chaos { seed, delay_per_thousand: 300, delay_ms: 5..=9, drop_per_thousand: 200 };
        let dice = chaos::Dice::new(chaos);
        std::iter::repeat_with(|| dice.draw()).take(1000).collect::<Vec<_>>()
    };
    assert_eq!(draws(7), draws(7));
    assert_ne!(draws(7), draws(8));
    let broken = draws(7).iter().filter(|trouble| **trouble == chaos::Trouble::Broken).count();
    assert!((150..250).contains(&broken), "{broken} of 1000 at 200 per thousand");
    for trouble in draws(7) {
        if let chaos::Trouble::Late(delay) = trouble {
            assert!((5..=9).contains(&delay.as_millis()), "{delay:?}");
        }
    }
}

#[test]
fn a_call_that_never_left_says_so() {
    let client = RecorderClient::new("/nowhere/socket");
    let error = client.audit().unwrap_err();
    assert!(matches!(error, ClientError::NotSent(_)), "{error}");
}

#[test]
fn one_client_too_many_is_turned_away() {
    let world = World::new(|settings| settings.connections = 1);
    world.client.audit().unwrap();
    let other = RecorderClient::new(world.folder.path().join("socket"));
    let error = other.audit().unwrap_err();
    // It may also meet the closed connection before it reads why.
    assert!(matches!(error, ClientError::Rejected(_) | ClientError::NotSent(_) | ClientError::Unanswered(_)));
    assert_eq!(world.client.audit().unwrap().calls, 0);
}

#[test]
fn many_clients_at_once_get_numbers_of_their_own() {
    let world = World::new(|_| {});
    let calls = |thread: usize| {
        let client = world.client.clone();
        move || {
            let call = |n| {
                client.effect(&effect(
                    Class::Irreversible,
                    &format!("{thread}-{n}"),
                    &format!("{thread}-{n}"),
                    1,
                ))
            };
            (0..25).map(|n| call(n).unwrap()).collect::<Vec<_>>()
        }
    };
    let threads: Vec<_> = (0..8).map(|thread| thread::spawn(calls(thread))).collect();
    let verdicts = threads.into_iter().flat_map(|thread| thread.join().unwrap());
    let mut numbers: Vec<u64> = verdicts
        .map(|verdict| match verdict {
            Verdict::Applied(Applied { times: 1, number }) => number,
            other => panic!("{other:?}"),
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
    assert_eq!(audit_log(&world.log()).unwrap().totals(), world.client.audit().unwrap());
}

#[test]
fn the_audit_finds_each_violation_and_nothing_else() {
    fn check(effects: &[Effect], expected: &[&str]) {
        let world = World::new(|_| {});
        for effect in effects {
            world.client.effect(effect).unwrap();
        }
        let found: Vec<String> = audit(&world.log()).violations().iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }
    fn audit(log: &Path) -> Audit {
        audit_log(log).unwrap()
    }
    let of = effect;
    use Class::{Idempotent, Irreversible, Probed, Pure};
    check(&[], &[]);
    check(
        &[
            of(Irreversible, "a", "1", 1),
            of(Idempotent, "b", "2", 1),
            of(Idempotent, "b", "2", 2),
            of(Probed, "c", "3", 1),
            of(Probed, "c", "3", 2),
            of(Pure, "d", "4", 1),
            of(Pure, "d", "5", 1),
        ],
        &[],
    );
    check(
        &[of(Irreversible, "a", "1", 1), of(Irreversible, "a", "1", 1)],
        &["turn t step a: Irreversible effect applied 2 times"],
    );
    for class in [Idempotent, Probed] {
        check(
            &[of(class, "a", "1", 1), of(class, "a", "2", 1)],
            &[
                &format!("turn t step a: {class:?} effect applied 2 times"),
                r#"turn t step a: called with 2 keys: {"1", "2"}"#,
            ],
        );
    }
    check(
        &[of(Idempotent, "a", "1", 1), of(Idempotent, "b", "1", 1)],
        &["key 1: used by turn t step a and by turn t step b"],
    );
    check(
        &[of(Idempotent, "a", "1", 1), of(Probed, "a", "1", 1)],
        &["turn t step a: called as {Idempotent, Probed}"],
    );
}
