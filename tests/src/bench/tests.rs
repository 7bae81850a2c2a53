//! The frame, without measuring anything.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::load::{Load, Quota, Until, body};
use super::measure::{Measured, Stopwatch};
use super::report::{self, Row};
use super::rounds::{self, Plan};
use super::{BODY_BYTES, BenchError, System, age, folder, fsyncs, long_session, machine, systems};

/// Says that it did ten steps, in as many milliseconds as its next number.
struct Fake {
    name: &'static str,
    milliseconds: RefCell<Vec<u64>>,
    runs: Rc<RefCell<Vec<&'static str>>>,
}

impl System for Fake {
    fn name(&self) -> &'static str {
        self.name
    }

    fn journal(&self) -> &'static str {
        "volatile"
    }

    fn class(&self) -> &'static str {
        "pure"
    }

    fn run(&self, load: &Load) -> Result<Measured, BenchError> {
        assert!(load.folder.is_dir());
        self.runs.borrow_mut().push(self.name);
        let elapsed = Duration::from_millis(self.milliseconds.borrow_mut().remove(0));
        Ok(Measured { steps: 10, elapsed, cpu: elapsed / 2 })
    }
}

#[test]
fn systems_alternate_and_medians_are_reported() {
    let runs = Rc::default();
    let fake = |name, milliseconds: [u64; 3]| -> Box<dyn System> {
        Box::new(Fake { name, milliseconds: RefCell::new(milliseconds.into()), runs: Rc::clone(&runs) })
    };
    let systems = [fake(systems::BASELINE, [100, 10, 20]), fake("agent-shell", [40, 40, 1])];
    let folder = tempfile::tempdir().unwrap();
    let until = Until::Steps(10);
    let plan = Plan { systems: &systems, sessions: &[16], rounds: 3, until, folder: folder.path() };
    let all = rounds::run(&plan, |_| {}).unwrap();
    assert_eq!(*runs.borrow(), [systems::BASELINE, "agent-shell"].repeat(3));
    let rows: Vec<Row> = all.iter().map(|series| Row::new(series, Some(0.0625))).collect();
    assert_eq!(
        report::json(&rows).unwrap().lines().nth(1).unwrap(),
        r#"{"bench":"steps","system":"agent-shell","journal":"volatile","class":"pure","sessions":16,"steps_per_second":250,"cpu_us_per_step":2000.0,"fsyncs_per_step":0.0625}"#
    );
    let table = report::table(&rows);
    let last: Vec<&str> = table.lines().next_back().unwrap().split('|').map(str::trim).collect();
    assert_eq!(
        last,
        [
            "",
            "16",
            "agent-shell",
            "volatile",
            "pure",
            "250",
            "250 to 10000",
            "2000.0",
            "0.062",
            "0.50",
            "2.00",
            ""
        ]
    );
}

#[test]
fn what_is_unknown_is_null() {
    let system = Fake { name: "agent-shell", milliseconds: RefCell::default(), runs: Rc::default() };
    let series = rounds::Series { system: &system, sessions: 1, rounds: Vec::new() };
    let line = report::json(&[Row::new(&series, None)]).unwrap();
    assert!(line.ends_with("\"cpu_us_per_step\":null,\"fsyncs_per_step\":null}\n"), "{line}");
}

#[test]
fn the_raw_systems_do_the_steps_that_they_are_asked_for() {
    let parent = tempfile::tempdir().unwrap();
    for system in systems::all() {
        for (sessions, steps) in [(1, 0), (1, 20), (4, 21)] {
            let measured =
                rounds::once(system.as_ref(), sessions, Until::Steps(steps), parent.path()).unwrap();
            assert_eq!(measured.steps, steps, "{}, {sessions} sessions", systems::label(system.as_ref()));
        }
    }
}

#[test]
fn only_selects_by_whole_parts_of_the_label() {
    let labels = |wanted| {
        systems::only(wanted).iter().map(|system| systems::label(system.as_ref())).collect::<Vec<_>>()
    };
    assert_eq!(labels(None).len(), systems::all().len());
    for wanted in ["sqlite-group-commit", "sqlite-group-commit/sqlite", "sqlite-group-commit/sqlite/none"] {
        assert_eq!(labels(Some(wanted)), ["sqlite-group-commit/sqlite/none"]);
    }
    assert!(labels(Some("sqlite")).is_empty());
}

#[test]
fn a_quota_of_steps_is_shared_and_exact() {
    let quota = Quota::start(Until::Steps(3));
    let other = quota.clone();
    assert!(quota.take() && other.take() && quota.take());
    assert!(!other.take() && !quota.take());
    assert!(!Quota::start(Until::Elapsed(Duration::ZERO)).take());
    assert!(Quota::start(Until::Elapsed(Duration::from_secs(60))).take());
}

#[test]
fn bodies_differ_and_fill_their_length() {
    assert_ne!(body(1, 1), body(1, 2));
    assert_ne!(body(1, 1), body(2, 1));
    assert!(body(0, 0)[BODY_BYTES - 8..].iter().any(|byte| *byte != 0));
}

