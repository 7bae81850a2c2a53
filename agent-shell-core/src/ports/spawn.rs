//! Spawning, as a port.

use futures::future::BoxFuture;

/// Starts tasks. A simulation runs them itself, in an order that its seed gives.
pub trait Spawn: Send + Sync + 'static {
    /// Runs `task` until it ends. It must not be dropped before, except when the process or the runtime ends.
    fn spawn(&self, task: BoxFuture<'static, ()>);
}
