//! The runtime: everything that runs. Sessions are driven by one task each, acts run in tasks of their own, and this
//! is the only place that starts any.

mod admission;
mod approvals;
mod archive;
mod asking;
mod authorized;
mod budget;
mod children;
mod consumer;
mod core;
mod events;
mod executor;
mod export;
mod failure;
mod follow;
mod fork;
mod forking;
mod guarded;
mod guards;
mod hand_off;
mod history;
mod inbox;
mod keyring;
mod latency;
mod lease;
mod ledger_keep;
mod lines;
mod manager;
#[cfg(feature = "simulation")]
mod observer;
mod outputs;
mod processor;
mod publisher;
mod purge;
mod question;
mod reader;
mod registry;
mod rest;
mod session;
mod shell;
mod state_at;
mod submit;
mod turn;
mod unclaimable;
mod verify;
mod watchers;
mod writer;

pub use approvals::{Approval, Approvals};
pub use archive::{
    ArchiveReport, ArchivedSession, Archiving, ExpireReport, Expired, Expiring, PassedOver, Restored, WhyNot,
};
pub use budget::{Ceilings, Whose};
pub use children::ChildTurn;
pub use consumer::Consumer;
pub use export::ExportError;
pub use follow::{Follow, Followed};
pub use fork::Fork;
pub use history::{History, HistoryEntry};
#[cfg(feature = "simulation")]
pub use observer::Observer;
pub use purge::{PurgeReceipt, PurgedSession};
pub use rest::{Needs, Rest};
pub use session::Session;
pub use shell::{Ports, Shell, ShellBuilder};
pub use state_at::{StateAt, StepAt, TurnAt};
pub use submit::{Request, Submit};
pub use turn::Turn;
pub use unclaimable::{Lacking, Unclaimable};
pub use verify::{VerifyError, VerifyReport, verify_export, verify_store};
