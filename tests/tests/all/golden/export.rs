//! The chain, the sealing and the form of an export.

use std::collections::BTreeMap;

use agent_shell_core::data::{Body, ChainBreak, DataKey, KeyId, Sealer, decode, keyed_digest};
use agent_shell_core::runtime::{VerifyError, VerifyReport, verify_export};
use agent_shell_core::words::{Digest, Head, Seq, SessionId};
use serde_json::Value;

use super::{bytes, golden, vector};

/// Bytes 0, 1, 2, ... 31.
fn key() -> DataKey {
    DataKey::from_bytes(std::array::from_fn(|nth| nth as u8))
}

fn lines() -> Vec<Value> {
    golden("export-v1.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn verified(lines: &[Value], known: &[(SessionId, Head)]) -> Result<VerifyReport, VerifyError> {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    verify_export(text.as_bytes(), &known.iter().copied().collect::<BTreeMap<_, _>>())
}

fn session() -> SessionId {
    lines()[0]["session"].as_str().unwrap().parse().unwrap()
}

fn head() -> Head {
    Head { seq: Seq::new(3), hash: vector("export_head").parse().unwrap() }
}

#[test]
fn an_export_that_another_program_made_verifies() {
    let report = verified(&lines(), &[(session(), head())]).unwrap();
    assert_eq!((report.records, report.heads), (3, BTreeMap::from([(session(), head())])));
}

#[test]
fn its_bodies_open_and_are_read() {
    let sealer = Sealer::new(&key());
    let bodies: Vec<Body> = lines()
        .iter()
        .map(|line| {
            let kind = line["kind"].as_str().unwrap();
            let context = [b"record/1", &session().to_bytes()[..], kind.as_bytes()].concat();
            let opened = sealer.open(&context, &bytes(line["sealed_body"].as_str().unwrap())).unwrap();
            decode(kind, 1, &opened).unwrap()
        })
        .collect();
    let kinds: Vec<&str> = bodies.iter().map(Body::kind).collect();
    assert_eq!(kinds, ["session.opened", "turn.started", "turn.ended"]);
}

/// Every member is covered by the chain but `append`, which names a retry and says nothing of what happened.
#[test]
fn a_change_of_any_chained_member_is_found() {
    let lines = lines();
    for (nth, line) in lines.iter().enumerate() {
        for (name, value) in line.as_object().unwrap() {
            let mut changed = lines.clone();
            changed[nth][name] = match value {
                Value::Number(number) => (number.as_u64().unwrap() + 1).into(),
                Value::String(text) if text.ends_with('1') => format!("{}2", &text[..text.len() - 1]).into(),
                Value::String(text) => format!("{}1", &text[..text.len() - 1]).into(),
                other => panic!("`{name}` is {other}"),
            };
            let found = verified(&changed, &[]).is_err();
            assert_eq!(found, name != "append", "`{name}` of record {} was changed", nth + 1);
        }
    }
}

#[test]
fn a_cut_is_found_by_who_kept_the_head() {
    let mut cut = lines();
    cut.truncate(2);
    assert!(verified(&cut, &[]).is_ok(), "nothing in the export itself shows that its tail is gone");
    let broken = verified(&cut, &[(session(), head())]).unwrap_err();
    assert!(matches!(broken, VerifyError::Broken { broken: ChainBreak::Head { .. }, .. }), "{broken}");
    let missing = verified(&[], &[(session(), head())]).unwrap_err();
    assert!(matches!(missing, VerifyError::Missing { .. }), "{missing}");
    let mut gap = lines();
    gap.remove(1);
    assert!(verified(&gap, &[]).is_err(), "a record in the middle is missing");
}

#[test]
fn texts_are_sealed_and_keys_derived_as_described() {
    let nonce = *b"nonce-of-12-";
    let sealed = Sealer::new(&key()).seal(nonce, b"context", "ä text".as_bytes());
    assert_eq!(sealed, bytes(&vector("sealed")));
    assert_eq!(Sealer::new(&key()).open(b"context", &sealed).unwrap(), "ä text".as_bytes());
    assert!(Sealer::new(&key()).open(b"another", &sealed).is_err());
    let parts: [&[u8]; 3] = [b"a", b"", b"bc"];
    assert_eq!(keyed_digest(key().expose(), "domain", &parts).to_string(), vector("keyed_digest"));
    assert_eq!(key().digest("subject-key", &[b"ada"]).to_string(), vector("subject_key_id"));
    assert_eq!(KeyId(Digest::ZERO).0.to_string(), "0".repeat(64));
}
