//! Puts text from files into Markdown so that it stays text: a file's name or a note must not make
//! a link, a heading or a second line.

/// What CommonMark or its tables could read as a mark within a line.
const MARKS: &str = "\\`*_[]<>|~#&$";

/// A text within a paragraph or a list.
pub(super) fn text(raw: &str) -> String {
    let mut escaped = String::with_capacity(raw.len());
    for character in raw.chars().map(visible) {
        if MARKS.contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// A text as code, such as a path. The fence is longer than any row of backticks within.
pub(super) fn code(raw: &str) -> String {
    let raw: String = raw.chars().map(visible).collect();
    let longest = raw.split(|character| character != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    let pad = if raw.is_empty() || raw.starts_with('`') || raw.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{raw}{pad}{fence}")
}

/// A line stays a line, and what reads left to right stays in its order.
fn visible(character: char) -> char {
    match character {
        '\t' | '\n' | '\r' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => '\u{fffd}',
        '\u{2028}' | '\u{2029}' => ' ',
        _ if character.is_control() => '\u{fffd}',
        _ => character,
    }
}
