//! Followers: each was told every record of a turn once, in order and without a gap, however often it was killed.

use super::journal::SessionLog;
use super::{Rule, Verdict};
use crate::crash::CrashError;
use crate::crash::followed::{path, read};
use crate::crash::harness::Run;

pub(super) fn check(run: &Run, sessions: &[SessionLog], verdict: &mut Verdict) -> Result<(), CrashError> {
    let seen = read(&path(&run.journal))?;
    for turn in sessions.iter().flat_map(|session| &session.turns) {
        let Some(first) = turn.entries.first().map(|entry| entry.seq.number()) else { continue };
        let [(last, _)] = &turn.ends[..] else { continue };
        let told: Vec<u64> = seen.get(&turn.id).into_iter().flatten().map(|seen| seen.seq.number()).collect();
        verdict.counts.followed += told.len() as u64;
        if !told.iter().copied().eq(first..=last.number()) {
            let what = format!("turn {}: records {first} to {last} were told as {told:?}", turn.id);
            verdict.say(Rule::Followed, what);
        }
    }
    Ok(())
}
