//! What came of a run, as a table and as JSON.

use serde_json::{Value, json};

use super::Load;
use super::harness::Lives;
use super::judge::Verdict;

pub(super) fn table(load: &Load, lives: &Lives, verdict: &Verdict) -> String {
    let counts = &verdict.counts;
    let mut out = String::new();
    let mut line = |name: &str, value: String| out.push_str(&format!("{name:<38} {value}\n"));
    line("seed", load.seed.to_string());
    line("turns / sessions / users", format!("{} / {} / {}", lives.turns, load.sessions, load.users()));
    line("  running at once, at most", counts.at_once.to_string());
    line(
        "  answered / failed / expired / abandoned",
        format!("{} / {} / {} / {}", counts.answered, counts.failed, counts.expired, counts.abandoned),
    );
    line("  cancelled / before their start", format!("{} / {}", counts.cancelled, counts.withdrawn));
    line("  of those that failed, of a budget", counts.of_budget.to_string());
    line("owners at once", lives.workers.to_string());
    line("kills", lives.kills.to_string());
    line("stopped for longer than the lease", lives.stops.to_string());
    line("highest epoch of a session", counts.epochs.to_string());
    line("rests resolved / abandoned", format!("{} / {}", lives.resolved, lives.abandoned));
    line("accounts reopened / later bills", format!("{} / {}", lives.reopened, lives.bills));
    line("attempts asked for", verdict.asked.to_string());
    for (kind, times) in &verdict.operations {
        line(&format!("  {kind}"), times.to_string());
    }
    line("  reserved at once, at most", verdict.live_at_once.to_string());
    line("  overruns", verdict.overruns.to_string());
    line("refused", verdict.refused.to_string());
    for (by, times) in &verdict.refused_by {
        line(&format!("  {by}"), times.to_string());
    }
    line("steps that failed so", counts.refused_steps.to_string());
    line("durable answers / outcomes of tools", format!("{} / {}", counts.answers, counts.outcomes));
    line("attempts billed", verdict.billed.to_string());
    for (dimension, [ceiling, spent, most]) in &verdict.tenant {
        line(&format!("tenant's {dimension}"), format!("ceiling {ceiling}, at most {most}, settled {spent}"));
    }
    line("records", counts.records.to_string());
    line("took", format!("{} ms", lives.took.as_millis()));
    line("violations", verdict.violations.len().to_string());
    out
}

pub(super) fn json(load: &Load, lives: &Lives, verdict: &Verdict) -> Value {
    json!({
        "seed": load.seed,
        "sessions": load.sessions,
        "turns": lives.turns,
        "workers": lives.workers,
        "kills": lives.kills,
        "stops": lives.stops,
        "rests_resolved": lives.resolved,
        "rests_abandoned": lives.abandoned,
        "cancels": lives.cancels,
        "reopened": lives.reopened,
        "later_bills": lives.bills,
        "took_ms": u64::try_from(lives.took.as_millis()).unwrap_or(u64::MAX),
        "verdict": verdict,
    })
}
