//! Every bound of the runtime, in one place, each with its unit and a safe default.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The bounds of a shell. Each is checked where it applies, and what would pass it is refused with a typed error,
/// never cut off.
///
/// Start from the defaults and change what you must:
///
/// ```
/// use agent_shell_core::{Limits, Shell};
///
/// let mut limits = Limits::default();
/// limits.parallel_steps = 8;
/// limits.lateness_ms = 10_000; // targets that may apply a call ten seconds after its deadline
/// let builder = Shell::volatile().limits(limits);
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Limits {
    /// The largest input of a turn, in bytes of JSON.
    ///
    /// Default: 1 MiB (1,048,576).
    pub input_bytes: usize,
    /// The largest input or output of a step, in bytes of JSON. A larger output fails the step.
    ///
    /// Default: 4 MiB (4,194,304).
    pub payload_bytes: usize,
    /// What all outputs of one turn may hold together, in bytes of JSON.
    ///
    /// Default: 64 MiB (67,108,864).
    pub turn_bytes: usize,
    /// What all values of one turn's context may hold together, in bytes of JSON. A step that would pass it fails.
    ///
    /// Default: 1 MiB (1,048,576).
    pub context_bytes: usize,
    /// Payloads above this many bytes are stored beside the record, as blobs.
    ///
    /// Default: 32 KiB (32,768).
    pub inline_bytes: usize,
    /// Steps of a turn, all rounds of its planner together.
    ///
    /// Default: 4,096.
    pub steps_per_turn: usize,
    /// Rounds of a turn's planner.
    ///
    /// Default: 256.
    pub rounds_per_turn: u32,
    /// Sessions that may stand above a child: a session that is nobody's child has children, these have children, and so on,
    /// so many times. With 0 no step may be a child.
    ///
    /// Default: 4.
    pub child_depth: u32,
    /// Children of one turn, all rounds of its planner together.
    ///
    /// Default: 64.
    pub children_per_turn: usize,
    /// Steps of a turn that run at once.
    ///
    /// Default: 32.
    pub parallel_steps: usize,
    /// Mail of users that may wait in one lane of a session: so many inputs, and so many signals and decisions.
    ///
    /// Default: 1,024.
    pub user_mail_per_session: usize,
    /// Mail of the runtime itself that may wait in one lane of a session; users can't fill it.
    ///
    /// Default: 1,024.
    pub system_mail_per_session: usize,
    /// Signals that were received and that no step has taken yet, in one session.
    ///
    /// Default: 256.
    pub buffered_signals: usize,
    /// Inputs that came while a turn ran, and that no plan has taken up yet, in one session. Further ones stay in the mailbox.
    ///
    /// Default: 64.
    pub buffered_steers: usize,
    /// Turns that one process drives at once. Further ones wait their tenant's turn.
    ///
    /// Default: 1,024.
    pub running_turns: usize,
    /// Sessions that one process holds ready, the idle ones included. With 0 a shell drives nothing: it looks, and posts
    /// for others to read.
    ///
    /// Default: 4,096.
    pub held_sessions: usize,
    /// The largest question to a model: prompt and messages, in bytes of JSON.
    ///
    /// Default: 4 MiB (4,194,304).
    pub question_bytes: usize,
    /// How long a model may take to answer when the step does not say.
    ///
    /// Default: 120,000.
    pub model_ms: u64,
    /// How long a turn waits at most before it asks a model again that wants to be left alone for longer. With 0 what a model
    /// wants counts for nothing.
    ///
    /// Default: 3,600,000.
    pub model_pause_ms: u64,
    /// How long an attempt may take when neither the tool nor the step says.
    ///
    /// Default: 30,000.
    pub attempt_ms: u64,
    /// How long after its deadline an attempt may still take effect. Nobody may call an attempt "not applied"
    /// before it has passed.
    ///
    /// Default: 2,000.
    pub lateness_ms: u64,
    /// How often a probe is tried before the step is `InDoubt`.
    ///
    /// Default: 8.
    pub probe_attempts: u32,
    /// How often owners may go away without progress while they do what a turn owes, about: a tool that kills its host is
    /// not called for ever. From the third time on, what is suspected so runs one after another in a process. In the end an
    /// `Idempotent` step is `InDoubt`, a `Probed` one that was not applied fails, and so does a turn whose `Pure` steps or
    /// whose planner leave nothing behind.
    ///
    /// Default: 64.
    pub interruptions: u32,
    /// Breaches of latency budgets that are told of one turn, besides that of the turn as a whole. Further ones leave no
    /// record. With 0 that of the turn alone is told.
    ///
    /// Default: 64.
    pub latency_breaches: usize,
    /// How long a planner may think.
    ///
    /// Default: 60,000.
    pub plan_ms: u64,
    /// How long a guard may take for one ruling. One that takes longer denies.
    ///
    /// Default: 10,000.
    pub guard_ms: u64,
    /// How long a process's lease lasts; it is renewed at a third of it.
    ///
    /// Default: 15,000.
    pub lease_ms: u64,
    /// How often an idle process looks for work that no wake-up told it of.
    ///
    /// Default: 500.
    pub poll_ms: u64,
    /// How long the outcome of a `Pure` step may wait for company before it is written. 0 writes each at once.
    ///
    /// Default: 20.
    pub riding_ms: u64,
    /// Records between two snapshots of a session, at least.
    ///
    /// Default: 64.
    pub snapshot_every: u64,
    /// How long `shutdown` waits for running steps, and then for events that are not on the bus yet.
    ///
    /// Default: 30,000.
    pub drain_ms: u64,
    /// How long a purge waits, each time, for the owners of the subject's sessions to close them.
    ///
    /// Default: 10,000.
    pub purge_ms: u64,
    /// Sessions that one call archives or removes at most, unless it says otherwise.
    ///
    /// Default: 1,024.
    pub archived_at_once: usize,
    /// The largest file of an archived session, in bytes. A larger session stays in the journal. To restore a session,
    /// or to read its file, takes about twice as much memory. At most 1 GiB (1,073,741,824).
    ///
    /// Default: 256 MiB (268,435,456).
    pub archive_bytes: u64,
    /// How long a row of the outbox stays after it was written, once it is acknowledged: so far back a bus may lose
    /// its tail, and a consumer may stay behind, and still get everything.
    ///
    /// Default: 86,400,000.
    pub outbox_keep_ms: u64,
    /// How long the ledger keeps an operation, and with it the attempt that a later bill may name. A shell that is given
    /// budgets lets go of older ones; balances stay.
    ///
    /// Default: 3,888,000,000.
    pub ledger_keep_ms: u64,
    /// Events that a consumer takes from the bus at once.
    ///
    /// Default: 256.
    pub events_at_once: usize,
    /// Sessions whose events one consumer handles at once. The events of a session are handled one after another.
    ///
    /// Default: 16.
    pub sessions_at_once: usize,
    /// How long a handler may take for one event.
    ///
    /// Default: 30,000.
    pub handler_ms: u64,
    /// The longest pause before an event that its handler failed on is tried again. The first is 100 ms.
    ///
    /// Default: 60,000.
    pub handler_pause_ms: u64,
    /// Sessions whose events wait for such a pause, for one consumer. With more, it takes nothing from the bus.
    ///
    /// Default: 4,096.
    pub parked_sessions: usize,
    /// How much text of its running attempts is kept of a turn that is followed, for all its followers together, in
    /// bytes. Who is slower misses the oldest. With 0 no text is shown before it is durable.
    ///
    /// Default: 256 KiB (262,144).
    pub live_bytes: usize,
}

