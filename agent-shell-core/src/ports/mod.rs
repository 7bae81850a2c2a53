//! The ports: what a backend must do, and what a host's own code may do. Each trait's documentation is its
//! specification; the feature `conformance` holds the suites that check a backend against it.

mod archive;
mod authorizer;
mod bus;
mod guard;
mod handler;
mod history;
mod journal;
mod key_store;
mod ledger;
mod mailbox;
mod marks;
mod model;
mod outbox;
mod ownership;
mod planner;
mod spawn;
mod store;
mod tool;

pub use archive::{Archive, ArchiveError, Archived, Busy, Restore};
pub use authorizer::{Authorizer, Deed, Intention, Refusal};
pub use bus::{At, Bus, BusCapabilities, BusError, BusMember, Delivery, Lag, Message, Peeked, Reach, route};
pub use guard::{Guard, GuardError, GuardRequest, GuardedTool, Ruling};
pub use handler::{EventHandler, HandlerError};
pub use history::{Conversation, History, HistoryPolicy, ShownMessage, SummaryOf};
pub use journal::{
    Append, AppendError, Appended, Blob, Fence, Journal, Mark, NamedActor, NewSession, SessionEntry,
    SessionFilter, SessionStatus, Snapshot, TurnEntry, TurnMark,
};
pub use key_store::{KeyError, KeyStore};
pub(crate) use ledger::alarm_of_bill;
pub use ledger::{
    Ledger, Operation, OperationKind, ReconcileError, ReopenError, Reserve, ReserveError, Reserved,
    SettleError, Settlement,
};
pub use mailbox::{Dedupe, MailItem, Mailbox, Post, PostError, Posted};
pub use marks::{HighWater, Marks};
pub(crate) use model::request_digest;
pub use model::{
    AnswerStream, Chunk, Model, ModelBound, ModelCapabilities, ModelError, ModelErrorKind, ModelHeadroom,
    ModelRequest, ModelView,
};
pub use outbox::{Outbox, OutboxItem, OutboxPosition, Outgoing};
pub use ownership::{Claim, ClaimFilter, Duty, Lease, Ownership, OwnershipError};
pub(crate) use planner::Checks;
pub use planner::{Headroom, PlanView, Planned, Planner, PlannerError, Steered, StepReport};
pub use spawn::Spawn;
pub use store::{Store, StoreError};
pub use tool::{Call, DynTool, InvalidArguments, ProbeAnswer, Tool, ToolError, Undo};
