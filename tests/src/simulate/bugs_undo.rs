//! Deliberate faults of who calls compensations.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::bugs::Bug;

/// How compensations are called, with a deliberate fault or without.
#[derive(Clone)]
pub(super) struct Undoing {
    bug: Option<Bug>,
    /// What the one before was called with.
    before: Arc<Mutex<Option<Value>>>,
}

impl Undoing {
    pub(super) fn new(bug: Option<Bug>) -> Self {
        Self { bug, before: Arc::default() }
    }

    /// What one is called with.
    pub(super) fn input(&self, input: Value) -> Value {
        if self.bug != Some(Bug::UndoOther) {
            return input;
        }
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).replace(input.clone());
        before.unwrap_or(input)
    }

    /// Whether one is called a second time.
    pub(super) fn is_twice(&self) -> bool {
        self.bug == Some(Bug::UndoTwice)
    }
}
