//! The kit: how a host is built, and how it is run.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::crash::{Crash, Place};
use super::drive::{Driven, drive};
use super::host::{Host, Life};
use super::records::Records;
use super::sweep::{Sweep, sweep};
use super::trouble::{Problem, Trouble};
use super::world::{Target, World};
use crate::runtime::ShellBuilder;

/// What a host may say when it fails: any error.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// How a life of the process builds its shell.
type Build<W> = Box<dyn Fn(&Life<W>) -> ShellBuilder>;

/// Runs a host in simulated time. See [the module](super) for an example.
///
/// The host is a function of a [`Host`]. It is called once in each life of the process, so after a crash it is called again,
/// as a process that starts anew: it must submit with a dedupe key, say, or find the turn that it had submitted.
pub struct TestKit<W: World = Target> {
    pub(super) world: Box<dyn Fn() -> W>,
    pub(super) build: Build<W>,
    pub(super) seed: u64,
    pub(super) longest: Duration,
    crash: Option<Crash>,
}

/// A run that came to its end.
#[derive(Debug)]
#[non_exhaustive]
pub struct Run<T, W = Target> {
    /// What the host returned.
    pub outcome: T,
    /// What was written until then, of all sessions.
    pub journal: Records,
    /// What outlived the process.
    pub world: Arc<W>,
    /// How long it took, in simulated time.
    pub lasted: Duration,
    /// How often the process lived: 2 when it crashed.
    pub lives: u64,
    /// The crash, if there was one.
    pub crash: Option<Crash>,
    pub(super) polls: u64,
}

impl TestKit {
    /// A kit whose tools act on a [`Target`]. `build` makes the shell of each life: [`Life::shell`] with everything that the
    /// host adds to it.
    pub fn new(build: impl Fn(&Life<Target>) -> ShellBuilder + 'static) -> Self {
        Self::on(Target::new, build)
    }
}

impl<W: World> TestKit<W> {
    /// The same on a world of the host's own; `world` makes it, for each run.
    pub fn on(world: impl Fn() -> W + 'static, build: impl Fn(&Life<W>) -> ShellBuilder + 'static) -> Self {
        let longest = Duration::from_secs(24 * 3600);
        Self { world: Box::new(world), build: Box::new(build), seed: 0, longest, crash: None }
    }

    /// The seed of every choice: which task runs next, how long the store takes, and every id.
    ///
    /// Default: 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How long a run may take at most, in simulated time.
    ///
    /// Default: a day.
    #[must_use]
    pub fn longest(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    /// Where [`run`](Self::run) lets the process die.
    ///
    /// Default: nowhere.
    #[must_use]
    pub fn crash_at(mut self, crash: Crash) -> Self {
        self.crash = Some(crash);
        self
    }

    /// Runs the host until it returns. With a [crash](Self::crash_at) it is run without it first, to find its place.
    ///
    /// # Errors
    /// [`Trouble`] when the host fails or never ends, and when it never comes to the crash.
    pub fn run<T, F>(&self, host: impl Fn(Host<W>) -> F + Send + Sync + 'static) -> Result<Run<T, W>, Trouble>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, BoxError>> + Send + 'static,
    {
        let host = Arc::new(host);
        let Some(crash) = &self.crash else { return self.go(&host, None) };
        let place = crash.place(&self.go(&host, None)?.journal);
        let Some(place) = place else {
            return Err(self.trouble(Problem::NotReached, Some(crash)));
        };
        self.go(&host, Some((crash.clone(), place)))
    }

    /// Runs the host without a crash, and then again and again: with a crash before and after each append of records that the
    /// first run made. Records that are written together are durable together, so there is no crash between them.
    ///
    /// [`crash_at`](Self::crash_at) has no say here.
    ///
    /// # Errors
    /// [`Trouble`] for the first run that fails, or whose outcome or effects differ from those without a crash.
    pub fn each_crash<T, F>(
        &self,
        host: impl Fn(Host<W>) -> F + Send + Sync + 'static,
    ) -> Result<Sweep<T, W>, Trouble>
    where
        T: fmt::Debug + PartialEq + Send + 'static,
        F: Future<Output = Result<T, BoxError>> + Send + 'static,
    {
        sweep(self, &Arc::new(host), |run| {
            let records = 1..=run.journal.written();
            records.flat_map(|number| [Crash::before_record(number), Crash::after_record(number)]).collect()
        })
    }

    /// The same with a crash after every poll of the process's tasks, so at every await of every tool: it finds what happens
    /// between two effects of one call. There are hundreds of runs, so keep the host short, and its waits too.
    ///
    /// # Errors
    /// As [`each_crash`](Self::each_crash).
    pub fn each_poll<T, F>(
        &self,
        host: impl Fn(Host<W>) -> F + Send + Sync + 'static,
    ) -> Result<Sweep<T, W>, Trouble>
    where
        T: fmt::Debug + PartialEq + Send + 'static,
        F: Future<Output = Result<T, BoxError>> + Send + 'static,
    {
        sweep(self, &Arc::new(host), |run| (1..=run.polls).map(Crash::after_poll).collect())
    }

    /// One run, with a crash or without.
    pub(super) fn go<T, F, S>(
        &self,
        host: &Arc<S>,
        crash: Option<(Crash, Place)>,
    ) -> Result<Run<T, W>, Trouble>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, BoxError>> + Send + 'static,
        S: Fn(Host<W>) -> F + Send + Sync + 'static,
    {
        let _told = Told { crash: crash.as_ref().map(|(crash, _)| crash.clone()), seed: self.seed };
        let driven = drive(self, host, crash.as_ref().map(|(_, place)| *place));
        let crash = crash.map(|(crash, _)| crash);
        let Driven { outcome, journal, world, lasted, lives, polls } =
            driven.map_err(|problem| self.trouble(problem, crash.as_ref()))?;
        if crash.is_some() && lives == 1 {
            return Err(self.trouble(Problem::NotReached, crash.as_ref()));
        }
        Ok(Run { outcome, journal, world, lasted, lives, crash, polls })
    }

    pub(super) fn trouble(&self, problem: Problem, crash: Option<&Crash>) -> Trouble {
        Trouble { problem, crash: crash.cloned(), seed: self.seed }
    }
}

/// Says in which run it was when a host's own assertion fails in it.
struct Told {
    crash: Option<Crash>,
    seed: u64,
}

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            match &self.crash {
                Some(crash) => eprintln!("this was in the run with {crash} (seed {})", self.seed),
                None => eprintln!("this was in the run without a crash (seed {})", self.seed),
            }
        }
    }
}

impl<W: World> fmt::Debug for TestKit<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, longest, crash, .. } = self;
        f.debug_struct("TestKit")
            .field("seed", seed)
            .field("longest", longest)
            .field("crash", crash)
            .finish_non_exhaustive()
    }
}
