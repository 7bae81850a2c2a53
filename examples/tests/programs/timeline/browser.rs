//! The page in a real browser. These tests are ignored unless they are asked for, since not everybody has one:
//! `cargo test --workspace --test programs browser -- --ignored`.

// They wait for a process, and have no clock port to wait with.
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::journal::{HOSTILE, Journal, NAME};
use super::{Page, source};

const BROWSERS: [&str; 5] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chromium-headless-shell"];
const PAUSE: Duration = Duration::from_millis(50);
const PATIENCE: u32 = 1200;

fn browser() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path);
    let found = folders
        .find_map(|folder| BROWSERS.map(|name| folder.join(name)).into_iter().find(|file| file.is_file()));
    found.unwrap_or_else(|| panic!("none of {BROWSERS:?} is in PATH"))
}

/// The page's elements as a browser has them once its scripts have run.
fn seen(folder: &Path, file: &Path, fragment: &str) -> String {
    let dump = folder.join("dump.html");
    let mut command = Command::new(browser());
    // Tests may run as root, for whom a browser has no sandbox.
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
    ]);
    command.arg(format!("--user-data-dir={}", folder.join("profile").display()));
    command.args(["--virtual-time-budget=20000", "--dump-dom"]);
    command.arg(format!("file://{}#{fragment}", file.display()));
    command.stdin(Stdio::null()).stdout(fs::File::create(&dump).unwrap()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    for _ in 0..PATIENCE {
        if child.try_wait().unwrap().is_some() {
            return fs::read_to_string(dump).unwrap();
        }
        std::thread::sleep(PAUSE);
    }
    child.kill().unwrap();
    panic!("the browser does not end");
}

/// The elements without the data island, whose texts are none of the page's.
fn elements(dump: &str, page: &Page) -> String {
    dump.replace(page.data_text(), "").replace(page.script(), "")
}

/// A text as a browser writes it between tags.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\u{202e}', "\\u{202e}")
}

#[test]
#[ignore = "needs a browser in PATH: chromium, google-chrome, or chromium-headless-shell"]
fn a_browser_shows_hostile_texts_as_texts() {
    let journal = Journal::hostile();
    let page = Page::of(&journal);
    let data = page.data();
    let doubt =
        data["records"].as_array().unwrap().iter().find(|record| record["kind"] == "step.in_doubt").unwrap();
    let dump = seen(journal.folder(), &page.file, &format!("record={}", doubt["seq"]));
    let elements = elements(&dump, &page);
    assert!(elements.contains("data-ready"), "the script ran to its end");
    assert!(!elements.contains("data-owned"), "a text of the journal ran");
    assert_eq!(elements.matches("<script").count(), 2);
    assert_eq!(elements.matches("<svg").count(), 1, "the plan alone");
    assert!(!elements.contains("<img"));
    assert!(elements.contains(&format!("<bdi id=\"name\">{}</bdi>", escaped(NAME))));
    assert!(elements.contains(&escaped(HOSTILE)));
    // The record that was asked for is open, and its body is there.
    assert!(elements.contains(&format!("aria-label=\"Body of record {}\"", doubt["seq"])));
    assert!(elements.contains("Ask the target for the key"));
    assert!(elements.contains("Chain verified"));
}

