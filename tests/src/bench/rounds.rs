//! Alternation and medians. The systems take turns round by round, so that a slow minute of the machine
//! falls on all of them.

use std::path::Path;

use super::load::{Load, Until};
use super::measure::Measured;
use super::{BenchError, System, folder, systems};

/// What is measured.
pub(super) struct Plan<'a> {
    pub(super) systems: &'a [Box<dyn System>],
    pub(super) sessions: &'a [usize],
    pub(super) rounds: usize,
    pub(super) until: Until,
    pub(super) folder: &'a Path,
}

/// All rounds of one system with one number of sessions.
pub(super) struct Series<'a> {
    pub(super) system: &'a dyn System,
    pub(super) sessions: usize,
    pub(super) rounds: Vec<Measured>,
}

/// Runs everything: rounds outside, then sessions, then systems. `say` is told what runs next.
pub(super) fn run<'a>(plan: &Plan<'a>, mut say: impl FnMut(&str)) -> Result<Vec<Series<'a>>, BenchError> {
    let mut all: Vec<Series<'a>> = Vec::new();
    for sessions in plan.sessions {
        let series = |system: &'a dyn System| Series {
            system,
            sessions: *sessions,
            rounds: Vec::with_capacity(plan.rounds),
        };
        all.extend(plan.systems.iter().map(|system| series(system.as_ref())));
    }
    for round in 1..=plan.rounds {
        for series in &mut all {
            let label = systems::label(series.system);
            say(&format!("round {round} of {}: {label}, {} sessions", plan.rounds, series.sessions));
            series.rounds.push(once(series.system, series.sessions, plan.until, plan.folder)?);
        }
    }
    Ok(all)
}

/// One run in a folder of its own.
pub(super) fn once(
    system: &dyn System,
    sessions: usize,
    until: Until,
    parent: &Path,
) -> Result<Measured, BenchError> {
    let folder = folder::empty(parent)?;
    system.run(&Load { sessions, until, folder: folder.path().to_owned() })
}

/// The middle, or the mean of the two in the middle; none of nothing.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}