/// The most that [`Limits::archive_bytes`] may be, in bytes.
const MOST_ARCHIVE_BYTES: u64 = 1 << 30;

impl Default for Limits {
    fn default() -> Self {
        Self {
            input_bytes: 1 << 20,
            payload_bytes: 4 << 20,
            turn_bytes: 64 << 20,
            context_bytes: 1 << 20,
            inline_bytes: 32 << 10,
            steps_per_turn: 4096,
            rounds_per_turn: 256,
            child_depth: 4,
            children_per_turn: 64,
            parallel_steps: 32,
            user_mail_per_session: 1024,
            system_mail_per_session: 1024,
            buffered_signals: 256,
            buffered_steers: 64,
            running_turns: 1024,
            held_sessions: 4096,
            question_bytes: 4 << 20,
            model_ms: 120_000,
            model_pause_ms: 3_600_000,
            attempt_ms: 30_000,
            lateness_ms: 2_000,
            probe_attempts: 8,
            interruptions: 64,
            latency_breaches: 64,
            plan_ms: 60_000,
            guard_ms: 10_000,
            lease_ms: 15_000,
            poll_ms: 500,
            riding_ms: 20,
            snapshot_every: 64,
            drain_ms: 30_000,
            purge_ms: 10_000,
            archived_at_once: 1024,
            archive_bytes: 256 << 20,
            outbox_keep_ms: 86_400_000,
            ledger_keep_ms: 3_888_000_000,
            events_at_once: 256,
            sessions_at_once: 16,
            handler_ms: 30_000,
            handler_pause_ms: 60_000,
            parked_sessions: 4096,
            live_bytes: 256 << 10,
        }
    }
}

