//! Writes a timeline as one HTML file that loads nothing: its style, its script and its data lie in it, and its
//! Content-Security-Policy allows that one style and that one script by their hashes, and nothing else.
//!
//! Whatever comes from a journal is data. It stands in the page as JSON in which no markup can begin, and the script
//! makes text of it, never markup; the policy lets no other way work (`require-trusted-types-for`).

use serde_json::Result;
use sha2::{Digest, Sha256};

use super::model::Timeline;

/// The parts of the style, in order.
const STYLE: [&str; 5] = [
    include_str!("page/base.css"),
    include_str!("page/frame.css"),
    include_str!("page/steps.css"),
    include_str!("page/records.css"),
    include_str!("page/narrow.css"),
];

/// The parts of the script, in order.
const SCRIPT: [&str; 11] = [
    include_str!("page/dom.js"),
    include_str!("page/time.js"),
    include_str!("page/words.js"),
    include_str!("page/json.js"),
    include_str!("page/head.js"),
    include_str!("page/turns.js"),
    include_str!("page/plan.js"),
    include_str!("page/step.js"),
    include_str!("page/lanes.js"),
    include_str!("page/records.js"),
    include_str!("page/main.js"),
];

/// The file.
pub(super) fn html(timeline: &Timeline) -> Result<String> {
    let style = as_read(&STYLE.concat());
    let script = as_read(&format!("(() => {{\n\"use strict\";\n{}}})();\n", SCRIPT.concat()));
    let policy = policy(&style, &script);
    let data = without_markup(&serde_json::to_string(timeline)?);
    Ok(format!(include_str!("page/page.html"), policy = policy, style = style, script = script, data = data))
}

/// A text as a browser reads it out of a file, which it hashes.
fn as_read(text: &str) -> String {
    text.replace("\r\n", "\n")
}

fn policy(style: &str, script: &str) -> String {
    format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; base-uri 'none'; form-action 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        source(style),
        source(script)
    )
}

/// The source expression that allows a text (Content Security Policy Level 3, section 2.3.1).
fn source(text: &str) -> String {
    format!("sha256-{}", base64(&Sha256::digest(text)))
}

/// The same JSON without a character that means something to HTML. In JSON they stand in texts alone.
fn without_markup(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// Base 64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        let digits = (0..4).map(move |at| DIGITS[(bits >> (18 - 6 * at) & 63) as usize]);
        let length = chunk.len();
        digits.enumerate().map(move |(at, digit)| if at <= length { char::from(digit) } else { '=' })
    };
    bytes.chunks(3).flat_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        // The vectors of RFC 4648, section 10.
        let vectors = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (text, expected) in vectors {
            assert_eq!(base64(text.as_bytes()), expected);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn the_parts_of_the_page_can_stand_in_it() {
        for part in STYLE {
            assert!(!part.contains("</") && !part.contains("url(") && !part.contains("@import"), "{part}");
        }
        for part in SCRIPT {
            let ends_script = ["</script", "<script", "<!--"].iter().any(|markup| part.contains(markup));
            let makes_markup = ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
                .iter()
                .any(|way| part.contains(way));
            assert!(!ends_script && !makes_markup, "{part}");
        }
    }

    #[test]
    fn no_markup_is_left_in_the_data() {
        let text = "</script><!--<script>&amp;\u{2028}\"\\";
        let json = without_markup(&serde_json::to_string(text).unwrap());
        assert!(!json.contains(['<', '>', '&']), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
