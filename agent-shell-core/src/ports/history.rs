//! How much of a conversation a model is shown.

use std::sync::Arc;

use super::planner::PlannerError;
use crate::data::{Message, Said};

/// Decides what of a session's conversation the next question shows, and when the beginning is summarised.
///
/// It is the host's own code, and quick: it reads nothing, waits for nothing and changes nothing. What it answers is recorded
/// with the plan, so recovery asks it nothing again.
///
/// # What an implementation must do
/// - Show a conversation from a place at which it can begin: [`Conversation::can_begin_at`].
/// - Show from the same place as long as it can: a vendor caches a prompt by its beginning, and what is let go once can't be
///   shown again.
pub trait HistoryPolicy: Send + Sync + 'static {
    /// What the next question shows.
    ///
    /// # Errors
    /// [`PlannerError`] ends the turn as failed: what must be shown does not fit, say.
    fn history(&self, conversation: &Conversation) -> Result<History, PlannerError>;
}

/// The conversation of a session as far as it is kept.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Conversation {
    /// The number of the first message that is kept. Numbers count all messages of the session from 0.
    pub first: u64,
    /// The messages from there on, the oldest first.
    pub messages: Vec<ShownMessage>,
    /// The number from which on the messages belong to the turn that is planned. What the turn says first may not be among
    /// them yet.
    pub turn_first: u64,
    /// The bytes of JSON that the next message is going to have, about.
    pub next_bytes: u64,
    /// Whether a summary was asked for in this turn and could not be made: what is shown must fit without one then.
    pub summary_failed: bool,
}

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownMessage {
    /// The message.
    pub message: Arc<Message>,
    /// The length of its JSON, in bytes.
    pub bytes: u64,
}

impl Conversation {
    /// The number that the next message gets.
    pub fn end(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    /// The message with a number, when it is kept.
    pub fn message(&self, number: u64) -> Option<&ShownMessage> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.messages.get(place)
    }

    /// Whether what is shown may begin with the message of this number: with what a user says, with a summary, or behind all
    /// that is kept. Results without the calls before them are refused by every vendor. What the
    /// user says begins a turn.
    pub fn can_begin_at(&self, number: u64) -> bool {
        number == self.end()
            || self
                .message(number)
                .is_some_and(|shown| matches!(*shown.message, Message::User(_) | Message::Summary(_)))
    }

    /// Whether a summary may end before the message of this number: calls and their results stay together.
    pub fn can_summarise_before(&self, number: u64) -> bool {
        let before = number.checked_sub(1).and_then(|before| self.message(before));
        let calls = |said: &Vec<Said>| said.iter().any(|part| matches!(part, Said::Call(_)));
        number <= self.end()
            && before.is_some_and(|shown| !matches!(&*shown.message, Message::Model(said) if calls(said)))
    }

    /// The bytes of JSON from the message with this number on.
    pub fn bytes_from(&self, number: u64) -> u64 {
        let skipped = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.messages.iter().skip(skipped).map(|shown| shown.bytes).sum()
    }
}

/// What of a conversation is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// The number of the first message that is shown.
    pub first: u64,
    /// What is to be summarised before anything else is asked.
    pub summary: Option<SummaryOf>,
}

/// What is to be summarised.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SummaryOf {
    /// The number of the first message that is not summarised.
    pub through: u64,
    /// What the model is told to do.
    pub words: String,
}

impl History {
    /// Shows the messages from this number on.
    pub fn from(first: u64) -> Self {
        Self { first, summary: None }
    }

    /// Has the messages before this number summarised first, in these words. What the user said in them stays.
    #[must_use]
    pub fn summarised(mut self, through: u64, words: impl Into<String>) -> Self {
        self.summary = Some(SummaryOf { through, words: words.into() });
        self
    }
}
