//! How a shell is given latency budgets.

use super::shell::ShellBuilder;
use crate::data::LatencyBudgets;

impl ShellBuilder {
    /// How long the stages of turns may take that start in this shell. What takes longer is told: by a record of the turn
    /// with what it took, by an event where the shell tells others, and by a warning of `tracing`. Nothing is stopped by it,
    /// and nothing fails. The budgets of a turn are those of the shell that starts it, whoever goes on with it; they stand
    /// in its first record. Of one stage of one step it is told once, and of one turn as often as
    /// [`Limits::latency_breaches`](crate::Limits::latency_breaches) says.
    ///
    /// ```
    /// use agent_shell_core::data::{LatencyBudgets, LatencyStage};
    /// use agent_shell_core::Shell;
    /// use std::time::Duration;
    ///
    /// let budgets = LatencyBudgets::NONE
    ///     .with(LatencyStage::Model, Duration::from_secs(5))
    ///     .with(LatencyStage::Turn, Duration::from_secs(30));
    /// let builder = Shell::volatile().latency(budgets);
    /// ```
    pub fn latency(mut self, budgets: LatencyBudgets) -> Self {
        self.latency = budgets;
        self
    }
}
