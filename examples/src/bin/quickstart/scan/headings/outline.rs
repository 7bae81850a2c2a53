//! Finds headings in the text of one document. Line by line, not a full parser: it knows enough of
//! each format not to take code for a heading.

use super::Heading;

/// Reads the headings of a text, top-down.
pub(super) type Reader = fn(&str) -> Vec<Heading>;

/// How the headings of a language's documents are read. `None` where it has no documents.
pub(super) fn reader(language: &str) -> Option<Reader> {
    match language {
        "Markdown" => Some(markdown),
        "reStructuredText" => Some(restructured_text),
        "AsciiDoc" => Some(ascii_doc),
        _ => None,
    }
}

/// Headings as CommonMark has them (ATX and setext), and those written in HTML. Front matter and
/// fenced code hold none.
fn markdown(text: &str) -> Vec<Heading> {
    let mut headings = Vec::new();
    let mut fence: Option<&str> = None;
    let mut paragraph: Option<&str> = None;
    for (number, line) in numbered_body(text) {
        let trimmed = line.trim();
        let indented = line.starts_with("    ") || line.starts_with('\t');
        if let Some(open) = fence {
            if trimmed.starts_with(open) && trimmed.chars().all(|mark| open.starts_with(mark)) {
                fence = None;
            }
            continue;
        }
        let above = paragraph.take();
        if let Some(open) = fence_of(trimmed) {
            fence = Some(open);
        } else if indented {
            // Code, or the rest of a paragraph.
        } else if let Some((level, text)) = atx(trimmed, '#').or_else(|| html(trimmed)) {
            headings.push(Heading { level, text, line: number });
        } else if let (Some(above), Some(level)) = (above, setext_level(trimmed)) {
            headings.push(Heading { level, text: above.to_owned(), line: number - 1 });
        } else if !trimmed.is_empty() && !trimmed.starts_with(['-', '*', '+', '>', '|']) {
            paragraph = Some(trimmed);
        }
    }
    headings
}

/// A line with a line of punctuation below it, at least as long. The order in which the marks are
/// first used gives the levels.
fn restructured_text(text: &str) -> Vec<Heading> {
    let mut headings = Vec::new();
    let mut marks = Vec::new();
    let mut above = "";
    for (number, line) in numbered(text) {
        let line = line.trim_end();
        let title_chars = above.chars().count();
        let is_title = title_chars > 0 && !above.starts_with(' ') && ruler(above).is_none();
        if let (true, Some(mark)) = (is_title && line.chars().count() >= title_chars, ruler(line)) {
            if !marks.contains(&mark) {
                marks.push(mark);
            }
            let position = marks.iter().position(|known| *known == mark).unwrap_or_default();
            let level = u8::try_from(position + 1).unwrap_or(u8::MAX);
            headings.push(Heading { level, text: above.to_owned(), line: number - 1 });
        }
        above = line;
    }
    headings
}

/// Lines that start with `=` signs, outside listing blocks.
fn ascii_doc(text: &str) -> Vec<Heading> {
    let mut headings = Vec::new();
    let mut block: Option<&str> = None;
    for (number, line) in numbered(text) {
        let line = line.trim_end();
        let is_delimiter = line.len() >= 4 && ["-", ".", "/", "="].iter().any(|mark| all_are(line, mark));
        match (block, is_delimiter) {
            (Some(open), true) if open == line => block = None,
            (None, true) => block = Some(line),
            (None, false) => {
                headings.extend(atx(line, '=').map(|(level, text)| Heading { level, text, line: number }));
            }
            _ => {}
        }
    }
    headings
}

/// The lines below YAML front matter, with their numbers in the file.
fn numbered_body(text: &str) -> impl Iterator<Item = (u64, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let opened = text.lines().next().is_some_and(|line| line.trim_end() == "---");
    let end = if opened { text.lines().skip(1).position(|line| line.trim_end() == "---") } else { None };
    numbered(text).skip(end.map_or(0, |inner| inner + 2))
}

fn numbered(text: &str) -> impl Iterator<Item = (u64, &str)> {
    (1..).zip(text.lines())
}

/// The marks that open fenced code: three or more backticks or tildes.
fn fence_of(line: &str) -> Option<&str> {
    let mark = line.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
    let open = &line[..line.len() - line.trim_start_matches(mark).len()];
    // What follows backticks may hold no backtick, or it is code within a paragraph.
    (open.len() >= 3 && (mark == '~' || !line[open.len()..].contains('`'))).then_some(open)
}

/// `## Title ##` as its level and text.
fn atx(line: &str, mark: char) -> Option<(u8, String)> {
    let rest = line.trim_start_matches(mark);
    let level = u8::try_from(line.len() - rest.len()).ok().filter(|level| (1..=6).contains(level))?;
    if !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
        return None;
    }
    let text = rest.trim();
    let unclosed = text.trim_end_matches(mark);
    let text = if unclosed.is_empty() || unclosed.ends_with(' ') { unclosed.trim_end() } else { text };
    Some((level, text.to_owned()))
}

/// `<h1 align="center">Title</h1>` as its level and text.
fn html(line: &str) -> Option<(u8, String)> {
    let rest = line.strip_prefix("<h").or_else(|| line.strip_prefix("<H"))?;
    let level = rest.bytes().next().filter(|digit| (b'1'..=b'6').contains(digit))? - b'0';
    let rest = rest[1..].starts_with([' ', '>']).then_some(&rest[1..])?;
    let mut text = String::new();
    let mut in_tag = true;
    for character in rest.chars() {
        match character {
            '<' => in_tag = true,
            '>' => in_tag = false,
            _ if !in_tag => text.push(character),
            _ => {}
        }
    }
    Some((level, text.trim().to_owned()))
}

fn setext_level(line: &str) -> Option<u8> {
    if line.is_empty() {
        None
    } else if all_are(line, "=") {
        Some(1)
    } else {
        all_are(line, "-").then_some(2)
    }
}

fn ruler(line: &str) -> Option<char> {
    let mark = line.chars().next().filter(char::is_ascii_punctuation)?;
    (line.len() >= 2 && line.chars().all(|character| character == mark)).then_some(mark)
}

fn all_are(line: &str, mark: &str) -> bool {
    line.trim_start_matches(mark).is_empty()
}
