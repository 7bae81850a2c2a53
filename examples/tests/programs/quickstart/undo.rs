//! `--fail publish`: the ledger refuses the publication, the run fails, and what it did is undone: each act once, in the
//! reverse order, whatever is killed meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{PARKED, Place, briefing_in, errors, kill, program, summary, wait_until};

const UNDONE: i32 = 4;
const FAIL: [&str; 4] = ["--yes", "--json", "--fail", "publish"];

/// The acts of a kind in lines of the ledger, without what was repeated under the same key.
fn acts(lines: &[Value], kind: &str) -> Vec<Value> {
    let mut keys = BTreeSet::new();
    let acts = lines.iter().filter_map(|line| line.get(kind));
    acts.filter(|act| keys.insert(act["key"].to_string())).cloned().collect()
}

fn each(acts: &[Value], member: &str) -> Vec<String> {
    acts.iter().map(|act| act[member].to_string()).collect()
}

fn set(texts: Vec<String>) -> BTreeSet<String> {
    texts.into_iter().collect()
}

/// The tickets that are open after these lines.
fn open(lines: &[Value]) -> BTreeSet<u64> {
    let mut open = BTreeSet::new();
    let number = |act: &Value| act["ticket"].as_u64().unwrap();
    let mut seen = BTreeSet::new();
    for line in lines {
        let (kind, act) = line.as_object().unwrap().iter().next().unwrap();
        if !seen.insert(act["key"].to_string()) {
            continue;
        }
        match kind.as_str() {
            "opened" | "reopened" => assert!(open.insert(number(act)), "{act} was open"),
            "closed" | "withdrawn" => assert!(open.remove(&number(act)), "{act} was not open"),
            _ => {}
        }
    }
    open
}

/// All that the run did stands in the ledger after the first lines, and each act of it was undone once, by a call with
/// a key of its own, in the reverse order: what was closed, after all that was opened, is open again before anything
/// is withdrawn.
fn assert_undone(place: &Place, before: &[Value], opened: usize, closed: usize) {
    let all = place.ledger();
    assert_eq!(open(&all), open(before), "all stands as it did");
    let run = &all[before.len()..];
    let [did_open, did_close, withdrew, reopened] =
        ["opened", "closed", "withdrawn", "reopened"].map(|kind| acts(run, kind));
    assert_eq!([did_open.len(), did_close.len()], [opened, closed]);
    // As many as there were, and of each of them.
    assert_eq!([withdrew.len(), reopened.len()], [opened, closed]);
    assert_eq!(set(each(&withdrew, "of")), set(each(&did_open, "key")));
    assert_eq!(set(each(&withdrew, "ticket")), set(each(&did_open, "ticket")));
    assert_eq!(set(each(&reopened, "of")), set(each(&did_close, "key")));
    assert_eq!(set(each(&reopened, "ticket")), set(each(&did_close, "ticket")));
    let keys = [&did_open, &did_close, &withdrew, &reopened].map(|acts| each(acts, "key")).concat();
    assert_eq!(set(keys).len(), 2 * (opened + closed), "each call has a key of its own");
    let places = |kind: &str| -> Vec<usize> {
        let first = acts(run, kind);
        first.iter().map(|act| run.iter().position(|line| line.get(kind) == Some(act)).unwrap()).collect()
    };
    for (earlier, later) in [("opened", "closed"), ("closed", "reopened"), ("reopened", "withdrawn")] {
        let (earlier, later) = (places(earlier), places(later));
        assert!(earlier.iter().max().is_none_or(|last| later.iter().all(|place| place > last)), "{run:?}");
    }
    assert_eq!(acts(run, "published"), Vec::<Value>::new());
}

/// The summary counts these tickets in the whole state, and this many steps of the run.
fn assert_ended(summary: &Value, errors: &str, [withdrawn, reopened, undone]: [usize; 3]) {
    let counts = ["withdrawn", "reopened", "undone", "left", "doubled", "verified"];
    let expected = [json!(withdrawn), json!(reopened), json!(undone), json!(0), json!(0), json!(true)];
    assert_eq!(counts.map(|count| summary[count].clone()), expected, "{summary}\n{errors}");
    assert!(errors.contains("Nothing of what the run did is left."), "{errors}");
}

