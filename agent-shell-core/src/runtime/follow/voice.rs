//! The text of attempts under way: said by the attempt, kept once for all followers, and bounded.

use std::sync::Arc;

use super::Followed;
use super::live::{Floor, Live, State};
use crate::words::{StepId, TurnId};

/// The most text that a follower is given at once, in bytes.
const PIECE_BYTES: usize = 16 << 10;

/// What an attempt said, as far as it is kept.
pub(super) struct Speech {
    pub(super) voice: u64,
    pub(super) attempt: u32,
    /// How many bytes of the attempt's text stand before what is kept.
    pub(super) start: u64,
    pub(super) text: String,
}

impl Speech {
    fn end(&self) -> u64 {
        self.start + self.text.len() as u64
    }

    /// Lets go of at least so many bytes, or of all that there are.
    fn forget(&mut self, bytes: usize) {
        let mut cut = bytes.min(self.text.len());
        while !self.text.is_char_boundary(cut) {
            cut += 1;
        }
        self.text.drain(..cut);
        self.start += cut as u64;
    }

    /// What stands behind `offset`, as far as it is kept.
    pub(super) fn after(&self, step: &StepId, offset: u64) -> Option<Followed> {
        let offset = offset.max(self.start);
        if offset >= self.end() {
            return None;
        }
        let from = usize::try_from(offset - self.start).ok()?;
        let mut to = self.text.len().min(from + PIECE_BYTES);
        while !self.text.is_char_boundary(to) {
            to -= 1;
        }
        let text = self.text.get(from..to)?.to_owned();
        Some(Followed::Token { step: step.clone(), attempt: self.attempt, offset, text })
    }
}

/// An attempt as it speaks to followers. Dropped before it is finished, what it said is retracted: so it lives in the
/// future of the attempt.
pub(crate) struct Voice {
    live: Arc<Live>,
    turn: TurnId,
    step: StepId,
    attempt: u32,
    id: u64,
    /// How many bytes it has said, also to nobody.
    said: u64,
    is_finished: bool,
}

impl Live {
    /// A voice for an attempt that begins now. Earlier voices of the step are not heard any more once it speaks.
    pub(crate) fn voice(self: &Arc<Self>, turn: TurnId, step: StepId, attempt: u32) -> Voice {
        let id = self.next_voice();
        Voice { live: self.clone(), turn, step, attempt, id, said: 0, is_finished: false }
    }
}

impl Voice {
    /// Says more text to whoever follows. It never waits, and keeps nothing when nobody does.
    pub(crate) fn say(&mut self, text: &str) {
        let offset = self.said;
        self.said += text.len() as u64;
        if text.is_empty() {
            return;
        }
        if let Some(channel) = self.live.find(self.turn) {
            let said = channel.lock().hear(self, offset, text, self.live.live_bytes);
            if said {
                channel.nudge();
            }
        }
    }

    /// The attempt ended, and all that it said is in what it hands over. The text stays until that is durable.
    pub(crate) fn finish(mut self) {
        self.is_finished = true;
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        let Some(channel) = self.live.find(self.turn) else { return };
        let mut state = channel.lock();
        if state.speeches.get(&self.step).is_some_and(|speech| speech.voice == self.id) {
            state.silence(&self.step, Floor::before(self.id + 1));
            drop(state);
            channel.nudge();
        }
    }
}

impl State {
    /// Keeps what a voice says, unless its attempt is over.
    fn hear(&mut self, voice: &Voice, offset: u64, text: &str, most_bytes: usize) -> bool {
        if self.is_silenced(&voice.step, voice.id, voice.attempt) {
            return false;
        }
        if self.speeches.get(&voice.step).is_some_and(|speech| speech.voice != voice.id) {
            self.silence(&voice.step, Floor::before(voice.id));
        }
        let new = || Speech { voice: voice.id, attempt: voice.attempt, start: offset, text: String::new() };
        let speech = self.speeches.entry(voice.step.clone()).or_insert_with(new);
        speech.text.push_str(text);
        self.bytes += text.len();
        self.forget_down_to(most_bytes);
        true
    }

    /// Lets go of the oldest text of the longest speeches. A quarter more than it must, so that it is seldom done.
    fn forget_down_to(&mut self, most_bytes: usize) {
        if self.bytes <= most_bytes {
            return;
        }
        let wanted = most_bytes - most_bytes / 4;
        while self.bytes > wanted {
            let longest = self.speeches.values_mut().max_by_key(|speech| speech.text.len());
            let Some(longest) = longest.filter(|speech| !speech.text.is_empty()) else { return };
            let before = longest.text.len();
            longest.forget(self.bytes - wanted);
            self.bytes -= before - longest.text.len();
        }
    }
}
