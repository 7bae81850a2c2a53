//! How much of a conversation a model is shown: its end, or its end and a summary of what was before.

use crate::data::{FailureCode, Message};
use crate::ports::{Conversation, History, HistoryPolicy, PlannerError};

/// Shows the end of the conversation, at most so many bytes of JSON, and lets go what stands before it.
///
/// When the conversation passes the bound it is cut to about half of it, where a user speaks: so the beginning of a prompt
/// stays the same for many questions, and a vendor's cache of it holds. The turn that runs is never cut: one that is by itself
/// larger than the bound fails, with [`FailureCode::TooLarge`]. [`Compaction`] goes on instead.
#[derive(Debug, Clone)]
pub struct Window {
    bytes: u64,
}

impl Window {
    pub(super) const DEFAULT_BYTES: u64 = 256 << 10;

    /// A window of so many bytes of JSON, in which instructions and tools do not count. English text has about four bytes a
    /// token.
    pub fn bytes(bytes: u64) -> Self {
        Self { bytes }
    }
}

impl Default for Window {
    /// 256 KiB (262,144 bytes), which is about 64,000 tokens.
    fn default() -> Self {
        Self::bytes(Self::DEFAULT_BYTES)
    }
}

impl HistoryPolicy for Window {
    fn history(&self, conversation: &Conversation) -> Result<History, PlannerError> {
        let bytes = |first: u64| conversation.bytes_from(first) + conversation.next_bytes;
        if bytes(conversation.first) <= self.bytes {
            return Ok(History::from(conversation.first));
        }
        let turn_first = conversation.turn_first.clamp(conversation.first, conversation.end());
        if bytes(turn_first) > self.bytes {
            let (bytes, allowed) = (bytes(turn_first), self.bytes);
            let problem = format!(
                "what the turn has said has {bytes} bytes of JSON, and the model is shown {allowed} at most: show large outputs \
                 as handles, or have what was said summarised (`Compaction`)"
            );
            return Err(PlannerError::new(problem).with_code(FailureCode::TooLarge));
        }
        let mut places = (conversation.first..turn_first).filter(|&number| conversation.can_begin_at(number));
        Ok(History::from(places.find(|&place| bytes(place) <= self.bytes / 2).unwrap_or(turn_first)))
    }
}

/// Shows the whole conversation up to so many bytes of JSON. When it passes them, the model is first asked, by a step of its
/// own, to summarise its beginning: about half of the bound is left. What the users said stays as they said it. When even
/// that does not fit, or when the model makes no summary, the oldest turns are let go as a [`Window`] does.
///
/// The question for a summary shows the same instructions and tools as every other, so a vendor's cache of the conversation
/// holds for it, too; what it is told stands in no later question.
#[derive(Debug, Clone)]
pub struct Compaction {
    window: Window,
    words: String,
}

impl Compaction {
    /// What the model is told when nothing else is said.
    const WORDS: &str = "Summarise the conversation above for yourself, so that you can go on without it. Keep what was \
                         found out, decided, done and left open, with every name, number and identifier that may be needed. \
                         What the user said is kept word for word beside your summary: do not repeat it.";

    /// At most so many bytes of JSON, in which instructions and tools do not count.
    pub fn bytes(bytes: u64) -> Self {
        Self { window: Window::bytes(bytes), words: Self::WORDS.into() }
    }

    /// What the model is told when it is to summarise.
    #[must_use]
    pub fn words(mut self, words: impl Into<String>) -> Self {
        self.words = words.into();
        self
    }
}

impl Default for Compaction {
    /// 256 KiB (262,144 bytes), which is about 64,000 tokens.
    fn default() -> Self {
        Self { window: Window::default(), words: Self::WORDS.into() }
    }
}

impl HistoryPolicy for Compaction {
    fn history(&self, conversation: &Conversation) -> Result<History, PlannerError> {
        let (first, allowed) = (conversation.first, self.window.bytes);
        let bytes = |first: u64| conversation.bytes_from(first) + conversation.next_bytes;
        if bytes(first) <= allowed {
            return Ok(History::from(first));
        }
        if conversation.summary_failed {
            return self.window.history(conversation);
        }
        let before = |place: u64| (first..place).filter_map(|number| conversation.message(number));
        let is_user = |message: &Message| matches!(message, Message::User(_));
        let users = |place: u64| -> u64 {
            before(place).filter(|shown| is_user(&shown.message)).map(|shown| shown.bytes).sum()
        };
        // A summary is allowed a quarter of what there is, and an eighth stays free, or it would soon be asked for again.
        let fits = |place: u64| users(place) + bytes(place) + allowed / 4 <= allowed - allowed / 8;
        let places =
            || (first + 1..=conversation.end()).filter(|&number| conversation.can_summarise_before(number));
        let through = places().find(|&place| bytes(place) <= allowed / 2 && fits(place));
        let Some(through) = through.or_else(|| places().next_back()) else {
            return self.window.history(conversation);
        };
        let can_shrink =
            before(through).any(|shown| !matches!(*shown.message, Message::User(_) | Message::Summary(_)));
        if !can_shrink || !fits(through) {
            return self.window.history(conversation);
        }
        let words = format!("{} Write at most {} characters, and call no tools.", self.words, allowed / 4);
        Ok(History::from(first).summarised(through, words))
    }
}

#[cfg(test)]
mod tests;
