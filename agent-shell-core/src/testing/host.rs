//! What a test is given: one life of the process, and the host in it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::embed;
use crate::runtime::{Ports, Session, Shell, ShellBuilder};
use crate::words::{Clock, Limits, Result};

/// One life of the process: what a shell is opened on.
pub struct Life<W> {
    pub(super) number: u64,
    pub(super) world: Arc<W>,
    pub(super) ports: Ports,
}

impl<W> Clone for Life<W> {
    fn clone(&self) -> Self {
        Self { number: self.number, world: self.world.clone(), ports: self.ports.clone() }
    }
}

impl<W> Life<W> {
    /// A shell on the run's store, in simulated time: add tools, models and planners to it. It is opened by the kit.
    ///
    /// Its bounds are the defaults, but that its lease lasts a minute, and that it looks for work once a minute: so there is
    /// less to run while days pass. With [`ShellBuilder::limits`] it has yours.
    pub fn shell(&self) -> ShellBuilder {
        let ports = self.ports.clone();
        let mut limits = Limits::default();
        (limits.lease_ms, limits.poll_ms) = (60_000, 60_000);
        embed::on_ports(async move { Ok(ports) }).limits(limits)
    }

    /// What outlives the process.
    pub fn world(&self) -> Arc<W> {
        self.world.clone()
    }

    /// Simulated time, for tools that wait and for models that pause.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.ports.clock.clone()
    }

    /// Counts the lives of the process, from 1. After a crash the next one begins.
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// A host with its open shell, in one life of the process. Cheap to clone.
pub struct Host<W> {
    pub(super) shell: Shell,
    pub(super) life: Life<W>,
}

impl<W> Clone for Host<W> {
    fn clone(&self) -> Self {
        Self { shell: self.shell.clone(), life: self.life.clone() }
    }
}

impl<W> Host<W> {
    /// The open shell. Leave its shutdown to the kit.
    pub fn shell(&self) -> &Shell {
        &self.shell
    }

    /// The session with this name: [`Shell::session`].
    ///
    /// # Errors
    /// Those of [`Shell::session`].
    pub fn session(&self, name: impl AsRef<str>) -> Result<Session> {
        self.shell.session(name)
    }

    /// What outlives the process.
    pub fn world(&self) -> Arc<W> {
        self.life.world()
    }

    /// Simulated time.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.life.clock()
    }

    /// Counts the lives of the process, from 1.
    pub fn life(&self) -> u64 {
        self.life.number
    }

    /// Waits in simulated time, while everything else goes on.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait.
    pub async fn sleep(&self, duration: Duration) {
        self.life.ports.clock.sleep(duration).await;
    }
}

impl<W> fmt::Debug for Life<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Life({})", self.number)
    }
}

impl<W> fmt::Debug for Host<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host(life {})", self.life.number)
    }
}
