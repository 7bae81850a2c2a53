//! The words that every other module speaks: ids, names, actors, time, errors and limits.
//!
//! Nothing here does I/O; the two traits, [`Clock`] and [`Entropy`], are how time and randomness come in. [`Result`] is
//! `Result<T, Error>`: who brings all words in with `*` and means another one writes `std::result::Result`.

mod actor;
mod digest;
mod entropy;
mod error;
mod id;
mod limits;
mod name;
mod time;

pub use actor::{Actor, Pseudonym, Subject};
pub use digest::{Digest, Epoch, Head, Seq};
pub use entropy::Entropy;
pub use error::{Error, ErrorKind, Result};
pub use id::{AppendId, Ids, MailId, OutgoingId, OwnerId, SessionId, TurnId};
pub use limits::Limits;
pub use name::{
    ContextKey, DedupeKey, GroupName, GuardName, InvalidName, LockName, ModelName, PlannerName, SessionName,
    SignalName, StepId, Tenant, ToolName, TopicName, UserId,
};
pub use time::{Clock, Deadline, Monotonic, Timestamp};