impl Limits {
    /// What is wrong with the bounds, if anything: one that is zero would let nothing run.
    pub(crate) fn problem(&self) -> Option<String> {
        let bounds: [(&str, u64); 19] = [
            ("payload_bytes", self.payload_bytes as u64),
            ("turn_bytes", self.turn_bytes as u64),
            ("steps_per_turn", self.steps_per_turn as u64),
            ("rounds_per_turn", self.rounds_per_turn.into()),
            ("parallel_steps", self.parallel_steps as u64),
            ("user_mail_per_session", self.user_mail_per_session as u64),
            ("system_mail_per_session", self.system_mail_per_session as u64),
            ("buffered_steers", self.buffered_steers as u64),
            ("running_turns", self.running_turns as u64),
            ("question_bytes", self.question_bytes as u64),
            ("model_ms", self.model_ms),
            ("attempt_ms", self.attempt_ms),
            ("probe_attempts", self.probe_attempts.into()),
            ("interruptions", self.interruptions.into()),
            ("plan_ms", self.plan_ms),
            ("guard_ms", self.guard_ms),
            ("lease_ms", self.lease_ms),
            ("poll_ms", self.poll_ms),
            ("snapshot_every", self.snapshot_every),
        ];
        let zero = bounds.into_iter().find(|(_, bound)| *bound == 0);
        if let Some((name, _)) = zero {
            return Some(format!("`Limits::{name}` is 0: it must be at least 1"));
        }
        // Of a larger file not every journal could take the session back in one transaction.
        if self.archive_bytes > MOST_ARCHIVE_BYTES {
            let bytes = self.archive_bytes;
            return Some(format!(
                "`Limits::archive_bytes` is {bytes}: it may be {MOST_ARCHIVE_BYTES} at most"
            ));
        }
        // More would not fit an append, with the records that it comes with.
        let most = 8 << 20;
        let large = [("payload_bytes", self.payload_bytes), ("context_bytes", self.context_bytes)];
        let large = large.into_iter().find(|(_, bytes)| *bytes > most);
        large.map(|(name, bytes)| format!("`Limits::{name}` is {bytes}: it may be {most} at most"))
    }

    /// The time an attempt gets when neither the tool nor the step says.
    pub fn attempt(&self) -> Duration {
        Duration::from_millis(self.attempt_ms)
    }

    /// How late an attempt may still take effect.
    pub fn lateness(&self) -> Duration {
        Duration::from_millis(self.lateness_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_which_no_session_could_come_back_is_no_bound() {
        let with = |archive_bytes| Limits { archive_bytes, ..Limits::default() }.problem();
        assert_eq!(with(MOST_ARCHIVE_BYTES), None);
        let problem = with(MOST_ARCHIVE_BYTES + 1).expect("it is too large");
        assert!(problem.contains("archive_bytes"), "{problem}");
    }
}
