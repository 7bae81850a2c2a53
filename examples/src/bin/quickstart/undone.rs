//! What of a failed run was undone, in words.

use agent_shell_core::Undone;
use agent_shell_core::words::StepId;

use crate::past::Past;
use crate::tools::names;

/// Tickets that are named; all stand in the journal.
const MOST_NAMED: usize = 20;

/// Says what was undone, in the order in which it was, and what stays.
pub(crate) fn told(past: &Past, aftermath: &Undone) -> String {
    let Undone { undone, left, .. } = aftermath;
    let mut lines = Vec::new();
    if !undone.is_empty() {
        lines.push("Undone, in this order:".to_owned());
        let named = undone.iter().take(MOST_NAMED).enumerate();
        lines.extend(named.map(|(nth, step)| format!("  {:>3}. {}", nth + 1, line(past, step))));
        if undone.len() > MOST_NAMED {
            lines.push(format!("  ... and {} more", undone.len() - MOST_NAMED));
        }
    }
    if left.is_empty() {
        lines.push("Nothing of what the run did is left.".to_owned());
    } else {
        let named: Vec<_> = left.iter().take(MOST_NAMED).map(|step| format!("`{step}`")).collect();
        let more = left.len().saturating_sub(MOST_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        lines.push(format!("Not undone: {}{more}.", named.join(", ")));
    }
    lines.join("\n")
}

/// What became of the ticket of a step.
fn line(past: &Past, step: &StepId) -> String {
    let Some((tool, known)) = past.act(step) else { return format!("`{step}`") };
    let ticket = known.ticket.map_or_else(|| "a ticket".to_owned(), |ticket| format!("ticket {ticket}"));
    match tool {
        names::OPEN_TICKET => format!("withdrew {ticket}: {}", known.title),
        _ => format!("opened {ticket} again: {}", known.title),
    }
}
