//! The forms in which a text may stand in bytes.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What is read of one compressed stream, at most.
const MOST_UNPACKED: u64 = 16 << 20;

/// The markers that stand in the bytes, each with its form.
pub(super) fn search(bytes: &[u8], markers: &[&str]) -> Vec<(String, &'static str)> {
    let mut found = plain(bytes, markers);
    for unpacked in streams(bytes) {
        found.extend(plain(&unpacked, markers).into_iter().map(|(marker, _)| (marker, "compressed")));
    }
    found
}

fn plain(bytes: &[u8], markers: &[&str]) -> Vec<(String, &'static str)> {
    let forms = |marker: &str| {
        let little: Vec<u8> = marker.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = marker.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let mut forms = vec![(marker.as_bytes().to_vec(), "UTF-8"), (little, "UTF-16"), (big, "UTF-16")];
        forms.extend(in_base64(marker).into_iter().map(|text| (text, "Base64")));
        forms
    };
    let mut found = Vec::new();
    for marker in markers {
        for (form, name) in forms(marker) {
            if contains(bytes, &form) && !found.contains(&((*marker).to_owned(), name)) {
                found.push(((*marker).to_owned(), name));
            }
        }
    }
    found
}

/// What of a marker's Base64 does not depend on what stands before and after it, for each place in a group of three.
fn in_base64(marker: &str) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    for before in 0..3 {
        let padded = [&b"..."[..before], marker.as_bytes()].concat();
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let text = engine.encode(&padded).into_bytes();
            let first = (before * 8).div_ceil(6);
            let whole = padded.len() * 8 / 6;
            texts.push(text[first..whole].to_vec());
        }
    }
    texts
}

pub(super) fn contains(bytes: &[u8], form: &[u8]) -> bool {
    let Some((&first, rest)) = form.split_first() else { return false };
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == first) {
        if bytes[from + at + 1..].starts_with(rest) {
            return true;
        }
        from += at + 1;
    }
    false
}

/// What unpacks wherever a stream may begin: gzip and zlib by their headers, deflate at the beginning alone, for it
/// has none.
fn streams(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut unpacked = Vec::new();
    let mut read = |stream: &mut dyn Read| {
        let mut text = Vec::new();
        // A stream that is cut off may still have said enough.
        drop(stream.take(MOST_UNPACKED).read_to_end(&mut text));
        if !text.is_empty() {
            unpacked.push(text);
        }
    };
    read(&mut flate2::read::DeflateDecoder::new(bytes));
    for at in 0..bytes.len().saturating_sub(2) {
        let rest = &bytes[at..];
        if rest.starts_with(&[0x1f, 0x8b, 8]) {
            read(&mut flate2::read::GzDecoder::new(rest));
        }
        // RFC 1950: deflate with a window, and a header whose two bytes are a multiple of 31.
        if rest[0] & 0x8f == 8 && u16::from_be_bytes([rest[0], rest[1]]).is_multiple_of(31) {
            read(&mut flate2::read::ZlibDecoder::new(rest));
        }
    }
    unpacked
}
