//! The ledger's side of the conversation.

use std::io::{BufRead, Read, Write};
use std::path::Path;

use super::book::{Book, BookError, Outcome, io_error};
use super::protocol::{Answer, Call, MAX_LINE_BYTES, Reply, Request};
use super::{Summary, audit};

/// The longest text in a request, in bytes. A title of the quickstart is far shorter.
const MAX_TEXT_BYTES: usize = 4096;

/// What is said to who would publish when nothing is taken.
const CLOSED: &str = "it takes no publications now (--fail publish)";

/// Answers requests until the input ends. A request without its line end was not sent whole, and is
/// not carried out. With `refuses_publications` nothing is published, whoever asks.
///
/// # Errors
/// The file can't be used, or a write failed: then the last request is not answered, because nobody
/// knows whether it was recorded.
pub(crate) fn serve(
    file: &Path,
    refuses_publications: bool,
    mut input: impl BufRead,
    mut output: impl Write,
) -> Result<(), BookError> {
    let mut book = Book::open(file)?;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = input.by_ref().take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut line);
        read.map_err(|source| io_error(file, source))?;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
        let reply = match serde_json::from_slice::<Request>(&line) {
            Ok(Request { id, call: Call::Publish { .. } }) if refuses_publications => {
                Reply { id: Some(id), answer: refused(&CLOSED) }
            }
            Ok(request) => Reply { id: Some(request.id), answer: answer(&mut book, request.call)? },
            Err(error) => Reply { id: None, answer: refused(&error) },
        };
        let mut text = serde_json::to_vec(&reply).map_err(|error| io_error(file, error.into()))?;
        text.push(b'\n');
        if output.write_all(&text).and_then(|()| output.flush()).is_err() {
            // Nobody listens any more. What is in the file stays there.
            return Ok(());
        }
    }
}

fn answer(book: &mut Book, call: Call) -> Result<Answer, BookError> {
    if !has_sane_texts(&call) {
        return Ok(refused(&format!("a text is empty or longer than {MAX_TEXT_BYTES} bytes")));
    }
    match call {
        Call::OpenTicket { key, title, finding } => {
            told(book.open_ticket(key, title, finding), Answer::Ticket)
        }
        Call::CloseTicket { key, finding } => told(book.close_ticket(key, finding), Answer::Ticket),
        Call::Publish { key, path, digest } => told(book.publish(key, path, digest), Answer::Published),
        Call::WithdrawTicket { key, of } => told(book.withdraw_ticket(key, of), Answer::Ticket),
        Call::ReopenTicket { key, of } => told(book.reopen_ticket(key, of), Answer::Ticket),
        Call::Lookup { key } => Ok(Answer::Found(book.lookup(&key))),
        Call::Summary {} => audit::summary(book.path()).map(|summary: Summary| Answer::Summary(summary)),
    }
}

fn told<T>(outcome: Outcome<T>, answer: impl FnOnce(T) -> Answer) -> Result<Answer, BookError> {
    Ok(outcome?.map_or_else(|refusal| refused(&refusal), answer))
}

fn refused(reason: &impl ToString) -> Answer {
    Answer::Refused { reason: reason.to_string() }
}

fn has_sane_texts(call: &Call) -> bool {
    let texts: [&str; 3] = match call {
        Call::OpenTicket { key, title, finding } => [key, title, finding],
        Call::CloseTicket { key, finding } => [key, finding, finding],
        Call::Publish { key, path, digest } => [key, path, digest],
        Call::WithdrawTicket { key, of } | Call::ReopenTicket { key, of } => [key, of, of],
        Call::Lookup { key } => [key, key, key],
        Call::Summary {} => return true,
    };
    texts.iter().all(|text| !text.is_empty() && text.len() <= MAX_TEXT_BYTES)
}
