//! Spawning, as a port.

use futures::future::BoxFuture;

/// Starts tasks. A simulation runs them itself, in an order that its seed gives.
pub trait Spawn: Send + Sync + 'static {
    /// Runs `task` until it ends. It must not be dropped before, except when the process or the runtime ends.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Runs `work`, which waits for the disk, beside the tasks: no task may have to wait for it. It runs once, or not
    /// at all when the process or the runtime ends. The shell has at most one in hand for each call to
    /// [`Shell`](crate::Shell) that reads or writes a file.
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>);
}
