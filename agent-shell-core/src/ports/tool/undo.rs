//! What a compensation is called with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The input of a tool that undoes calls of another: what that call was, and what came of it.
///
/// ```
/// use agent_shell_core::{Call, Tool, ToolError, Undo};
///
/// #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
/// struct Booking { seat: String }
///
/// let book = Tool::idempotent("book", "Books a seat", |booking: Booking, call: Call| async move {
///     Ok::<_, ToolError>(format!("{} under {}", booking.seat, call.key()))
/// });
/// let cancel = Tool::idempotent("cancel", "Gives a seat back", |undo: Undo<Booking, String>, _: Call| async move {
///     let booked = undo.output.unwrap_or(undo.key);
///     Ok::<_, ToolError>(format!("gave back {}: {booked}", undo.input.seat))
/// });
/// let book = book.compensated_by("cancel");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Undo<I, O = Value> {
    /// The idempotency key of the call that is undone. The compensation's own call has another.
    pub key: String,
    /// The input of that call.
    pub input: I,
    /// Its output; none when it was not kept, because it was too large, or is null.
    pub output: Option<O>,
}
