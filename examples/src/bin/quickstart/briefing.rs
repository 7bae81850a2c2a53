//! The briefing: a Markdown document made of nothing but the review and what changed, so that the
//! same input gives the same bytes.

mod markdown;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::findings::{Diff, Finding, FindingId, Findings, Tickets};
use crate::scan::{Coverage, History, Reason, Review};
use markdown::{code, text};

const MAX_DOCUMENTS: usize = 30;
const MAX_LEFT_OUT_PER_REASON: usize = 20;

/// Writes the briefing. `tickets` holds the tickets of this run's findings.
pub(crate) fn briefing(review: &Review, findings: &Findings, diff: &Diff, tickets: &Tickets) -> String {
    let mut page = String::new();
    // Writing to a string can't fail.
    let _ = write_briefing(&mut page, review, findings, diff, tickets);
    page
}

/// The SHA-256 of a document, in hexadecimal.
pub(crate) fn digest(document: &str) -> String {
    Sha256::digest(document.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write_briefing(
    page: &mut String,
    review: &Review,
    findings: &Findings,
    diff: &Diff,
    tickets: &Tickets,
) -> std::fmt::Result {
    let files = &review.files;
    writeln!(page, "# Briefing: {}\n", code(&review.folder))?;
    if files.files == 0 {
        writeln!(page, "There is no file to review in this folder.\n")?;
    } else {
        let (count, folders) = (counted(files.files, "file"), counted(files.folders, "folder"));
        writeln!(page, "Reviewed {count} in {folders} below it, {}.\n", size(files.bytes))?;
    }
    write_findings(page, findings, diff, tickets)?;
    write_languages(page, review)?;
    write_documents(page, review)?;
    write_history(page, review)?;
    write_left_out(page, review)
}

fn write_findings(
    page: &mut String,
    findings: &Findings,
    diff: &Diff,
    tickets: &Tickets,
) -> std::fmt::Result {
    let (new, gone, unchanged) = (diff.new.len(), diff.gone.len(), diff.unchanged.len());
    writeln!(page, "## Findings\n\n{new} new, {gone} gone, {unchanged} unchanged.\n")?;
    let by_id: BTreeMap<&FindingId, &Finding> =
        findings.items.iter().map(|finding| (&finding.id, finding)).collect();
    if new > 0 {
        writeln!(page, "### New\n")?;
    }
    for finding in diff.new.iter().filter_map(|id| by_id.get(id)) {
        let ticket = tickets.get(&finding.id).map(|ticket| format!("ticket {ticket}, "));
        let line = finding.line.map(|line| format!(":{line}")).unwrap_or_default();
        let place = code(&format!("{}{line}", finding.path));
        let detail = if finding.detail.is_empty() { String::new() } else { ": ".to_owned() };
        let (ticket, kind) = (ticket.unwrap_or_default(), finding.kind.words());
        writeln!(page, "- {ticket}{kind}, {place}{detail}{}", text(&finding.detail))?;
    }
    if gone > 0 {
        writeln!(page, "{}### Gone\n", if new > 0 { "\n" } else { "" })?;
    }
    for known in &diff.gone {
        let ticket = known.ticket.map(|ticket| format!("ticket {ticket}, ")).unwrap_or_default();
        writeln!(page, "- {ticket}{}", text(&known.title))?;
    }
    if new + gone > 0 {
        writeln!(page)?;
    }
    if !findings.beyond.is_empty() {
        let beyond = counted(findings.beyond.len() as u64, "more finding");
        writeln!(page, "There is room for {} tickets: {beyond} got none.\n", findings.items.len())?;
    }
    if findings.cut && gone > 0 {
        writeln!(page, "Part of the folder was not reviewed; what is gone may only lie there.\n")?;
    }
    Ok(())
}

fn write_languages(page: &mut String, review: &Review) -> std::fmt::Result {
    if review.languages.languages.is_empty() {
        return Ok(());
    }
    writeln!(page, "## Languages\n\n| Language | Files | Lines | Size |\n| --- | ---: | ---: | ---: |")?;
    for language in &review.languages.languages {
        let lines = language.lines.map_or("unknown".to_owned(), |lines| lines.to_string());
        writeln!(
            page,
            "| {} | {} | {lines} | {} |",
            text(&language.name),
            language.files,
            size(language.bytes)
        )?;
    }
    writeln!(page, "\nThe largest files:\n")?;
    for file in &review.languages.largest {
        writeln!(page, "- {}, {}", code(&file.path), size(file.bytes))?;
    }
    writeln!(page)
}

fn write_documents(page: &mut String, review: &Review) -> std::fmt::Result {
    let documents = &review.headings.documents;
    if documents.items.is_empty() {
        return Ok(());
    }
    writeln!(page, "## Documents\n")?;
    for document in documents.items.iter().take(MAX_DOCUMENTS) {
        let title = document.headings.first().map(|heading| text(&heading.text)).unwrap_or_default();
        let headings = counted(document.total, "heading");
        writeln!(page, "- {}: {title} ({headings})", code(&document.path))?;
    }
    let more = documents.items.len().saturating_sub(MAX_DOCUMENTS) as u64 + documents.left_out;
    if more > 0 {
        writeln!(page, "- and {}", counted(more, "more document"))?;
    }
    writeln!(page)
}

fn write_history(page: &mut String, review: &Review) -> std::fmt::Result {
    writeln!(page, "## Recent history\n")?;
    match &review.history {
        History::Absent { reason } => writeln!(page, "None: {}.\n", text(reason)),
        History::Commits(commits) => {
            for commit in commits {
                let id: String = commit.id.chars().take(10).collect();
                let (date, subject, author) =
                    (text(&commit.date), text(&commit.subject), text(&commit.author));
                writeln!(page, "- {date} {}: {subject} ({author})", code(&id))?;
            }
            writeln!(page)
        }
    }
}

fn write_left_out(page: &mut String, review: &Review) -> std::fmt::Result {
    let files = &review.files;
    writeln!(page, "## Left out\n")?;
    writeln!(page, "Not counted: what `.gitignore` names, `.git`, and the state of this program.\n")?;
    for (reason, count) in &files.left_out_by_reason {
        writeln!(page, "- {count} {}", words(*reason))?;
        let here = files.left_out.items.iter().filter(|left_out| left_out.reason == *reason);
        let listed: Vec<_> = here.take(MAX_LEFT_OUT_PER_REASON).collect();
        for left_out in &listed {
            writeln!(page, "  - {}", code(&left_out.path))?;
        }
        let more = count.saturating_sub(listed.len() as u64);
        if !listed.is_empty() && more > 0 {
            writeln!(page, "  - and {more} more")?;
        }
    }
    if files.ended_early {
        writeln!(page, "- the folder has too many entries: the walk ended before it had seen them all")?;
    }
    let scanners = [
        ("counting lines", &review.languages.coverage),
        ("reading headings", &review.headings.coverage),
        ("looking for notes", &review.notes.coverage),
    ];
    for (scanner, coverage) in scanners {
        for (count, words) in gaps(coverage) {
            writeln!(page, "- {scanner}: {count} {words}")?;
        }
    }
    let notes = &review.notes;
    let cut = [
        (notes.notes.left_out, "notes beyond the limit"),
        (notes.crowded_files, "files with more notes than are looked for in one file"),
        (review.headings.without_heading.left_out, "documents without a heading beyond the limit"),
        (review.languages.very_large.left_out, "very large files beyond the limit"),
        (review.languages.long.left_out, "long source files beyond the limit"),
    ];
    for (count, words) in cut.iter().filter(|(count, _)| *count > 0) {
        writeln!(page, "- {count} {words}")?;
    }
    Ok(())
}

/// What a scanner did not read and one might have expected it to.
fn gaps(coverage: &Coverage) -> impl Iterator<Item = (u64, &'static str)> {
    let gaps = [
        (coverage.cut_short, "long files, of which only the start was read"),
        (coverage.binary, "files without text"),
        (coverage.failed, "files that could not be read"),
        (coverage.beyond_limit, "files unread, because the limit of bytes was reached"),
    ];
    gaps.into_iter().filter(|(count, _)| *count > 0)
}

fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::Unreadable => "that can't be read",
        Reason::BrokenLink => "symbolic links that lead nowhere",
        Reason::LoopingLink => "symbolic links that lead back to themselves or to a folder around them",
        Reason::LinkNotFollowed => "symbolic links, not followed",
        Reason::NotAFile => "sockets, pipes or devices",
        Reason::NameNotUtf8 => "reviewed under a rewritten name, because the name is not UTF-8",
        Reason::TooDeep => "folders that lie too deep",
        Reason::BeyondFileLimit => "files beyond the limit of files",
    }
}

/// A size for people: three digits or so, decimal units.
fn size(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => counted(bytes, "byte"),
    }
}

fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
