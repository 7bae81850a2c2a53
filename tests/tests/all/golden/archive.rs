//! The form of an archive file.

use std::collections::BTreeMap;

use agent_shell_core::runtime::verify_export;
use agent_shell_core::words::{Head, Seq};

use super::{golden, vector};

#[test]
fn an_archive_that_another_program_made_verifies() {
    let archive = golden("archive-v1.jsonl");
    let report = verify_export(archive.as_bytes(), &BTreeMap::new()).unwrap();
    let head = Head { seq: Seq::new(3), hash: vector("export_head").parse().unwrap() };
    assert_eq!((report.records, report.heads.into_values().collect::<Vec<_>>()), (3, vec![head]));
    // The export of the same session may stand after it, as if the session had been restored.
    let both = archive + &golden("export-v1.jsonl");
    assert_eq!(verify_export(both.as_bytes(), &BTreeMap::new()).unwrap().records, 6);
}

#[test]
fn a_change_of_any_of_its_bytes_is_found() {
    let archive = golden("archive-v1.jsonl").into_bytes();
    for at in 0..archive.len() {
        let mut changed = archive.clone();
        changed[at] ^= 1;
        assert!(verify_export(&*changed, &BTreeMap::new()).is_err(), "byte {at}");
    }
}
