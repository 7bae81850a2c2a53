//! The row and the table.

use std::time::Duration;

use serde::Serialize;

use super::super::report::{align, rounded};
use super::follower::Told;
use super::pairs::Pairs;
use super::{Held, Others, Settings};

/// What a process and its turns may hold, in MiB, however many follow.
const PROCESS_MIB: f64 = 64.0;
/// What each follower may, in KiB.
const EACH_KIB: f64 = 8.0;
/// What a slow one may beside that, in KiB: a page of records that it reads alone.
const SLOW_KIB: f64 = 64.0;

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in super::super) struct Row {
    pub(in super::super) bench: &'static str,
    pub(in super::super) system: &'static str,
    pub(in super::super) journal: &'static str,
    pub(in super::super) turns: usize,
    #[serde(flatten)]
    pub(super) told: Told,
    pub(in super::super) seconds: f64,
    /// From the first record of a turn to its last, on average, without followers and with them.
    pub(in super::super) alone_ms_per_turn: f64,
    pub(in super::super) followed_ms_per_turn: f64,
    /// What the process that drives the turns held before it had followers, when all of them had come, and at most from
    /// then on.
    pub(in super::super) rss_before_mib: f64,
    pub(in super::super) rss_joined_mib: f64,
    pub(in super::super) rss_peak_mib: f64,
    /// The most that one of the other processes held.
    pub(in super::super) rss_elsewhere_mib: f64,
    /// From the first record of a turn to its last, medians, with fast followers and with half of them slow.
    pub(in super::super) fast_ms_per_turn: f64,
    pub(in super::super) half_slow_ms_per_turn: f64,
    /// Calls that read records for followers, and the records, in the process that drives the turns and in the others.
    pub(in super::super) reads_here: u64,
    pub(in super::super) records_read_here: u64,
    pub(in super::super) reads_elsewhere: u64,
    pub(in super::super) records_read_elsewhere: u64,
}

impl Row {
    pub(super) fn new(
        settings: &Settings<'_>,
        told: Told,
        (alone_ms, followed_ms): (f64, f64),
        pairs: Pairs,
        held: Held,
        others: Others,
        seconds: Duration,
    ) -> Self {
        let mib = |bytes: u64| rounded(bytes as f64 / f64::from(1 << 20), 1);
        Self {
            bench: "followers",
            system: "agent-shell",
            journal: "sqlite",
            turns: settings.turns,
            told,
            seconds: rounded(seconds.as_secs_f64(), 2),
            alone_ms_per_turn: rounded(alone_ms, 1),
            followed_ms_per_turn: rounded(followed_ms, 1),
            rss_before_mib: mib(held.before),
            rss_joined_mib: mib(held.joined),
            rss_peak_mib: mib(held.peak),
            rss_elsewhere_mib: mib(others.peak_bytes),
            fast_ms_per_turn: rounded(pairs.fast_ms, 1),
            half_slow_ms_per_turn: rounded(pairs.slow_ms, 1),
            reads_here: others.reads_here.0,
            records_read_here: others.reads_here.1,
            reads_elsewhere: others.reads_there.0,
            records_read_elsewhere: others.reads_there.1,
        }
    }

    /// What is wrong, if anything. A follower may cost its place and task, and a slow one the records that it has read for itself
    /// and not yet told; beside these there is what a process and its turns need, however many follow.
    pub(in super::super) fn problem(&self) -> Option<String> {
        if !self.told.is_right() {
            return Some(format!("followers were not told everything once and in order: {:?}", self.told));
        }
        let allowed = |followers: usize| {
            let (all, slow) = (followers as f64, followers as f64 / 2.0);
            PROCESS_MIB + (all * EACH_KIB + slow * SLOW_KIB) / 1024.0
        };
        let followers = self.told.followers;
        let (here, there) = (followers * 8 / 10, followers / 10 + 1);
        let (grown, elsewhere) = (self.rss_peak_mib - self.rss_before_mib, self.rss_elsewhere_mib);
        if grown > allowed(here) {
            return Some(format!(
                "memory grew by {grown:.1} MiB for {here} followers, and {:.1} are allowed",
                allowed(here)
            ));
        }
        (elsewhere > allowed(there)).then(|| {
            let most = allowed(there);
            format!(
                "another process held {elsewhere:.1} MiB for {there} followers, and {most:.1} are allowed"
            )
        })
    }
}

/// The table: one line for each thing that was counted.
pub(in super::super) fn table(row: &Row) -> String {
    let Told { followers, records, gaps, repeats, altered, unfinished, reconnects, dropped, .. } = &row.told;
    let Told { tokens, retracted, text_wrong, .. } = &row.told;
    let growth = row.rss_peak_mib - row.rss_joined_mib;
    let each = (row.rss_joined_mib - row.rss_before_mib) * 1024.0 / (*followers).max(1) as f64;
    let lines = [
        ("followers".to_owned(), followers.to_string()),
        ("turns".to_owned(), row.turns.to_string()),
        ("records told".to_owned(), records.to_string()),
        ("gaps".to_owned(), gaps.to_string()),
        ("repeats".to_owned(), repeats.to_string()),
        ("followers whose records differ from the history".to_owned(), altered.to_string()),
        ("followers that were not told all".to_owned(), unfinished.to_string()),
        ("reconnects".to_owned(), reconnects.to_string()),
        ("calls dropped half-way".to_owned(), dropped.to_string()),
        ("pieces of text told".to_owned(), tokens.to_string()),
        ("texts retracted".to_owned(), retracted.to_string()),
        ("texts that were told wrongly".to_owned(), text_wrong.to_string()),
        (
            "reads of the journal, and records read".to_owned(),
            format!("{} and {}", row.reads_here, row.records_read_here),
        ),
        (
            "the same in the other processes".to_owned(),
            format!("{} and {}", row.reads_elsewhere, row.records_read_elsewhere),
        ),
        ("seconds until the last was told all".to_owned(), format!("{:.1}", row.seconds)),
        ("ms/turn, alone".to_owned(), format!("{:.0}", row.alone_ms_per_turn)),
        ("ms/turn, followed".to_owned(), format!("{:.0}", row.followed_ms_per_turn)),
        ("ms/turn, a few turns with fast followers".to_owned(), format!("{:.0}", row.fast_ms_per_turn)),
        ("ms/turn, the same with half slow".to_owned(), format!("{:.0}", row.half_slow_ms_per_turn)),
        ("RSS MiB before anybody followed".to_owned(), format!("{:.1}", row.rss_before_mib)),
        ("RSS MiB when all had come".to_owned(), format!("{:.1}", row.rss_joined_mib)),
        ("RSS MiB at most from then on".to_owned(), format!("{:.1}", row.rss_peak_mib)),
        ("RSS MiB of growth from then on".to_owned(), format!("{growth:.1}")),
        ("RSS KiB for each follower".to_owned(), format!("{each:.1}")),
        ("RSS MiB of another process at most".to_owned(), format!("{:.1}", row.rss_elsewhere_mib)),
    ];
    let head = vec!["what".to_owned(), "value".to_owned()];
    let lines = lines.into_iter().map(|(what, value)| vec![what, value]);
    align(&std::iter::once(head).chain(lines).collect::<Vec<_>>(), 0..=0)
}
