//! The example programs, run as users run them: as processes.

#[cfg(unix)]
mod ledger;
mod small;
