//! Both programs judge archives alike: whole, several with an export after them, and whatever a forger makes of them.

use std::collections::BTreeMap;
use std::fs;

use agent_shell_core::words::{Head, SessionId};
use serde_json::{Value, json};

use super::{archive_in, archive_one, at, turn};
use crate::verifier::{verifier, whole};

type Heads = BTreeMap<SessionId, Head>;

/// What a shell exported whose first session left twice: its older file, its newer one, and the export.
struct Made {
    older: Vec<String>,
    newer: Vec<String>,
    export: Vec<String>,
    id: SessionId,
    heads: Heads,
    earlier: Heads,
}

impl Made {
    async fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let archive = archive_in(&folder);
        let shell = at(folder.path()).open().await.unwrap();
        turn(&shell, "anna", "one").await;
        let (id, head, first) = archive_one(&shell, &archive).await;
        let earlier = Heads::from([(id, head)]);
        shell.restore(&first).await.unwrap();
        turn(&shell, "anna", "two").await;
        let (_, _, second) = archive_one(&shell, &archive).await;
        turn(&shell, "bert", "one").await;
        let mut export = Vec::new();
        let heads = shell.export(&mut export, false).await.unwrap();
        shell.shutdown().await.unwrap();
        let lines = |bytes: Vec<u8>| -> Vec<String> {
            String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
        };
        let file = |path| lines(fs::read(path).unwrap());
        Self { older: file(first), newer: file(second), export: lines(export), id, heads, earlier }
    }
}

fn join(parts: &[&[String]]) -> Vec<String> {
    parts.concat()
}

fn changed(lines: &[String], at: usize, change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut lines = lines.to_vec();
    let mut line = serde_json::from_str(&lines[at]).unwrap();
    change(&mut line);
    lines[at] = line.to_string();
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs python3; `.ci/run` runs it"]
async fn archives_and_what_is_made_of_them_are_judged_alike() {
    let made = Made::make().await;
    let Made { older, newer, export, id, heads, earlier } = &made;
    let none = Heads::new();
    for (lines, known) in [
        (older.clone(), &none),
        (older.clone(), earlier),
        (newer.clone(), earlier),
        (join(&[older, newer]), earlier),
        (join(&[newer, export]), heads),
        (join(&[older, newer, export]), heads),
        (export.clone(), heads),
        (export.clone(), earlier),
    ] {
        assert!(whole(&lines, known));
    }
    let said = verifier(format!("{}\n", export.join("\n")).as_bytes(), &[]);
    assert!(said.problem.contains(&format!("session {id} is archived")), "{}", said.problem);

    assert!(!whole(older, heads), "an older archive lacks what is known");
    assert!(!whole(&join(&[older, export]), heads), "nor is it the one that the export speaks of");
    assert!(!whole(&join(&[export, newer]), heads), "archives come first");
    assert!(!whole(&join(&[newer, older]), &none), "the older one first");
    assert!(!whole(&join(&[newer, newer]), &none), "and each once");
    for cut in 1..newer.len() {
        assert!(!whole(&newer[..cut], &none), "{cut} lines are no archive");
        let mut gap = newer.clone();
        gap.remove(cut - 1);
        assert!(!whole(&gap, &none), "line {cut} is missing");
    }
    let end = newer.len() - 1;
    let blob = newer.iter().position(|line| line.starts_with("{\"blob\"")).unwrap();
    for forged in [
        changed(newer, 0, |line| line["archive"]["seq"] = json!(3)),
        changed(newer, 0, |line| line["archive"]["version"] = json!(2)),
        changed(newer, 0, |line| line["archive"]["hash"] = json!("0".repeat(64))),
        changed(newer, 0, |line| line["archive"]["requires"] = json!("x")),
        changed(newer, end, |line| line["archive_end"]["blobs"] = json!(0)),
        changed(newer, end, |line| line["archive_end"]["records"] = json!(1)),
        changed(newer, end, |line| line["archive_end"]["sha256"] = json!("0".repeat(64))),
        changed(newer, blob, |line| line["blob"]["sealed"] = json!("00")),
        changed(newer, blob, |line| line["blob"]["session"] = json!("0".repeat(26))),
        changed(newer, blob, |line| line["more"] = json!(1)),
    ] {
        assert!(!whole(&forged, &none));
    }
    let note = export.iter().position(|line| line.starts_with("{\"archived\"")).unwrap();
    let seq = heads[id].seq.number();
    for (seq, hash) in [(seq - 1, None), (seq + 1, None), (0, None), (seq, Some("1".repeat(64)))] {
        let forged = changed(export, note, |line| {
            line["archived"]["seq"] = json!(seq);
            if let Some(hash) = &hash {
                line["archived"]["hash"] = json!(hash);
            }
        });
        assert!(!whole(&join(&[newer, &forged]), &none), "the file does not fit record {seq}");
        assert!(seq > heads[id].seq.number() || !whole(&forged, heads), "a known head is not there: {seq}");
    }
    // Files that are whole, and are not the one that left: closed anew by somebody who changed what no chain covers.
    let reclosed = |mut lines: Vec<String>| {
        let end = lines.len() - 1;
        let before: String = lines[..end].iter().map(|line| format!("{line}\n")).collect();
        let digest = agent_shell_core::words::Digest::of(before).to_string();
        lines = changed(&lines, end, |line| line["archive_end"]["sha256"] = json!(digest));
        lines
    };
    let swapped = reclosed(changed(newer, blob, |line| line["blob"]["sealed"] = json!("00")));
    assert!(whole(&swapped, &none), "alone nobody can tell");
    assert!(!whole(&join(&[&swapped, export]), &none), "beside the journal's word it is found");
    assert!(whole(&join(&[&swapped, newer, export]), heads), "the right one may stand beside it");
    let elsewhere = reclosed(changed(newer, 0, |line| line["archive"]["tenant"] = json!("other")));
    assert!(!whole(&elsewhere, &none), "its records are of another tenant");
    let mut twice = export.clone();
    twice.insert(note, export[note].clone());
    assert!(!whole(&twice, &none), "it is said once");
    let mut gone = export.clone();
    gone.remove(note);
    assert!(!whole(&gone, heads), "a removed session is found, archived or not");
    assert!(whole(&join(&[newer, &gone]), heads), "but its file holds it");
    let inside = join(&[&newer[..2], &export[note..=note], &newer[2..]]);
    assert!(!whole(&inside, &none), "nothing else stands in an archive");
}
