//! How far one follower is, in records and in text.

use std::collections::BTreeMap;

use super::Followed;
use super::live::{Channel, Ends, State, ends_turn};
use crate::data::Body;
use crate::machine::Entry;
use crate::words::{Seq, StepId, TurnId};

/// A follower's place. It holds no text and no record.
pub(super) struct Cursor {
    /// The last record that was told.
    pub(super) after: Seq,
    turn: TurnId,
    /// That record is the turn's last, whatever else is durable.
    is_at_end: bool,
    /// The attempts of which text was told, and that have not ended for this follower.
    told: BTreeMap<StepId, Told>,
}

struct Told {
    /// None when none of it was told before its end was.
    voice: Option<u64>,
    attempt: u32,
    /// How many bytes of the attempt's text are told, or were lost.
    offset: u64,
    /// A record has put an end to it, and this process has not noticed yet.
    is_retracted: bool,
}

/// What comes next for a follower.
pub(super) enum Next {
    /// What is durable of the turn is not known here yet.
    Look,
    /// A record is next, and `last` is the last one that can be told.
    Durable {
        last: Seq,
    },
    Live(Followed),
    Wait,
    /// The last record was told.
    Over,
    Purged,
}

impl Cursor {
    pub(super) fn new(turn: TurnId, after: Seq) -> Self {
        Self { after, turn, is_at_end: false, told: BTreeMap::new() }
    }

    /// Looks, in one moment, at all that followers share.
    pub(super) fn next(&mut self, channel: &Channel) -> Next {
        let state = channel.lock();
        let known = &state.known;
        if known.is_purged {
            return Next::Purged;
        }
        if self.is_at_end {
            return Next::Over;
        }
        if !known.is_looked_up {
            return Next::Look;
        }
        let Some(started) = known.started else { return Next::Wait };
        self.after = self.after.max(Seq::new(started.number().saturating_sub(1)));
        let last = known.last();
        if self.after < last {
            return Next::Durable { last };
        }
        if known.ended.is_some_and(|ended| self.after >= ended) {
            return Next::Over;
        }
        self.next_live(&state).map_or(Next::Wait, Next::Live)
    }

    fn next_live(&mut self, state: &State) -> Option<Followed> {
        while let Some(step) = self.gone(state) {
            let told = self.told.remove(&step)?;
            if !told.is_retracted {
                return Some(Followed::Retracted { step, attempt: told.attempt });
            }
        }
        for (step, speech) in &state.speeches {
            let told = self.told.get(step);
            if told.is_some_and(|told| told.is_retracted) {
                continue;
            }
            let Some(more) = speech.after(step, told.map_or(0, |told| told.offset)) else { continue };
            if let Followed::Token { offset, text, .. } = &more {
                let (voice, attempt, offset) = (speech.voice, speech.attempt, offset + text.len() as u64);
                let voice = Some(voice);
                self.told.insert(step.clone(), Told { voice, attempt, offset, is_retracted: false });
            }
            return Some(more);
        }
        None
    }

    /// A step of which text was told that is not there any more. As all records were told before, none has taken its
    /// place.
    fn gone(&self, state: &State) -> Option<StepId> {
        let is_gone = |step: &StepId, told: &Told| match (state.speeches.get(step), told.voice) {
            (None, _) => true,
            (Some(speech), Some(voice)) => speech.voice != voice,
            (Some(speech), None) => speech.attempt > told.attempt,
        };
        self.told.iter().find(|(step, told)| is_gone(step, told)).map(|(step, _)| step.clone())
    }

    /// Text that must be retracted before a record with this body is told. It is asked again until there is none.
    pub(super) fn retracted_by(&mut self, body: &Body) -> Option<(StepId, u32)> {
        let ends = Ends::of(body);
        let retracted = self.told.iter_mut().find(|(step, told)| {
            let is_meant = match ends {
                Ends::Nothing | Ends::Step(_) => false,
                Ends::Attempt(ended, attempt) => ended == *step && told.attempt <= attempt,
                Ends::All => true,
            };
            is_meant && !told.is_retracted
        });
        let (step, told) = retracted?;
        told.is_retracted = true;
        Some((step.clone(), told.attempt))
    }

    /// A record is told. Text to which it puts an end may still be shared, because this process has not noticed yet: it is not
    /// told any more, whether some of it was or not.
    pub(super) fn passes(&mut self, entry: &Entry, channel: &Channel) {
        self.after = entry.seq;
        self.is_at_end |= ends_turn(&entry.body, self.turn);
        let (step, attempt) = match Ends::of(&entry.body) {
            Ends::Step(step) => (step, u32::MAX),
            Ends::Attempt(step, attempt) => (step, attempt),
            _ => return,
        };
        if let Some(told) = self.told.get_mut(step) {
            told.is_retracted |= told.attempt <= attempt;
        } else if channel.lock().speeches.get(step).is_some_and(|speech| speech.attempt <= attempt) {
            let told = Told { voice: None, attempt, offset: 0, is_retracted: true };
            self.told.insert(step.clone(), told);
        }
    }
}
