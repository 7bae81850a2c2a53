//! Rows, the table, and the file.

use serde::Serialize;

use super::rounds::{Series, median};
use super::systems::BASELINE;

/// One line of the file. Every benchmark writes such lines, with the unit in each name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) bench: &'static str,
    pub(super) system: String,
    pub(super) journal: String,
    pub(super) class: String,
    pub(super) sessions: usize,
    pub(super) steps_per_second: u64,
    pub(super) cpu_us_per_step: Option<f64>,
    /// Unknown where they could not be counted.
    pub(super) fsyncs_per_step: Option<f64>,
    /// The slowest and the fastest round; in the table only.
    #[serde(skip)]
    pub(super) range: (f64, f64),
}

impl Row {
    pub(super) fn new(series: &Series<'_>, fsyncs_per_step: Option<f64>) -> Self {
        let rates = || series.rounds.iter().map(|round| round.steps_per_second());
        let cpu = series.rounds.iter().filter_map(|round| round.cpu_us_per_step());
        Self {
            bench: "steps",
            system: series.system.name().to_owned(),
            journal: series.system.journal().to_owned(),
            class: series.system.class().to_owned(),
            sessions: series.sessions,
            steps_per_second: median(rates()).unwrap_or(0.0).round() as u64,
            cpu_us_per_step: median(cpu).map(|cpu| rounded(cpu, 2)),
            fsyncs_per_step: fsyncs_per_step.map(|fsyncs| rounded(fsyncs, 4)),
            range: (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max)),
        }
    }
}

/// JSON Lines.
pub(super) fn json(rows: &[impl Serialize]) -> serde_json::Result<String> {
    let lines: Result<Vec<String>, _> = rows.iter().map(serde_json::to_string).collect();
    lines.map(|lines| lines.into_iter().map(|line| line + "\n").collect())
}

/// The table, with what each row is to the baseline of the same number of sessions.
pub(super) fn table(rows: &[Row]) -> String {
    let rate = format!("rate / {BASELINE}");
    let cpu = format!("CPU / {BASELINE}");
    let head = [
        "sessions",
        "system",
        "journal",
        "class",
        "steps/s",
        "slowest to fastest",
        "CPU us/step",
        "fsyncs/step",
    ];
    let mut lines =
        vec![head.iter().copied().chain([rate.as_str(), cpu.as_str()]).map(String::from).collect()];
    lines.extend(rows.iter().map(|row| cells(row, rows)));
    align(&lines, 1..=3)
}

fn cells(row: &Row, rows: &[Row]) -> Vec<String> {
    let baseline = rows.iter().find(|other| other.system == BASELINE && other.sessions == row.sessions);
    let ratio = |part: Option<f64>, whole: Option<f64>| match (part, whole) {
        (Some(part), Some(whole)) if whole > 0.0 => format!("{:.2}", part / whole),
        _ => "-".into(),
    };
    let or_dash =
        |value: Option<f64>, digits: usize| value.map_or("-".into(), |value| format!("{value:.digits$}"));
    vec![
        row.sessions.to_string(),
        row.system.clone(),
        row.journal.clone(),
        row.class.clone(),
        row.steps_per_second.to_string(),
        format!("{:.0} to {:.0}", row.range.0, row.range.1),
        or_dash(row.cpu_us_per_step, 1),
        or_dash(row.fsyncs_per_step, 3),
        ratio(Some(row.steps_per_second as f64), baseline.map(|baseline| baseline.steps_per_second as f64)),
        ratio(row.cpu_us_per_step, baseline.and_then(|baseline| baseline.cpu_us_per_step)),
    ]
}

/// Markdown, padded so that it also reads well in a terminal. The columns of `text` are set to the left.
pub(super) fn align(lines: &[Vec<String>], text: std::ops::RangeInclusive<usize>) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let is_text = |column: usize| text.contains(&column);
    let mut table = String::new();
    for (index, line) in lines.iter().enumerate() {
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            let cell =
                if is_text(column) { format!("| {cell:<width$} ") } else { format!("| {cell:>width$} ") };
            table.push_str(&cell);
        }
        table.push_str("|\n");
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let dashes = "-".repeat(width + 1);
                table.push_str(&if is_text(column) { format!("|{dashes}-") } else { format!("|{dashes}:") });
            }
            table.push_str("|\n");
        }
    }
    table
}

pub(super) fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}
