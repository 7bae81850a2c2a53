//! What is still to be done to workers: kills at random, and kills and stops at each failpoint.

use agent_shell_core::failpoint::Failpoint;

use super::harness::Run;
use super::violation::{Rule, Violation};
use super::words::ArmedAction;
use crate::random::Random;

/// How often a failpoint may be missed before that is a finding: a worker was waited for, and did not get there.
const MISSES: u32 = 15;

/// What is done to one worker.
#[derive(Clone, Copy, Debug)]
pub(super) enum Job {
    /// Killed at an instant that is drawn.
    Random,
    /// It does this to itself.
    Armed { at: Failpoint, action: ArmedAction, misses: u32 },
}

/// The jobs that are left.
#[derive(Debug)]
pub(super) struct Jobs {
    random: u64,
    armed: Vec<Job>,
    next: usize,
    draws: Random,
}

impl Jobs {
    pub(super) fn new(run: &Run) -> Self {
        let mut armed = Vec::new();
        for round in 0..run.at_failpoints {
            for &at in Failpoint::ALL.iter().filter(|at| !is_elsewhere(**at)) {
                armed.push(Job::Armed { at, action: ArmedAction::Kill, misses: 0 });
                // One in five: a stop takes as long as some lives.
                if run.stops && round % 5 == 0 {
                    armed.push(Job::Armed { at, action: ArmedAction::Stop, misses: 0 });
                }
            }
        }
        armed.reverse();
        Self { random: run.kills, armed, next: 0, draws: Random::of(&[run.seed, 0x6a6f_6273]) }
    }

    /// The next job; none when all are taken.
    pub(super) fn next(&mut self) -> Option<Job> {
        let all = self.random + self.armed.len() as u64;
        if all == 0 {
            return None;
        }
        self.next += 1;
        if self.draws.below(all) < self.random {
            self.random -= 1;
            return Some(Job::Random);
        }
        self.armed.pop()
    }

    /// Takes back a job that was not done. Says so when it was missed too often.
    pub(super) fn missed(&mut self, job: Job) -> Option<Violation> {
        match job {
            Job::Random => self.random += 1,
            Job::Armed { at, misses: MISSES, .. } => {
                let what = format!("{MISSES} workers did not reach the failpoint {at}");
                return Some(Violation::new(Rule::Trouble, what));
            }
            Job::Armed { at, action, misses } => {
                self.armed.insert(0, Job::Armed { at, action, misses: misses + 1 });
            }
        }
        None
    }
}

/// How often a worker may pass a failpoint before it acts there, at most: some are reached once in a life.
pub(super) fn most(at: Failpoint) -> u64 {
    use Failpoint::*;
    match at {
        EnlistBegins | EnlistEnds | OpenEnlisted | OpenClaimed | OpenEnds | DrainBegins | ResignBegins
        | ResignEnds | KeyBegins | KeyEnds | CheckpointBegins | CheckpointEnds | ProbeBegins | ProbeEnds
        | SweepBegins | SweepEnds => 1,
        RenewBegins | RenewEnds | SnapshotWritten | PlanAnswered | ReleaseBegins | ReleaseEnds => 2,
        GroupGathered | GroupBegun | GroupRun | GroupCommitted | GroupAnswered | AppendBegins
        | AppendEnds | RecordsWritten => 40,
        _ => 6,
    }
}

/// Whether no worker gets there: one whose session left the journal could not go on with it. `tests/all/archive` kills
/// processes there.
pub fn is_elsewhere(at: Failpoint) -> bool {
    use Failpoint::*;
    matches!(at, ArchiveWritten | ArchiveTaken | ArchiveRemoved)
}

/// Whether a worker gets there only when it shuts down.
pub(super) fn is_at_the_end(at: Failpoint) -> bool {
    use Failpoint::*;
    matches!(at, DrainBegins | ReleaseBegins | ReleaseEnds | ResignBegins | ResignEnds)
}
