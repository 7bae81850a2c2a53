//! The quickstart as people run it: on a folder, with a journal that outlives it, killed and started again.

// These tests wait for processes, and have no clock port to wait with. Not all that may unwrap here is marked as a test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod undo;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const PAUSE: Duration = Duration::from_millis(2);
const PARKED: i32 = 3;

/// A folder to review, and a state folder beside it.
struct Place {
    place: TempDir,
}

impl Place {
    /// A folder with these files, each with the given text.
    fn with(files: &[(&str, &str)]) -> Self {
        let place = Self { place: TempDir::new().unwrap() };
        fs::create_dir(place.folder()).unwrap();
        files.iter().for_each(|(name, text)| place.write(name, text));
        place
    }

    /// A folder with so many findings.
    fn with_notes(count: u32) -> Self {
        let place = Self::with(&[]);
        place.write_notes(0..count);
        place
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder().join(name), text).unwrap();
    }

    fn write_notes(&self, numbers: std::ops::Range<u32>) {
        let notes: String = numbers.map(|number| format!("// TODO: number {number}\n")).collect();
        self.write("notes.rs", &notes);
    }

    fn folder(&self) -> PathBuf {
        self.place.path().join("folder")
    }

    fn state(&self) -> PathBuf {
        self.place.path().join("state")
    }

    fn briefing(&self) -> String {
        fs::read_to_string(briefing_in(&self.state()).expect("a briefing was published")).unwrap()
    }

    /// What the ledger wrote, line by line.
    fn ledger(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.state().join("ledger.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn published(&self) -> usize {
        self.ledger().iter().filter(|line| line.get("published").is_some()).count()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.arg("--state").arg(self.state()).args(arguments).arg("--").arg(self.folder());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs to the end, without a question, and returns the closing summary.
    fn finish(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[&["--yes", "--json"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        summary(&output)
    }

    /// Starts a run that is to be killed.
    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.state().join("shell.db")).unwrap()
    }

    /// How often the session was claimed, and how many records it has.
    fn epoch_and_records(&self) -> (i64, i64) {
        let query = "SELECT (SELECT epoch FROM sessions), (SELECT count(*) FROM records)";
        self.database().query_row(query, (), |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    }
}

/// The briefings in a state folder.
fn briefings_in(state: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(state).unwrap().map(|file| file.unwrap().path());
    let mut briefings: Vec<_> = files.filter(|file| file.extension() == Some(OsStr::new("md"))).collect();
    briefings.sort();
    briefings
}

/// The only one, if there is one.
fn briefing_in(state: &Path) -> Option<PathBuf> {
    let mut briefings = briefings_in(state);
    assert!(briefings.len() <= 1, "{briefings:?}");
    briefings.pop()
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    command.stdin(Stdio::null());
    command
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The one JSON object on standard output.
fn summary(output: &Output) -> Value {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(text).unwrap()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let came = (0..10_000).any(|_| {
        std::thread::sleep(PAUSE);
        is_so()
    });
    assert!(came, "{what} never came");
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn it_files_what_it_finds_and_publishes() {
    let place = Place::with_notes(3);
    let mut summary = place.finish(&[]);
    assert!(summary["records"].take().as_u64().unwrap() > 10);
    let expected = json!({
        "tickets": 3, "calls": 3, "keys": 3, "doubled": 0, "resumed": 0, "repeated": 0, "withdrawn": 0, "reopened": 0,
        "undone": 0, "left": 0, "records": null, "verified": true,
    });
    assert_eq!(summary, expected);
    let briefing = place.briefing();
    assert!(briefing.contains("3 new, 0 gone, 0 unchanged."), "{briefing}");
    for ticket in 1..=3 {
        assert!(briefing.contains(&format!("ticket #{ticket}, todo note")), "{briefing}");
    }
    let digest: String = Sha256::digest(&briefing).iter().map(|byte| format!("{byte:02x}")).collect();
    let ledger = place.ledger();
    assert_eq!(ledger.len(), 4);
    assert_eq!(ledger[3]["published"]["digest"], digest, "it is published last");
}

#[test]
fn a_further_run_tells_only_what_changed() {
    let place = Place::with_notes(3);
    place.finish(&[]);
    let tells = |calls: u64, told: &str| {
        let summary = place.finish(&[]);
        assert_eq!((&summary["calls"], &summary["doubled"]), (&json!(calls), &json!(0)), "{summary}");
        let briefing = place.briefing();
        assert!(briefing.contains(told), "{briefing}");
    };
    tells(3, "0 new, 0 gone, 3 unchanged.");
    place.write_notes(0..4);
    tells(4, "1 new, 0 gone, 3 unchanged.");
    place.write_notes(1..4);
    tells(4, "0 new, 1 gone, 3 unchanged.");
    // It comes back, and its ticket was closed: a new one is not a double.
    place.write_notes(0..4);
    tells(5, "1 new, 0 gone, 3 unchanged.");
}

#[test]
fn two_folders_may_share_a_state() {
    let (one, two) = (Place::with_notes(2), Place::with_notes(2));
    let state = one.state();
    let run = |folder: &Path| {
        let output = program().args(["--yes", "--json", "--state"]).arg(&state).arg(folder).output().unwrap();
        summary(&output)
    };
    assert_eq!(run(&one.folder())["tickets"], 2);
    two.write_notes(0..3);
    let summary = run(&two.folder());
    assert_eq!((&summary["tickets"], &summary["doubled"]), (&json!(5), &json!(0)));
    assert_eq!(run(&one.folder())["tickets"], 5);
    let briefings = briefings_in(&state);
    assert_eq!(briefings.len(), 2, "each has its own: {briefings:?}");
    for place in [&one, &two] {
        let folder = fs::canonicalize(place.folder()).unwrap();
        let about = |file: &&PathBuf| fs::read_to_string(file).unwrap().contains(folder.to_str().unwrap());
        assert_eq!(briefings.iter().filter(about).count(), 1, "{}", folder.display());
    }
}

#[test]
fn it_kills_itself_and_goes_on() {
    let place = Place::with_notes(40);
    let output = place.run(&["--yes", "--json", "--crash", "8"]);
    let errors = errors(&output);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert_eq!(errors.matches("starting again").count(), 8, "{errors}");
    let summary = summary(&output);
    let [tickets, keys, doubled] = ["tickets", "keys", "doubled"].map(|count| summary[count].clone());
    assert_eq!([tickets, keys, doubled], [json!(40), json!(40), json!(0)], "{summary}\n{errors}");
    assert_eq!(summary["verified"], true);
    assert!((1..=8).contains(&summary["resumed"].as_u64().unwrap()), "{summary}");
    let [calls, repeated] = ["calls", "repeated"].map(|count| summary[count].as_u64().unwrap());
    assert_eq!(calls, 40 + repeated);
    assert_eq!(place.published(), 1);
    assert!(place.briefing().contains("40 new, 0 gone, 0 unchanged."));
}

/// What is published, without the path of this test's folder and the numbers of tickets, which are given as they come.
fn published_text(place: &Place) -> String {
    let folder = fs::canonicalize(place.folder()).unwrap();
    let text = place.briefing().replace(folder.to_str().unwrap(), "FOLDER");
    (1..10).fold(text, |text, number| text.replace(&format!("ticket #{number}, "), "a ticket, "))
}

#[test]
fn a_model_that_plans_does_the_same_by_the_same_tools() {
    let (by_model, by_planner) = (Place::with_notes(3), Place::with_notes(3));
    by_planner.finish(&[]);
    let output = by_model.run(&["--yes", "--json", "--model", "auto"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert!(errors(&output).contains("a scripted stand-in, because no provider is built yet"));
    let ended = summary(&output);
    assert_eq!(
        (&ended["tickets"], &ended["doubled"], &ended["verified"]),
        (&json!(3), &json!(0), &json!(true))
    );
    assert_eq!(published_text(&by_model), published_text(&by_planner));
    let history = String::from_utf8(by_model.run(&["--history"]).stdout).unwrap();
    assert_eq!(history.matches("model.answered").count(), 5, "scans, tickets, briefing, publication, answer");

    // The next run knows what this one left, whoever plans it.
    by_model.write_notes(1..4);
    by_model.finish(&["--model=auto"]);
    assert!(by_model.briefing().contains("1 new, 1 gone, 2 unchanged."), "{}", by_model.briefing());
    by_model.finish(&[]);
    assert!(by_model.briefing().contains("0 new, 0 gone, 3 unchanged."), "{}", by_model.briefing());
}

#[test]
fn nobody_is_told_of_a_model_that_was_not_asked_for() {
    let place = Place::with_notes(1);
    let output = place.run(&["--yes"]);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("model"), "{output:?}");
    let history = String::from_utf8(place.run(&["--history"]).stdout).unwrap();
    assert!(!history.contains("model.answered"), "{history}");
}

#[test]
fn it_kills_itself_and_goes_on_where_a_model_plans() {
    let place = Place::with_notes(20);
    let output = place.run(&["--yes", "--json", "--crash", "6", "--model", "auto"]);
    let errors = errors(&output);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert_eq!(errors.matches("starting again").count(), 6, "{errors}");
    let summary = summary(&output);
    let [tickets, keys, doubled] = ["tickets", "keys", "doubled"].map(|count| summary[count].clone());
    assert_eq!([tickets, keys, doubled], [json!(20), json!(20), json!(0)], "{summary}\n{errors}");
    assert_eq!(summary["verified"], true);
    assert_eq!(place.published(), 1);
    assert!(place.briefing().contains("20 new, 0 gone, 0 unchanged."));
}

#[test]
fn a_run_goes_on_with_whoever_plans_it() {
    let place = Place::with_notes(2);
    let output = place.run(&["--model", "auto"]);
    assert_eq!(output.status.code(), Some(PARKED), "{}", errors(&output));
    let summary = place.finish(&[]);
    assert_eq!((&summary["tickets"], &summary["calls"]), (&json!(2), &json!(2)));
    assert_eq!(place.published(), 1);
}

#[test]
fn all_kills_happen_also_where_it_parks() {
    let place = Place::with_notes(3);
    let output = place.run(&["--json", "--crash", "5"]);
    let errors = errors(&output);
    assert_eq!(output.status.code(), Some(PARKED), "{errors}");
    assert_eq!(errors.matches("starting again").count(), 5, "{errors}");
    let summary = summary(&output);
    assert_eq!((&summary["tickets"], &summary["doubled"]), (&json!(3), &json!(0)), "{summary}");
    assert_eq!(place.published(), 0);
}

#[test]
fn killed_by_hand_it_goes_on_and_whoever_looks_resumes_nothing() {
    let place = Place::with_notes(200);
    let run = place.start(&["--yes"]);
    wait_until("a ticket", || place.ledger().len() > 20);
    kill(run);
    let filed = place.ledger().len();
    assert!(filed < 200, "it was killed too late for this test");

    let before = place.epoch_and_records();
    for look in ["--history", "--verify"] {
        let output = place.run(&[look]);
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    }
    assert_eq!(place.epoch_and_records(), before, "it only looked");
    let history = String::from_utf8(place.run(&["--history"]).stdout).unwrap();
    assert_eq!(history.lines().count() as i64, before.1);
    assert!(history.contains("step.started    runtime        open-"), "{history}");

    let summary = place.finish(&[]);
    let [tickets, keys, doubled, resumed] =
        ["tickets", "keys", "doubled", "resumed"].map(|count| summary[count].clone());
    assert_eq!([tickets, keys, doubled, resumed], [json!(200), json!(200), json!(0), json!(1)], "{summary}");
    assert_eq!(place.published(), 1);
}

#[test]
fn without_a_terminal_it_parks_until_somebody_says_yes() {
    let place = Place::with_notes(3);
    for _ in 0..2 {
        let output = place.run(&[]);
        assert_eq!(output.status.code(), Some(PARKED), "{}", errors(&output));
        assert!(errors(&output).contains("--yes"), "it says how to approve");
        assert_eq!(briefing_in(&place.state()), None);
    }
    let summary = place.finish(&[]);
    assert_eq!((&summary["tickets"], &summary["calls"]), (&json!(3), &json!(3)));
    assert_eq!(place.published(), 1);
}

/// Kills a run while it publishes: the call waits in the ledger's input, and nothing is where people read it.
#[cfg(target_os = "linux")]
fn killed_while_it_publishes(place: &Place, meanwhile: impl FnOnce()) {
    assert_eq!(place.run(&[]).status.code(), Some(PARKED));
    let ledger = fs::File::open(place.state().join("ledger.jsonl")).unwrap();
    ledger.lock().unwrap();
    let run = place.start(&["--yes"]);
    // The call follows as soon as the ledger is there.
    wait_until("the ledger", || !processes_of(&place.state().join("ledger.jsonl")).is_empty());
    std::thread::sleep(PAUSE * 100);
    assert_eq!(briefing_in(&place.state()), None);
    kill(run);
    assert_eq!(place.published(), 0);
    meanwhile();
}

#[test]
#[cfg(target_os = "linux")]
fn what_was_published_late_is_not_published_again() {
    let place = Place::with_notes(1);
    // The ledger outlives the run, and finds the call in its input.
    killed_while_it_publishes(&place, || {});
    let output = place.run(&["--yes"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("The ledger says that it was carried out."), "{text}");
    assert!(text.contains("in doubt  1"), "{text}");
    assert_eq!(place.published(), 1);
    assert!(place.briefing().contains("1 new, 0 gone, 0 unchanged."), "it is put where people read it");
}

#[test]
#[cfg(target_os = "linux")]
fn what_never_arrived_is_published_once() {
    let place = Place::with_notes(1);
    killed_while_it_publishes(&place, || {
        let orphan = processes_of(&place.state().join("ledger.jsonl"));
        assert_eq!(orphan.len(), 1);
        let status = Command::new("kill").arg("-9").arg(orphan[0].to_string()).status().unwrap();
        assert!(status.success());
    });
    // Nobody is there to say that it may be done again.
    assert_eq!(place.run(&[]).status.code(), Some(PARKED));
    let output = place.run(&["--yes"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("The ledger says that it was not carried out."), "{text}");
    assert_eq!(place.published(), 1);
}

#[test]
#[cfg(target_os = "linux")]
fn a_run_in_the_background_outlives_the_script_that_started_it() {
    let place = Place::with_notes(3);
    assert_eq!(place.run(&[]).status.code(), Some(PARKED));
    // As long as the ledger waits for this lock, the run can't end.
    let ledger = fs::File::open(place.state().join("ledger.jsonl")).unwrap();
    ledger.lock().unwrap();
    let mut script = Command::new("sh");
    script.args(["-c", r#""$@" </dev/null >/dev/null 2>&1 & read until"#, "sh"]);
    let command = place.command(&["--yes"]);
    script.arg(command.get_program()).args(command.get_args());
    let mut script = script.stdin(Stdio::piped()).spawn().unwrap();
    wait_until("the ledger", || !processes_of(&place.state().join("ledger.jsonl")).is_empty());
    drop(script.stdin.take());
    script.wait().unwrap();
    ledger.unlock().unwrap();
    let told = || fs::read_dir(place.state()).unwrap().any(|file| is_told(&file.unwrap().path()));
    wait_until("the end of the run", told);
    assert_eq!(place.published(), 1);
}

/// Whether this file says that the summary of a run was shown.
#[cfg(target_os = "linux")]
fn is_told(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("told-"))
}

/// A session that has waited for a person for long is let go, and claimed again for the answer: that is no crash.
#[test]
fn a_run_that_waited_for_long_was_not_resumed() {
    let place = Place::with_notes(1);
    let ended = place.finish(&[]);
    assert_eq!(ended["resumed"], 0);
    // The summary is shown once more for a run whose end was not told; here as if its session had changed hands.
    let files = fs::read_dir(place.state()).unwrap().map(|entry| entry.unwrap().path());
    let told: Vec<_> = files.filter(|path| path.to_string_lossy().contains("/told-")).collect();
    fs::remove_file(&told[0]).unwrap();
    place.database().execute("UPDATE sessions SET epoch = epoch + 1", ()).unwrap();
    assert_eq!(place.finish(&[])["resumed"], 0);
}

/// The processes that were started with this file as an argument.
#[cfg(target_os = "linux")]
fn processes_of(file: &Path) -> Vec<u32> {
    use std::os::unix::ffi::OsStrExt;
    let file = file.as_os_str().as_bytes();
    let names = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut numbers: Vec<u32> = names.filter_map(|name| name.parse().ok()).collect();
    let has_file = |arguments: &[u8]| arguments.split(|byte| *byte == 0).any(|argument| argument == file);
    numbers.retain(|number| fs::read(format!("/proc/{number}/cmdline")).is_ok_and(|line| has_file(&line)));
    numbers
}

#[test]
fn a_changed_record_is_found() {
    let place = Place::with_notes(3);
    place.finish(&[]);
    let output = place.run(&["--verify"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let database = place.database();
    let body: Vec<u8> =
        database.query_row("SELECT body FROM records WHERE seq = 7", (), |row| row.get(0)).unwrap();
    for (at, name) in [(0, "first"), (body.len() / 2, "middle"), (body.len() - 1, "last")] {
        let mut changed = body.clone();
        changed[at] ^= 1;
        let change =
            |body: &[u8]| database.execute("UPDATE records SET body = ?1 WHERE seq = 7", (body,)).unwrap();
        change(&changed);
        let output = place.run(&["--verify"]);
        assert_eq!(output.status.code(), Some(1), "the {name} byte");
        assert!(errors(&output).contains("the body of record 7 was changed"), "{}", errors(&output));
        change(&body);
    }
    database.execute("UPDATE records SET time = time + 1 WHERE seq = 7", ()).unwrap();
    assert_eq!(place.run(&["--verify"]).status.code(), Some(1));
    database.execute("UPDATE records SET time = time - 1 WHERE seq = 7", ()).unwrap();
    assert_eq!(place.run(&["--verify"]).status.code(), Some(0));
    database.execute("DELETE FROM records WHERE seq = 7", ()).unwrap();
    assert_eq!(place.run(&["--verify"]).status.code(), Some(1));
    // A run on a broken journal ends as failed too.
    let output = place.run(&["--yes"]);
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
}

#[test]
fn a_run_that_could_not_say_how_it_ended_says_it_later() {
    let place = Place::with_notes(3);
    let first = place.finish(&[]);
    // What a kill between the end of the turn and the summary leaves.
    let told = fs::read_dir(place.state()).unwrap().map(|entry| entry.unwrap().path());
    let told: Vec<_> = told.filter(|path| path.to_string_lossy().contains("/told-")).collect();
    assert_eq!(told.len(), 1);
    fs::remove_file(&told[0]).unwrap();
    assert_eq!(place.finish(&[]), first);
    assert_eq!(place.published(), 1);
    assert!(place.briefing().contains("3 new, 0 gone, 0 unchanged."));
    place.finish(&[]);
    assert_eq!(place.published(), 2);
}

#[test]
fn an_empty_folder_is_a_short_briefing() {
    let place = Place::with(&[]);
    let summary = place.finish(&[]);
    assert_eq!((&summary["tickets"], &summary["verified"]), (&json!(0), &json!(true)));
    assert!(place.briefing().contains("There is no file to review in this folder."));
}

/// What is said of a folder that can't be reviewed; nothing is left behind.
fn refused(folder: &Path) -> String {
    let place = Place::with(&[]);
    let output = program().arg("--state").arg(place.state()).arg("--yes").arg(folder).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!place.state().exists());
    errors(&output)
}

#[test]
fn a_folder_that_is_none_is_named() {
    let place = Place::with(&[("file", "")]);
    let message = refused(&place.folder().join("nowhere"));
    assert!(message.contains("there is no folder") && message.contains("nowhere"), "{message}");
    let message = refused(&place.folder().join("file"));
    assert!(message.contains("is not a folder"), "{message}");
    symlink("loop", place.folder().join("loop")).unwrap();
    let message = refused(&place.folder().join("loop"));
    assert!(message.contains("can't be read"), "{message}");
}

#[test]
fn a_folder_whose_name_is_not_utf8_is_refused_and_a_file_is_not() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::with(&[]);
    let odd = place.folder().join(OsStr::from_bytes(b"caf\xe9"));
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join(OsStr::from_bytes(b"\xff.rs")), "// TODO: name it\n").unwrap();
    let message = refused(&odd);
    assert!(message.contains("caf\\xE9 is not UTF-8"), "{message}");
    assert_eq!(place.finish(&[])["tickets"], 1);
    assert!(place.briefing().contains("caf\\xE9/\\xFF.rs"));
}

#[test]
fn links_that_lead_nowhere_or_around_are_findings() {
    let place = Place::with(&[]);
    symlink("loop", place.folder().join("loop")).unwrap();
    symlink("..", place.folder().join("around")).unwrap();
    symlink("nowhere", place.folder().join("broken")).unwrap();
    assert_eq!(place.finish(&[])["tickets"], 3);
    let briefing = place.briefing();
    assert!(briefing.contains("looping symbolic link") && briefing.contains("broken symbolic link"));
}

#[test]
fn the_state_may_lie_in_the_folder_and_not_be_it() {
    let place = Place::with_notes(1);
    let run = |state: &Path| {
        program().args(["--yes", "--json", "--state"]).arg(state).arg(place.folder()).output().unwrap()
    };
    let state = place.folder().join("state");
    for _ in 0..2 {
        assert_eq!(summary(&run(&state))["tickets"], 1);
        let briefing = fs::read_to_string(briefing_in(&state).unwrap()).unwrap();
        assert!(briefing.contains("Reviewed 1 file in 0 folders"), "{briefing}");
    }
    let output = run(&place.folder());
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("choose another with --state"));
}

#[test]
fn one_at_a_time() {
    let place = Place::with_notes(1);
    fs::create_dir(place.state()).unwrap();
    let lock = fs::File::create(place.state().join("lock")).unwrap();
    lock.lock().unwrap();
    let output = place.run(&["--yes"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("another quickstart is at work"), "{}", errors(&output));
}

#[test]
fn what_never_ran_has_no_history() {
    let place = Place::with(&[]);
    for look in [&["--history"][..], &["--verify"], &["--html", "page.html"]] {
        let output = place.run(look);
        assert_eq!(output.status.code(), Some(1));
        assert!(errors(&output).contains("there is no journal"), "{}", errors(&output));
        assert!(!place.state().exists());
    }
    assert_eq!(place.run(&["--nonsense"]).status.code(), Some(2));
}