#[test]
fn the_stopwatch_counts_the_cpu_of_ended_threads() {
    let watch = Stopwatch::start();
    let spin = || {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(30) {
            std::hint::black_box(body(1, 1));
        }
    };
    std::thread::spawn(spin).join().unwrap();
    let measured = watch.stop(1);
    assert!(measured.cpu >= Duration::from_millis(5), "{measured:?}");
}

#[test]
fn a_summary_of_strace_is_added_up() {
    let summary = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 99.00    0.412345         120      2003           fdatasync
  1.00    0.000345          86         4         1 fsync
------ ----------- ----------- --------- --------- ----------------
100.00    0.412690         205      2007         1 total
";
    assert_eq!(fsyncs::calls(summary), 2007);
    assert_eq!(fsyncs::calls(""), 0);
}

#[test]
fn memory_is_no_disk() {
    assert_eq!(folder::memory(0x0102_1994), Some("tmpfs"));
    assert_eq!(folder::memory(0x8584_58f6), Some("ramfs"));
    assert_eq!(folder::memory(0xef53), None, "ext4");
}

#[test]
fn medians() {
    assert_eq!(rounds::median([]), None);
    assert_eq!(rounds::median([3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(rounds::median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
}

#[test]
fn the_share_of_others_leaves_out_our_own_and_what_was_idle() {
    let ticks = |line: &str| machine::parse(line).unwrap();
    let begin = ticks("cpu  10 0 10 100 20 0 0 0 5 0\ncpu0 1 1\n");
    let end = ticks("cpu  60 0 30 150 30 5 5 0 5 0\n");
    assert_eq!((begin.busy, begin.all), (20, 140));
    assert_eq!((end.busy, end.all), (100, 280));
    assert_eq!(machine::others_percent(begin, end, 45), Some(25));
    assert_eq!(machine::others_percent(begin, end, 100), Some(0));
    assert_eq!(machine::others_percent(begin, begin, 0), None);
    assert!(machine::parse("intr 1 2 3").is_none());
}

#[test]
fn an_old_session_writes_no_more_for_a_turn_than_a_young_one() {
    let folder = tempfile::tempdir().unwrap();
    let settings = age::Settings { sessions: 2, rounds: 2, ages: [10, 60], folder: folder.path() };
    let rows = age::run(&settings, |_| {}).unwrap();
    let [young, old] = &rows[..] else { panic!("{rows:?}") };
    // Eight outputs of two hundred bytes, at the least.
    assert!(young.journal_bytes_per_turn > 1600.0, "{young:?}");
    assert!(old.journal_bytes_per_turn < 1.1 * young.journal_bytes_per_turn, "{rows:?}");
    assert_eq!((young.turn, old.turn), (10, 60));
    let table = age::table(&rows);
    assert_eq!(table.lines().count(), 4, "{table}");
}

#[test]
fn what_the_turns_around_an_age_cost_is_added_up() {
    assert_eq!(long_session::marks(9), Vec::<u64>::new());
    assert_eq!(long_session::marks(10), [10]);
    assert_eq!(long_session::marks(12_345), [10, 100, 1_000, 10_000]);
    let young = long_session::Cost {
        turns_us: vec![500.0, 900.0, 100.0, 300.0],
        bytes: 4_000,
        cpu: Duration::from_micros(800),
        longest_bytes: 5_900,
    };
    let mut old = young.clone();
    (old.bytes, old.longest_bytes) = (5_000, 5_950);
    let mut beside = young.clone();
    beside.turns_us.iter_mut().for_each(|us| *us /= 2.0);
    beside.cpu /= 2;
    let rows = [young.row(10, &young), old.row(1_000, &beside)];
    assert_eq!(
        report::json(&rows[1..]).unwrap().trim_end(),
        r#"{"bench":"long-session","system":"agent-shell","journal":"sqlite","turn":1000,"measured_turns":4,"bytes_per_turn":1250.0,"us_per_turn":400.0,"cpu_us_per_turn":200.0,"beside_us_per_turn":200.0,"beside_cpu_us_per_turn":100.0,"longest_prompt_bytes":5950,"bound_bytes":6000}"#
    );
    let table = long_session::table(&rows);
    let last: Vec<&str> = table.lines().next_back().unwrap().split('|').map(str::trim).collect();
    let cells =
        ["1000", "agent-shell", "sqlite", "4", "1250", "400", "200", "1.25", "2.00", "2.00", "5950", "6000"];
    assert_eq!(last[1..last.len() - 1], cells);
}

#[test]
fn a_long_conversation_writes_no_more_for_a_turn_than_a_short_one_and_asks_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let settings = long_session::Settings { marks: vec![10, 60], young: 3, folder: folder.path() };
    let rows = long_session::run(&settings, |_| {}).unwrap();
    let [young, old] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((young.turn, young.measured_turns, old.turn, old.measured_turns), (10, 30, 60, 60));
    // What a user, two calls, two tools and an answer say, at the least.
    assert!(young.bytes_per_turn > 6.0 * 150.0, "{young:?}");
    assert!(old.bytes_per_turn < 1.1 * young.bytes_per_turn, "{rows:?}");
    for row in &rows {
        assert!(
            (4_000..=6_000).contains(&row.longest_prompt_bytes),
            "the window is full, and no more: {row:?}"
        );
    }
}
