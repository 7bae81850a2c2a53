//! What a run is told as: a table for people, one JSON object for programs.

use serde_json::{Value, json};

use super::harness::{Lives, Run};
use super::judge::Verdict;

const CLASSES: [&str; 4] = ["pure", "idempotent", "probed", "irreversible"];

/// The table.
pub(super) fn table(run: &Run, lives: &Lives, verdict: &Verdict) -> String {
    let (kills, counts) = (&lives.kills, &verdict.counts);
    let mut out = String::new();
    let mut line = |name: &str, value: String| out.push_str(&format!("{name:<34} {value}\n"));
    line("seed", run.seed.to_string());
    line("kills", kills.all().to_string());
    line("  opening", kills.opening.to_string());
    line("  submitting", kills.submitting.to_string());
    line("  running", kills.running.to_string());
    line("  resting", kills.resting.to_string());
    line("  waiting or idle", kills.idle.to_string());
    line("second processes beside", lives.attended.to_string());
    line("opening, on average", format!("{} ms", lives.opening.as_millis()));
    line("finishing after the last kill", format!("{} ms", lives.finishing.as_millis()));
    line("turns accepted / ended", format!("{} / {}", counts.accepted, counts.ended));
    line("  answered / failed as drawn", format!("{} / {}", counts.answered, counts.failed));
    line("submits without an answer", counts.unanswered.to_string());
    line("  there all the same", counts.unanswered_there.to_string());
    for (class, of_class) in CLASSES.iter().zip(&counts.classes) {
        let (steps, attempts, calls, repeats) =
            (of_class.steps, of_class.attempts, of_class.calls, of_class.repeats);
        line(class, format!("{steps} steps, {attempts} intents, {calls} calls, {repeats} repeats, same key"));
    }
    line("in doubt", counts.in_doubt.to_string());
    line("  resolved as applied", counts.resolved_applied.to_string());
    line(
        "  resolved as not applied",
        format!("{} tried again, {} given up", counts.resolved_retry, counts.given_up),
    );
    line("approvals given / denied", format!("{} / {}", counts.approved, counts.denied));
    line("signals taken", counts.signals.to_string());
    line("timers fired, latest by", format!("{}, {} ms", counts.timers, counts.timer_late_max_ms));
    line("mail refused as out of date", counts.mail_refused.to_string());
    line("records, chain verified", counts.records.to_string());
    line("highest epoch of a session", counts.epochs.to_string());
    line("violations", verdict.violations.len().to_string());
    out
}

/// The same as one JSON object.
pub(super) fn json(run: &Run, lives: &Lives, verdict: &Verdict) -> Value {
    let kills = &lives.kills;
    json!({
        "seed": run.seed,
        "kills": kills.all(),
        "kills_opening": kills.opening,
        "kills_submitting": kills.submitting,
        "kills_running": kills.running,
        "kills_resting": kills.resting,
        "kills_idle": kills.idle,
        "opening_mean_ms": lives.opening.as_millis() as u64,
        "finishing_ms": lives.finishing.as_millis() as u64,
        "counts": verdict.counts,
        "recorder": verdict.calls,
        "violations": verdict.violations,
    })
}
