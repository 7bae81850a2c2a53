//! What is compared: ways to build an agent.

use std::fmt;

use futures::future::BoxFuture;

use super::data_set::Case;
use crate::runtime::{Request, Shell};
use crate::words::Result;

type Open = Box<dyn FnOnce() -> BoxFuture<'static, Result<Shell>> + Send>;
type Ask = Box<dyn Fn(&Case) -> Request + Send + Sync>;

/// One way to build the agent: a model, a prompt, tools. It has a name, and opens a shell.
///
/// The shell is usually `Shell::volatile()`: it is opened once, every case runs in a session of its own, and it is shut down
/// after the last one. What its tools do, they do in earnest: give it stand-ins for those that act in the world.
pub struct Variant {
    pub(super) name: String,
    pub(super) open: Open,
    pub(super) ask: Ask,
}

impl Variant {
    /// A variant by its name and what opens its shell.
    pub fn new<F, R>(name: impl Into<String>, open: F) -> Self
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output = Result<Shell>> + Send + 'static,
    {
        Self {
            name: name.into(),
            open: Box::new(move || Box::pin(open())),
            ask: Box::new(|case| Request::new(case.input.clone())),
        }
    }

    /// What is submitted for a case: a plan, say, or another planner than the default one.
    ///
    /// Default: its input.
    #[must_use]
    pub fn asks(mut self, ask: impl Fn(&Case) -> Request + Send + Sync + 'static) -> Self {
        self.ask = Box::new(ask);
        self
    }
}

impl fmt::Debug for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Variant({})", self.name)
    }
}
