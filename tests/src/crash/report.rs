//! What a run is told as: a table for people, one JSON object for programs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::harness::{Lives, Run};
use super::judge::Verdict;
use super::violation::by_rule;

const CLASSES: [&str; 4] = ["pure", "idempotent", "probed", "irreversible"];

/// How often each failpoint was reached.
type Hits = BTreeMap<&'static str, u64>;

/// The table.
pub(super) fn table(run: &Run, lives: &Lives, verdict: &Verdict, hits: &Hits) -> String {
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
    line("  of all, with some turn at rest", kills.beside_rests.to_string());
    line("owners at once", run.owners.to_string());
    line("second processes beside", lives.attended.to_string());
    line("left by themselves", lives.left.to_string());
    line("stopped for longer than the lease", lives.stops.to_string());
    line("opening, on average", format!("{} ms", lives.opening.as_millis()));
    line("finishing after the last kill", format!("{} ms", lives.finishing.as_millis()));
    line("turns accepted / ended", format!("{} / {}", counts.accepted, counts.ended));
    line("  answered / failed as drawn", format!("{} / {}", counts.answered, counts.failed));
    line("submits without an answer", counts.unanswered.to_string());
    line("  there all the same", counts.unanswered_there.to_string());
    for (class, of_class) in CLASSES.iter().zip(&verdict.classes) {
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
    line("questions asked / answered", format!("{} / {}", counts.questions, counts.answers));
    let [continued, summarised, cut] = [counts.continued, counts.summarised, counts.cut];
    line("  continued / summarised / cut", format!("{continued} / {summarised} / {cut}"));
    line("calls refused by budgets", counts.refused.to_string());
    line("followers killed", lives.followers_killed.to_string());
    line("records told to followers", counts.followed.to_string());
    line("said to turns / taken up", format!("{} / {}", counts.steered, counts.taken_up));
    line("  interrupted / given up for it", format!("{} / {}", counts.interrupted, counts.superseded));
    let [cancelled, withdrawn, expired] = [counts.cancelled, counts.withdrawn, counts.expired];
    line("cancelled / withdrawn / expired", format!("{cancelled} / {withdrawn} / {expired}"));
    let [undone, left, parked] = [counts.undone, counts.left, counts.parked];
    line("steps undone / left / parked", format!("{undone} / {left} / {parked}"));
    let [denied, asked, rewritten] = [counts.ruled_denied, counts.ruled_asked, counts.ruled_rewritten];
    line("rulings of guards", counts.rulings.to_string());
    line("  denied / asked / rewritten", format!("{denied} / {asked} / {rewritten}"));
    line("sessions handed over", counts.handed_off.to_string());
    line("children started", counts.children.to_string());
    line("forks made / outcomes copied", format!("{} / {}", counts.forks, counts.copied));
    line("reserved / swept", format!("{} / {}", counts.reserved, counts.swept));
    line("late acts, as the limits allow", counts.late.to_string());
    for (name, times) in hits.iter().filter(|(_, times)| **times > 0 || run.at_failpoints > 0) {
        let at = lives.failpoints.get(name).copied().unwrap_or_default();
        let stops = if at.stops > 0 { format!(", stopped {}", at.stops) } else { String::new() };
        let armed = if run.at_failpoints > 0 { format!(", killed {}{stops}", at.kills) } else { stops };
        line(&format!("  at {name}"), format!("{times} hits{armed}"));
    }
    line("violations", verdict.violations.len().to_string());
    for (rule, times) in by_rule(&verdict.violations) {
        line(&format!("  {rule:?}"), times.to_string());
    }
    out
}

/// The same as one JSON object.
pub(super) fn json(run: &Run, lives: &Lives, verdict: &Verdict, hits: &Hits) -> Value {
    let kills = &lives.kills;
    let failpoints: BTreeMap<_, _> = hits
        .iter()
        .map(|(name, hits)| {
            let at = lives.failpoints.get(name).copied().unwrap_or_default();
            (*name, json!({ "hits": hits, "kills": at.kills, "stops": at.stops }))
        })
        .collect();
    json!({
        "owners": run.owners,
        "stops": lives.stops,
        "left": lives.left,
        "failpoints": failpoints,
        "seed": run.seed,
        "kills": kills.all(),
        "kills_opening": kills.opening,
        "kills_submitting": kills.submitting,
        "kills_running": kills.running,
        "kills_resting": kills.resting,
        "kills_idle": kills.idle,
        "kills_beside_rests": kills.beside_rests,
        "attended": lives.attended,
        "followers_killed": lives.followers_killed,
        "opening_mean_ms": lives.opening.as_millis() as u64,
        "finishing_ms": lives.finishing.as_millis() as u64,
        "counts": verdict.counts,
        "classes": CLASSES.iter().zip(&verdict.classes).collect::<BTreeMap<_, _>>(),
        "recorder": verdict.calls,
        "violations": verdict.violations,
    })
}
