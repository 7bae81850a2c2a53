//! Sealed texts of archive files and exports, opened with keys. The lines are those of docs/FORMAT.md.

use std::path::Path;
use std::{fs, io};

use agent_shell_core::data::{DataKey, Sealer};
use agent_shell_core::words::{Digest, SessionId};
use serde_json::Value;

use super::Finding;
use super::encodings;

pub(super) fn is_lines(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "jsonl")
}

/// The markers in what the keys open.
pub(super) fn search(file: &Path, keys: &[DataKey], markers: &[&str]) -> io::Result<Vec<Finding>> {
    let sealers: Vec<Sealer> = keys.iter().map(Sealer::new).collect();
    let mut found = Vec::new();
    for line in fs::read_to_string(file)?.lines() {
        let Some((context, sealed)) = serde_json::from_str(line).ok().and_then(|line| sealed_in(&line))
        else {
            continue;
        };
        for text in sealers.iter().filter_map(|sealer| sealer.open(&context, &sealed).ok()) {
            let place = || format!("{}, a line", file.display());
            let places = encodings::search(&text, markers).into_iter();
            found.extend(places.map(|(marker, _)| Finding { marker, place: place(), form: "sealed" }));
        }
    }
    Ok(found)
}

/// The sealed text of a line, and the context that it was sealed for.
fn sealed_in(line: &Value) -> Option<(Vec<u8>, Vec<u8>)> {
    let (members, domain) = match line.get("blob") {
        Some(blob) => (blob, &b"blob/1"[..]),
        None => (line, &b"record/1"[..]),
    };
    let session: SessionId = members["session"].as_str()?.parse().ok()?;
    let (sealed, of) = match members["address"].as_str() {
        Some(address) => (&members["sealed"], address.parse::<Digest>().ok()?.as_bytes().to_vec()),
        None => (&members["sealed_body"], members["kind"].as_str()?.as_bytes().to_vec()),
    };
    Some(([domain, &session.to_bytes(), &of].concat(), unhex(sealed.as_str()?)?))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