/// A folder of which a run was published, and in which then some findings went and others came.
fn changed(notes: u32, gone: u32, new: u32) -> Place {
    let place = Place::with_notes(notes);
    place.finish(&[]);
    place.write_notes(gone..notes + new);
    place
}

#[test]
fn a_refused_publication_undoes_the_run_in_the_reverse_order() {
    let place = changed(3, 1, 2);
    let (before, published) = (place.ledger(), place.briefing());
    let output = place.run(&FAIL);
    let told = errors(&output);
    assert_eq!(output.status.code(), Some(UNDONE), "{told}");
    assert_undone(&place, &before, 2, 1);
    assert_ended(&summary(&output), &told, [2, 1, 3]);
    assert_eq!((place.briefing(), place.published()), (published, 1), "what was published before stands");
    let drafts = fs::read_dir(place.state()).unwrap().map(|file| file.unwrap().path());
    assert!(!drafts.into_iter().any(|file| file.to_string_lossy().contains("draft")), "nothing is left");

    assert!(told.contains("Not published: step `publish` failed: the ledger refused the call"), "{told}");
    let (_, list) = told.split_once("Undone, in this order:\n").expect("it says what was undone");
    let lines: Vec<&str> = list.lines().take(3).collect();
    let gone = acts(&place.ledger()[before.len()..], "closed")[0]["ticket"].clone();
    assert!(lines[0].starts_with(&format!("    1. opened ticket #{gone} again: ")), "{list}");
    for (nth, line) in [(2, lines[1]), (3, lines[2])] {
        assert!(line.starts_with(&format!("    {nth}. withdrew ticket #")), "{list}");
    }
    assert!(list.contains("--history --state") && list.contains("--html timeline.html --state"), "{list}");

    // The same for people, on standard output and standard error.
    let output = place.run(&["--yes", "--fail=publish"]);
    assert_eq!(output.status.code(), Some(UNDONE));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("failed   publish: the ledger refused the call"), "{text}");
    assert!(text.contains("done     undo: 3 undone"), "{text}");
    assert!(text.contains("undone    4 tickets withdrawn, 2 opened again"), "{text}");
    assert_eq!(open(&place.ledger()), open(&before));
}

#[test]
fn the_next_run_files_anew_what_was_withdrawn() {
    let place = Place::with_notes(3);
    assert_eq!(place.run(&FAIL).status.code(), Some(UNDONE));
    assert_undone(&place, &[], 3, 0);
    assert_eq!(briefing_in(&place.state()), None);
    let ended = place.finish(&[]);
    let counts = ["tickets", "calls", "keys", "withdrawn", "undone", "left", "doubled"];
    assert_eq!(counts.map(|count| ended[count].as_u64().unwrap()), [6, 6, 6, 3, 0, 0, 0], "{ended}");
    assert_eq!(open(&place.ledger()), BTreeSet::from([4, 5, 6]));
    let briefing = place.briefing();
    assert!(briefing.contains("3 new, 0 gone, 0 unchanged."), "{briefing}");
    assert!((4..=6).all(|ticket| briefing.contains(&format!("ticket #{ticket}, todo note"))), "{briefing}");

    // What was closed and is open again keeps its ticket, and is closed by the next run.
    place.write_notes(1..4);
    assert_eq!(place.run(&FAIL).status.code(), Some(UNDONE));
    assert_eq!(open(&place.ledger()), BTreeSet::from([4, 5, 6]));
    place.finish(&[]);
    assert!(place.briefing().contains("1 new, 1 gone, 2 unchanged."), "{}", place.briefing());
    let closed = acts(&place.ledger(), "closed");
    assert_eq!(closed.len(), 2, "once by the run that failed, once by the next: {closed:?}");
    assert_eq!(closed[0]["ticket"], closed[1]["ticket"]);
    assert_eq!(open(&place.ledger()).len(), 3);
    // And nothing is left to do.
    let calls = place.ledger().len();
    assert_eq!(place.finish(&[])["doubled"], 0);
    assert_eq!(place.ledger().len(), calls + 1, "a further briefing alone");
}

