//! Code of the host's that is called where a panic must not go further.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls code of the host's that does not wait.
///
/// # Errors
/// What it said when it panicked.
pub(super) fn guarded<T>(called: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(called)).map_err(|panic| message_of(&*panic))
}

/// What a panic said.
pub(super) fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
