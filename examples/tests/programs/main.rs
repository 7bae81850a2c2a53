//! The example programs, run as users run them: as processes.

#[cfg(unix)]
mod ledger;
#[cfg(unix)]
mod quickstart;
mod small;
#[cfg(unix)]
mod timeline;