#[test]
fn it_kills_itself_and_undoes_all_the_same() {
    let place = changed(20, 8, 8);
    let before = place.ledger();
    let output = place.run(&[&FAIL[..], &["--crash", "8"]].concat());
    let told = errors(&output);
    assert_eq!(output.status.code(), Some(UNDONE), "{told}");
    assert_eq!(told.matches("starting again").count(), 8, "{told}");
    assert_undone(&place, &before, 8, 8);
    assert_ended(&summary(&output), &told, [8, 8, 16]);
    let ended = place.finish(&[]);
    assert_eq!(
        (&ended["tickets"], &ended["keys"], &ended["doubled"]),
        (&json!(36), &json!(36), &json!(0)),
        "{ended}"
    );
    assert!(place.briefing().contains("8 new, 8 gone, 12 unchanged."));
}

#[test]
fn what_a_model_did_is_undone_too_also_when_it_is_killed() {
    let place = changed(12, 4, 4);
    let before = place.ledger();
    let output = place.run(&[&FAIL[..], &["--model", "auto"]].concat());
    assert_eq!(output.status.code(), Some(UNDONE), "{}", errors(&output));
    assert_undone(&place, &before, 4, 4);
    assert_ended(&summary(&output), &errors(&output), [4, 4, 8]);

    let before = place.ledger();
    let output = place.run(&[&FAIL[..], &["--model", "auto", "--crash", "5"]].concat());
    let told = errors(&output);
    assert_eq!(output.status.code(), Some(UNDONE), "{told}");
    assert_eq!(told.matches("starting again").count(), 5, "{told}");
    assert_undone(&place, &before, 4, 4);
    assert_ended(&summary(&output), &told, [8, 8, 8]);
    // What undoes is not the model's to call.
    let page = page(&place);
    let prompts = page["records"].as_array().unwrap().iter().filter(|record| record["kind"] == "prompt.set");
    let prompts: Vec<_> = prompts.map(|prompt| prompt["body"]["json"].as_str().unwrap()).collect();
    assert!(
        !prompts.is_empty() && prompts.iter().all(|prompt| prompt.contains("open_ticket")),
        "{prompts:?}"
    );
    assert!(
        !prompts.iter().any(|prompt| prompt.contains("withdraw") || prompt.contains("reopen")),
        "{prompts:?}"
    );
    place.finish(&["--model=auto"]);
    assert!(place.briefing().contains("4 new, 4 gone, 8 unchanged."), "{}", place.briefing());
}

#[test]
fn killed_by_hand_while_it_undoes_it_goes_on() {
    let place = Place::with_notes(200);
    let run = place.start(&FAIL);
    wait_until("an undoing", || acts(&place.ledger(), "withdrawn").len() > 20);
    kill(run);
    let undone = acts(&place.ledger(), "withdrawn").len();
    assert!(undone < 200, "it was killed too late for this test");
    let output = place.run(&FAIL);
    let told = errors(&output);
    assert_eq!(output.status.code(), Some(UNDONE), "{told}");
    assert!(told.contains("Run 1 has failed, and what it did goes on being undone."), "{told}");
    assert!(told.contains("... and 180 more"), "{told}");
    assert_undone(&place, &[], 200, 0);
    assert_ended(&summary(&output), &told, [200, 0, 200]);
    assert_eq!(summary(&output)["resumed"], 1);
}

#[test]
fn what_is_parked_may_fail_when_it_goes_on() {
    let place = changed(2, 1, 1);
    let before = place.ledger();
    let output = place.run(&["--fail", "publish"]);
    assert_eq!(output.status.code(), Some(PARKED), "{}", errors(&output));
    assert!(errors(&output).contains("--yes --fail publish --state"), "{}", errors(&output));
    let filed = place.ledger();
    assert_eq!(filed.len(), before.len() + 2, "nothing is undone while somebody may approve");
    let output = place.run(&FAIL);
    assert_eq!(output.status.code(), Some(UNDONE), "{}", errors(&output));
    assert_undone(&place, &before, 1, 1);
}

