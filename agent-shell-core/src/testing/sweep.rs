//! A run for each place at which the process may die.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use super::crash::{Crash, Place};
use super::host::Host;
use super::kit::{BoxError, Run, TestKit};
use super::trouble::{Problem, Trouble};
use super::world::{Target, World};

/// All runs of a sweep, which answered and did the same.
#[derive(Debug)]
pub struct Sweep<T, W = Target> {
    runs: Vec<Run<T, W>>,
}

impl<T, W> Sweep<T, W> {
    /// Every run: first the one without a crash, then one for each crash, in the order of their places.
    pub fn runs(&self) -> &[Run<T, W>] {
        &self.runs
    }

    /// How many of them were crashed.
    pub fn crashes(&self) -> usize {
        self.runs.iter().filter(|run| run.crash.is_some()).count()
    }
}

/// Runs a host with each of the crashes that follow from the run without one.
pub(super) fn sweep<T, W, F, S>(
    kit: &TestKit<W>,
    host: &Arc<S>,
    crashes: impl FnOnce(&Run<T, W>) -> Vec<Crash>,
) -> Result<Sweep<T, W>, Trouble>
where
    T: fmt::Debug + PartialEq + Send + 'static,
    W: World,
    F: Future<Output = Result<T, BoxError>> + Send + 'static,
    S: Fn(Host<W>) -> F + Send + Sync + 'static,
{
    let first = kit.go(host, None)?;
    let effects = first.world.effects();
    let crashes = crashes(&first);
    let mut runs = vec![first];
    for crash in crashes {
        let journal = &runs[0].journal;
        let Some(place) = crash.place(journal).filter(|place| is_apart(*place, &runs[0])) else { continue };
        let crash = crash.about(journal);
        let run = kit.go(host, Some((crash.clone(), place)))?;
        if run.outcome != runs[0].outcome {
            let (without, with) = (format!("{:?}", runs[0].outcome), format!("{:?}", run.outcome));
            return Err(kit.trouble(Problem::OtherOutcome { without, with }, Some(&crash)));
        }
        let with = run.world.effects();
        if with != effects {
            let (without, with) = (effects.to_string(), with.to_string());
            return Err(kit.trouble(Problem::OtherEffects { without, with }, Some(&crash)));
        }
        runs.push(run);
    }
    Ok(Sweep { runs })
}

/// Whether a place is not the same as another one: of records that are written together, the first has the crash before
/// them, and the last the one after them.
fn is_apart<T, W>(place: Place, run: &Run<T, W>) -> bool {
    match place {
        Place::Before(number) => !run.journal.is_with_next(number - 1),
        Place::After(number) => !run.journal.is_with_next(number),
        Place::Poll(_) => true,
    }
}
