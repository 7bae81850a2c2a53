//! What outlives a process in a test.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

/// What tools act on, and what outlives the process: a payment service, a mail server, a database of the host's. Each run has
/// a fresh one, which all lives of its process share.
pub trait World: Send + Sync + 'static {
    /// Everything that was done to it, in a form that does not depend on the order of independent acts, nor on keys and ids:
    /// they differ from run to run. A sweep compares it with that of the run without a crash.
    fn effects(&self) -> Value;
}

/// No world: only outcomes are compared.
impl World for () {
    fn effects(&self) -> Value {
        Value::Null
    }
}

/// A service that applies a key once and remembers it for ever, as targets of
/// [`Tool::idempotent`](crate::Tool::idempotent) should; and that can be asked, as those of
/// [`Tool::probed`](crate::Tool::probed) must.
///
/// ```
/// use agent_shell_core::testing::Target;
/// use serde_json::json;
///
/// let target = Target::new();
/// assert!(target.apply("refund", "key-1", json!("A-17")));
/// assert!(!target.apply("refund", "key-1", json!("A-17"))); // a repeat
/// assert_eq!((target.applied("refund"), target.calls("refund")), (1, 2));
/// assert_eq!(target.find("key-1"), Some(json!("A-17")));
/// ```
#[derive(Debug, Default)]
pub struct Target {
    calls: Mutex<Vec<Made>>,
}

/// A call that was made.
#[derive(Debug)]
struct Made {
    name: String,
    key: String,
    what: Value,
    is_new: bool,
}

impl Target {
    /// A service on which nobody acted.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Made>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something under a key; a key that is known does nothing more. Returns whether it was new.
    pub fn apply(&self, name: impl Into<String>, key: impl Into<String>, what: impl Into<Value>) -> bool {
        let (name, key, what) = (name.into(), key.into(), what.into());
        let mut calls = self.lock();
        let is_new = !calls.iter().any(|made| made.key == key);
        calls.push(Made { name, key, what, is_new });
        is_new
    }

    /// What was done under a key, if anything: what a probe asks.
    pub fn find(&self, key: &str) -> Option<Value> {
        self.lock().iter().find(|made| made.key == key).map(|made| made.what.clone())
    }

    /// How often this took effect.
    pub fn applied(&self, name: &str) -> usize {
        self.lock().iter().filter(|made| made.name == name && made.is_new).count()
    }

    /// How often it was asked for this, repeats included.
    pub fn calls(&self, name: &str) -> usize {
        self.lock().iter().filter(|made| made.name == name).count()
    }
}

impl World for Target {
    /// The name and the content of everything that took effect, in an order of their own.
    fn effects(&self) -> Value {
        let calls = self.lock();
        let new = calls.iter().filter(|made| made.is_new);
        let mut effects: Vec<(String, Value)> =
            new.map(|made| (format!("{} {}", made.name, made.what), json!([made.name, made.what]))).collect();
        effects.sort_by(|one, other| one.0.cmp(&other.0));
        effects.into_iter().map(|(_, effect)| effect).collect()
    }
}
