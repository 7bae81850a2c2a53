//! Golden files: what version 1 of the format wrote is read for ever, and means the same. The files in
//! `tests/golden` never change; a new version of a form adds files of its own.
//!
//! `vectors-v1.json`, `export-v1.jsonl` and `archive-v1.jsonl` were computed by `vectors.py` from docs/FORMAT.md, without this library.
//! Everything here also holds with the feature `json-variants`: see the manifest.

mod archive;
mod bodies;
mod children;
mod events;
mod export;
mod keys;
mod mail;
mod records;

use std::fs;

use serde_json::Value;

use crate::workspace;

/// The text of a golden file.
fn golden(name: &str) -> String {
    fs::read_to_string(workspace::root().join("tests/golden").join(name)).unwrap()
}

/// A value that was computed without this library.
fn vector(name: &str) -> String {
    let vectors: Value = serde_json::from_str(&golden("vectors-v1.json")).unwrap();
    vectors[name].as_str().unwrap_or_else(|| panic!("no vector `{name}`")).to_owned()
}

/// A text of hexadecimal digits as bytes.
fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
