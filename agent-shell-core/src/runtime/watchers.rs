//! Who waits for a turn in this process, and what they are shown: only what is durable.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::rest::Rest;
use crate::data::Outcome;
use crate::words::TurnId;

/// A turn as its owner shows it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct TurnView {
    /// What waits for a person.
    pub(crate) open: Vec<Rest>,
    /// Whether nothing but a person can move it.
    pub(crate) rests: bool,
    /// How it ended.
    pub(crate) outcome: Option<Outcome>,
    /// Counts the mail that was read: a decision that changed nothing is news too for whoever saw it wait.
    pub(crate) read: u64,
}

/// The turns that somebody in this process waits for.
#[derive(Default)]
pub(crate) struct Watchers {
    turns: Mutex<HashMap<TurnId, watch::Sender<TurnView>>>,
}

impl Watchers {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TurnId, watch::Sender<TurnView>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a turn from now on.
    pub(crate) fn watch(&self, turn: TurnId) -> watch::Receiver<TurnView> {
        let mut turns = self.lock();
        if turns.len() >= 64 && turns.len().is_power_of_two() {
            turns.retain(|_, sender| sender.receiver_count() > 0);
        }
        turns.entry(turn).or_default().subscribe()
    }

    /// Whether anybody watches a turn.
    pub(crate) fn is_watched(&self, turn: TurnId) -> bool {
        self.lock().contains_key(&turn)
    }

    /// Shows what is durable of a turn. One that has ended is forgotten here; its outcome is in the journal.
    pub(crate) fn show(&self, turn: TurnId, view: TurnView) {
        let mut turns = self.lock();
        let ended = view.outcome.is_some();
        if let Some(sender) = turns.get(&turn) {
            sender.send_if_modified(|shown| {
                let changed = *shown != view;
                *shown = view;
                changed
            });
            if ended || sender.receiver_count() == 0 {
                turns.remove(&turn);
            }
        }
    }
}
