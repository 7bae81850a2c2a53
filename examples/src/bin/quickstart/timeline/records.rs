//! The records of a page: the latest ones of a session, with as much of their bodies as a page may hold.

use std::collections::VecDeque;

use agent_shell_core::data::{self, Header};
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::{Digest, Seq, StepId};

use super::bounds::{ALL_BODY_BYTES, BODY_BYTES, RECORDS};
use super::line;
use super::model::{LeftOut, Record, Text};

/// What of a record needs no key.
pub(super) struct Outside {
    pub(super) header: Header,
    pub(super) hash: Digest,
}

/// The outsides of the latest records.
#[derive(Default)]
pub(super) struct Stored(VecDeque<Outside>);

/// What of a record needs its key.
struct Inside {
    seq: Seq,
    turn: Option<u64>,
    step: Option<StepId>,
    about: String,
    body: Option<Text>,
}

/// The insides of the latest records. It never holds more than a page may.
#[derive(Default)]
pub(super) struct Opened {
    latest: VecDeque<Inside>,
    /// The bytes of the bodies that are held.
    bytes: usize,
    /// How many of the oldest had to give up their bodies.
    bare: usize,
}

impl Stored {
    pub(super) fn take(&mut self, outside: Outside) {
        if self.0.len() == RECORDS {
            self.0.pop_front();
        }
        self.0.push_back(outside);
    }

    /// The place of the first record that is held.
    pub(super) fn first(&self) -> Seq {
        self.0.front().map_or(Seq::ZERO, |outside| outside.header.seq)
    }
}

impl Opened {
    pub(super) fn take(&mut self, entry: &HistoryEntry, turn: Option<u64>) {
        if self.latest.len() == RECORDS
            && let Some(oldest) = self.latest.pop_front()
        {
            self.bytes -= bytes_of(&oldest);
            self.bare = self.bare.saturating_sub(1);
        }
        let json = String::from_utf8_lossy(&data::encode(&entry.body)).into_owned();
        let beginning = line::cut(&json, BODY_BYTES);
        let of_bytes = (beginning.len() < json.len()).then_some(json.len());
        self.bytes += beginning.len();
        self.latest.push_back(Inside {
            seq: entry.seq,
            turn,
            step: entry.body.step().cloned(),
            about: line::about(&entry.body),
            body: Some(Text { json: beginning.to_owned(), of_bytes }),
        });
        while self.bytes > ALL_BODY_BYTES {
            let oldest = &mut self.latest[self.bare];
            self.bytes -= bytes_of(oldest);
            oldest.body = None;
            self.bare += 1;
        }
    }

    /// Joins both sides.
    pub(super) fn join(self, stored: Stored, left_out: &mut LeftOut) -> Vec<Record> {
        let is_cut = |inside: &&Inside| inside.body.as_ref().is_some_and(|body| body.of_bytes.is_some());
        left_out.cut = self.latest.iter().filter(is_cut).count() as u64;
        left_out.bodies = self.bare as u64;
        let mut insides = self.latest.into_iter().peekable();
        let mut joined = Vec::with_capacity(stored.0.len());
        for outside in stored.0 {
            let seq = outside.header.seq;
            while insides.next_if(|inside| inside.seq < seq).is_some() {}
            joined.push(record(outside, insides.next_if(|inside| inside.seq == seq)));
        }
        joined
    }
}

fn bytes_of(inside: &Inside) -> usize {
    inside.body.as_ref().map_or(0, |body| body.json.len())
}

fn record(Outside { header, hash }: Outside, inside: Option<Inside>) -> Record {
    let (turn, step, about, body) = match inside {
        Some(Inside { turn, step, about, body, .. }) => (turn, step, about, body),
        None => (None, None, String::new(), None),
    };
    Record {
        seq: header.seq,
        epoch: header.epoch,
        kind: header.kind.as_str().to_owned(),
        version: header.version,
        time: header.time,
        actor: header.actor,
        hash,
        turn,
        step,
        about,
        body,
    }
}
