//! The search finds each form, or it would prove nothing.

use std::io::Write;

use base64::Engine as _;

use super::encodings::search;

const MARKER: &str = "Zäpfchen-4711";

fn forms_in(bytes: &[u8]) -> Vec<&'static str> {
    search(bytes, &[MARKER]).into_iter().map(|(_, form)| form).collect()
}

#[test]
fn a_text_is_found_in_every_form() {
    assert_eq!(forms_in(b"nothing of the kind"), [""; 0]);
    assert_eq!(forms_in(format!("before {MARKER} after").as_bytes()), ["UTF-8"]);
    for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
        let text: Vec<u8> = format!("before {MARKER} after").encode_utf16().flat_map(bytes).collect();
        assert_eq!(forms_in(&text), ["UTF-16"]);
    }
    for before in ["", "b", "be", "bef"] {
        for engine in [&base64::engine::general_purpose::STANDARD, &base64::engine::general_purpose::URL_SAFE]
        {
            let text = engine.encode(format!("{before}{MARKER} and more"));
            assert_eq!(forms_in(text.as_bytes()), ["Base64"], "{text}");
        }
    }
}

#[test]
fn a_text_is_found_in_compressed_streams_wherever_they_begin() {
    let text = format!("{}{MARKER}{}", "before ".repeat(100), " after".repeat(100));
    let level = flate2::Compression::best();
    let mut gzip = flate2::write::GzEncoder::new(b"some bytes before".to_vec(), level);
    gzip.write_all(text.as_bytes()).unwrap();
    let mut zlib = flate2::write::ZlibEncoder::new(b"other bytes".to_vec(), level);
    zlib.write_all(text.as_bytes()).unwrap();
    let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), level);
    deflate.write_all(text.as_bytes()).unwrap();
    for packed in [gzip.finish().unwrap(), zlib.finish().unwrap(), deflate.finish().unwrap()] {
        assert_eq!(forms_in(&packed), ["compressed"]);
    }
}