/// The publication was cut off, and the ledger had not got it. Tried again it is refused.
#[test]
#[cfg(target_os = "linux")]
fn what_was_cut_off_and_is_then_refused_is_undone() {
    let place = Place::with_notes(2);
    super::killed_while_it_publishes(&place, || {
        for orphan in super::processes_of(&place.state().join("ledger.jsonl")) {
            let kill = std::process::Command::new("kill").arg("-9").arg(orphan.to_string()).status();
            assert!(kill.unwrap().success());
        }
    });
    let output = place.run(&FAIL);
    assert_eq!(output.status.code(), Some(UNDONE), "{}", errors(&output));
    assert!(errors(&output).contains("The ledger says that it was not carried out."), "{}", errors(&output));
    assert_undone(&place, &[], 2, 0);
    assert_eq!(briefing_in(&place.state()), None);
}

/// What the ledger answers to somebody who speaks to it by hand.
fn by_hand(place: &Place, request: &Value) -> Value {
    let mut command = program();
    command.arg("ledger").arg("--file").arg(place.state().join("ledger.jsonl"));
    let mut ledger = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    writeln!(ledger.stdin.take().unwrap(), "{request}").unwrap();
    let output = ledger.wait_with_output().unwrap();
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["answer"].take()
}

#[test]
fn what_can_not_be_undone_waits_for_a_person_and_the_rest_is_undone() {
    let place = Place::with_notes(3);
    assert_eq!(place.run(&[]).status.code(), Some(PARKED));
    let opened = acts(&place.ledger(), "opened");
    let close = json!({ "key": "by hand", "finding": opened[1]["finding"] });
    by_hand(&place, &json!({ "id": 1, "close_ticket": close }));
    for _ in 0..2 {
        let output = place.run(&FAIL);
        let told = errors(&output);
        assert_eq!(output.status.code(), Some(PARKED), "{told}");
        assert!(told.contains("is not undone: the ledger refused the call: the ticket is not as"), "{told}");
        assert!(
            told.contains("Parked: the run failed, and something that it did can't be undone."),
            "{told}"
        );
    }
    assert_eq!(acts(&place.ledger(), "withdrawn").len(), 2, "the others are undone");
    let reopened = by_hand(&place, &json!({ "id": 2, "reopen_ticket": { "key": "again", "of": "by hand" } }));
    assert_eq!(reopened["ticket"]["number"], opened[1]["ticket"], "{reopened}");
    let output = place.run(&FAIL);
    assert_eq!(output.status.code(), Some(UNDONE), "{}", errors(&output));
    assert_eq!(acts(&place.ledger(), "withdrawn").len(), 3);
    assert_eq!(open(&place.ledger()), BTreeSet::new());
}

/// What the page of the only session holds.
fn page(place: &Place) -> Value {
    let file = place.state().join("page.html");
    let output = place.run(&["--html", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let html = fs::read_to_string(file).unwrap();
    let (_, data) = html.split_once(r#"id="data">"#).unwrap();
    serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn the_page_shows_what_undid_what() {
    let place = changed(2, 1, 1);
    assert_eq!(place.run(&FAIL).status.code(), Some(UNDONE));
    let data = page(&place);
    let turn = &data["turns"][1];
    assert_eq!(turn["state"], "failed");
    let steps = turn["steps"].as_array().unwrap();
    let undoing: Vec<_> = steps.iter().filter(|step| !step["undoes"].is_null()).collect();
    let calls: Vec<_> = undoing.iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(calls, ["reopen_ticket", "withdraw_ticket"]);
    for step in undoing {
        let undone = &steps[step["undoes"].as_u64().unwrap() as usize];
        assert_eq!(step["id"].as_str().unwrap(), format!("undo:{}", undone["id"].as_str().unwrap()));
        assert_eq!((&step["state"], &step["class"]), (&json!("succeeded"), &json!("idempotent")));
        assert_eq!(undone["state"], "undone");
        assert_ne!(step["key"], undone["key"]);
        assert!(step["depth"].as_u64() > undone["depth"].as_u64());
        assert_eq!(step["spans"].as_array().unwrap().len(), 1, "an attempt");
    }
    let names: Vec<_> = turn["aftermath"]["undone"].as_array().unwrap().iter().collect();
    assert!(names[0].as_str().unwrap().starts_with("close-") && names.len() == 2, "{names:?}");
    assert_eq!(turn["aftermath"]["left"], json!([]));
    assert!(turn["end"].as_str().unwrap().ends_with("; 2 steps undone, nothing is left of it"), "{turn}");
}
