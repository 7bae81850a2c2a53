//! The row and the table.

use std::time::Duration;

use serde::Serialize;

use super::super::report::{align, rounded};
use super::follower::Told;
use super::{Held, Settings};

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
    /// The most that the other process held.
    pub(in super::super) rss_elsewhere_mib: f64,
}

impl Row {
    pub(super) fn new(
        settings: &Settings<'_>,
        told: Told,
        (alone_ms, followed_ms): (f64, f64),
        held: Held,
        elsewhere_bytes: u64,
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
            rss_elsewhere_mib: mib(elsewhere_bytes),
        }
    }

    /// What is wrong, if anything. Of memory only what no reading of /proc blurs: that more than the followers and
    /// their turns' records grew.
    pub(in super::super) fn problem(&self) -> Option<String> {
        if !self.told.is_right() {
            return Some(format!("followers were not told every record once and in order: {:?}", self.told));
        }
        let growth = self.rss_peak_mib - self.rss_joined_mib;
        let allowed = 32.0 + self.rss_joined_mib / 4.0;
        (growth > allowed).then(|| format!("memory grew by {growth:.1} MiB after all followers had come"))
    }
}

/// The table: one line for each thing that was counted.
pub(in super::super) fn table(row: &Row) -> String {
    let Told { followers, records, gaps, repeats, altered, unfinished, reconnects, dropped } = &row.told;
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
        ("seconds until the last was told all".to_owned(), format!("{:.1}", row.seconds)),
        ("ms/turn, alone".to_owned(), format!("{:.0}", row.alone_ms_per_turn)),
        ("ms/turn, followed".to_owned(), format!("{:.0}", row.followed_ms_per_turn)),
        ("RSS MiB before anybody followed".to_owned(), format!("{:.1}", row.rss_before_mib)),
        ("RSS MiB when all had come".to_owned(), format!("{:.1}", row.rss_joined_mib)),
        ("RSS MiB at most from then on".to_owned(), format!("{:.1}", row.rss_peak_mib)),
        ("RSS MiB of growth from then on".to_owned(), format!("{growth:.1}")),
        ("RSS KiB for each follower".to_owned(), format!("{each:.1}")),
        ("RSS MiB of the other process at most".to_owned(), format!("{:.1}", row.rss_elsewhere_mib)),
    ];
    let head = vec!["what".to_owned(), "value".to_owned()];
    let lines = lines.into_iter().map(|(what, value)| vec![what, value]);
    align(&std::iter::once(head).chain(lines).collect::<Vec<_>>(), 0..=0)
}
