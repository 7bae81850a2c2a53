//! Rows and the table.

use serde::Serialize;

use super::super::report::{align, rounded};
use super::super::rounds::median;
use super::Recovered;

/// One line of the file: the medians of the rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in super::super) struct Row {
    pub(in super::super) bench: &'static str,
    pub(in super::super) system: &'static str,
    pub(in super::super) journal: &'static str,
    pub(in super::super) sessions: usize,
    /// Until the tool of the last session was called.
    pub(in super::super) seconds: f64,
    /// Until the tool of the first one was.
    pub(in super::super) first_seconds: f64,
    /// Until `open` returned.
    pub(in super::super) open_seconds: f64,
    pub(in super::super) cpu_us_per_session: f64,
    /// The most memory that the process held, in MiB.
    pub(in super::super) rss_mib: f64,
    /// The quickest and the slowest round; in the table only.
    #[serde(skip)]
    pub(in super::super) range: (f64, f64),
}

impl Row {
    pub(super) fn new(sessions: usize, rounds: &[Recovered]) -> Self {
        let middle = |of: fn(&Recovered) -> f64| median(rounds.iter().map(of)).unwrap_or(0.0);
        let all = || rounds.iter().map(|round| round.all.as_secs_f64());
        let cpu_us = middle(|round| round.used.cpu.as_secs_f64() * 1e6);
        Self {
            bench: "recovery",
            system: "agent-shell",
            journal: "sqlite",
            sessions,
            seconds: rounded(median(all()).unwrap_or(0.0), 3),
            first_seconds: rounded(middle(|round| round.first.as_secs_f64()), 3),
            open_seconds: rounded(middle(|round| round.opened.as_secs_f64()), 3),
            cpu_us_per_session: rounded(cpu_us / sessions.max(1) as f64, 1),
            rss_mib: rounded(middle(|round| round.used.peak_bytes as f64 / f64::from(1 << 20)), 1),
            range: (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max)),
        }
    }
}

/// The table.
pub(in super::super) fn table(rows: &[Row]) -> String {
    let head = [
        "sessions",
        "system",
        "journal",
        "seconds",
        "quickest to slowest",
        "until the first",
        "until open",
        "us/session",
        "CPU us/session",
        "RSS MiB",
    ];
    let mut lines = vec![head.map(String::from).to_vec()];
    lines.extend(rows.iter().map(|row| {
        vec![
            row.sessions.to_string(),
            row.system.into(),
            row.journal.into(),
            format!("{:.2}", row.seconds),
            format!("{:.2} to {:.2}", row.range.0, row.range.1),
            format!("{:.2}", row.first_seconds),
            format!("{:.2}", row.open_seconds),
            format!("{:.0}", row.seconds * 1e6 / row.sessions.max(1) as f64),
            format!("{:.0}", row.cpu_us_per_session),
            format!("{:.0}", row.rss_mib),
        ]
    }));
    align(&lines, 1..=2)
}
