//! The failpoints that workers reach, noted so that a kill right after loses none: one byte each, appended to a file
//! that all of them share.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use agent_shell_core::failpoint::{self, Action, Arm, Failpoint};

use super::CrashError;
use super::words::{Armed, ArmedAction};

/// Notes from now on every failpoint that this process reaches, and arms one if it is to be.
pub(super) fn note(file: &Path, armed: Option<&Armed>) -> Result<(), CrashError> {
    let failed = || CrashError::system(file.display().to_string());
    let notes = OpenOptions::new().create(true).append(true).open(file).map_err(failed())?;
    let is_first = failpoint::observe(move |point| {
        let place = Failpoint::ALL.iter().position(|other| *other == point);
        if let Some(place) = place.and_then(|place| u8::try_from(place).ok()) {
            // A note that can't be made is missing from the counts; nothing else depends on it.
            drop((&notes).write_all(&[place]));
        }
    });
    debug_assert!(is_first, "a worker is assigned once");
    if let Some(armed) = armed {
        let action = match armed.action {
            ArmedAction::Kill => Action::Kill,
            ArmedAction::Stop => Action::Stop,
        };
        failpoint::arm(Arm { at: armed.failpoint()?, nth: armed.nth, action });
    }
    Ok(())
}

/// How often each failpoint was reached, in all lives together.
pub(super) fn counted(file: &Path) -> Result<BTreeMap<&'static str, u64>, CrashError> {
    let mut counts: BTreeMap<_, _> = Failpoint::ALL.iter().map(|point| (point.name(), 0)).collect();
    let notes = match std::fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        notes => notes.map_err(CrashError::system(file.display().to_string()))?,
    };
    for place in notes {
        if let Some(point) = Failpoint::ALL.get(usize::from(place)) {
            *counts.entry(point.name()).or_default() += 1;
        }
    }
    Ok(counts)
}