/// Uses the page as a person with a keyboard does, and writes down what it saw.
const DRIVER: &str = r##"
addEventListener("load", async () => {
  const saw = { violations: 0 };
  document.addEventListener("securitypolicyviolation", () => { saw.violations += 1; });
  const moment = () => new Promise((done) => setTimeout(done, 400));
  const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  const text = (selector) => document.querySelector(selector)?.textContent ?? "";
  const rows = () => document.querySelectorAll(".record").length;
  try {
    saw.heading = text("#turn-heading");
    saw.needs = document.querySelectorAll(".notice.needs").length;
    saw.nodes = document.querySelectorAll("svg.plan .node").length;
    saw.lanes = document.querySelectorAll(".lane").length;
    saw.rows = rows();
    press("/");
    saw.focusAfterSlash = document.activeElement.id;
    document.activeElement.value = "nobody can be asked, or what is not there";
    document.activeElement.dispatchEvent(new Event("input"));
    await moment();
    saw.rowsOfNothing = rows();
    document.activeElement.value = "IN_DOUBT";
    document.activeElement.dispatchEvent(new Event("input"));
    await moment();
    saw.rowsInDoubt = rows();
    press("Escape");
    press("j");
    saw.focusAfterJ = document.activeElement.className;
    document.activeElement.click();
    saw.body = text(".record .body");
    document.querySelector("#search").value = "";
    document.querySelector("#search").dispatchEvent(new Event("input"));
    await moment();
    press("j");
    const first = document.activeElement;
    press("ArrowDown");
    saw.arrowMoves = first !== document.activeElement && document.activeElement.className === "record-head";
    saw.inTabOrder = document.querySelectorAll('.record-head[tabindex="0"]').length;
    document.querySelector(".lane-head").click();
    saw.laneTable = document.querySelectorAll(".lane .details table tbody tr").length;
    press("p");
    await moment();
    saw.headingAfterP = text("#turn-heading");
    press("?");
    saw.help = document.querySelector("#help").open;
    document.querySelector("#single-keys").checked = false;
    document.querySelector("#help-close").click();
    press("n");
    await moment();
    saw.headingWithoutKeys = text("#turn-heading");
    document.querySelector("#zone").value = "local";
    document.querySelector("#zone").dispatchEvent(new Event("change"));
    saw.local = text("#turn time");
    saw.violationsOfThePage = saw.violations;
    // What the policy forbids does not work.
    try { document.body.innerHTML = "<b>markup</b>"; saw.markup = "made"; } catch { saw.markup = "refused"; }
    new Image().src = "https://127.0.0.1:1/pixel";
    await fetch("https://127.0.0.1:1/data").catch(() => {});
    await moment();
  } catch (error) {
    saw.error = String(error.stack);
  }
  document.documentElement.setAttribute("data-saw", JSON.stringify(saw));
});
"##;

#[test]
#[ignore = "needs a browser in PATH: chromium, google-chrome, or chromium-headless-shell"]
fn a_browser_lets_the_page_be_used_by_keyboard_and_lets_it_load_nothing() {
    let journal = Journal::hostile();
    let page = Page::of(&journal);
    let driven = journal.folder().join("driven.html");
    let html = page.html.replacen("script-src ", &format!("script-src {} ", source(DRIVER)), 1);
    let html = html.replacen("</body>", &format!("<script>{DRIVER}</script></body>"), 1);
    fs::write(&driven, html).unwrap();
    let dump = seen(journal.folder(), &driven, "");
    let (_, saw) = dump.split_once("data-saw=\"").expect("the driver ran to its end");
    let saw =
        saw.split_once('"').unwrap().0.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">");
    let saw: Value = serde_json::from_str(&saw.replace("&amp;", "&")).unwrap();
    assert_eq!(saw["error"], Value::Null);
    let data = page.data();
    let of_turn = data["records"].as_array().unwrap().iter().filter(|record| record["turn"] == 3).count();
    let expected = [
        ("heading", Value::from("Turn 3")),
        ("needs", 2.into()),
        ("nodes", 4.into()),
        ("lanes", 4.into()),
        ("rows", of_turn.into()),
        ("focusAfterSlash", "search".into()),
        ("rowsOfNothing", 0.into()),
        ("rowsInDoubt", 1.into()),
        ("focusAfterJ", "record-head".into()),
        ("arrowMoves", true.into()),
        ("inTabOrder", 1.into()),
        ("laneTable", 2.into()),
        ("headingAfterP", "Turn 2".into()),
        ("help", true.into()),
        ("headingWithoutKeys", "Turn 2".into()),
        ("violationsOfThePage", 0.into()),
        ("markup", "refused".into()),
    ];
    for (what, expected) in expected {
        assert_eq!(saw[what], expected, "{what}: {saw}");
    }
    // The markup, the picture and the data.
    assert_eq!(saw["violations"], 3, "{saw}");
    let body = saw["body"].as_str().unwrap();
    let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    assert!(body["reason"].as_str().unwrap().contains(HOSTILE), "{body}");
    assert!(saw["local"].as_str().unwrap().contains('+') || saw["local"].as_str().unwrap().contains('-'));
}
