//! A durable agent runtime to embed in a host application: a user's request becomes a turn, the turn a plan, the plan a
//! graph of steps, and everything that matters is journaled, so that a process which dies at any instant is resumed by
//! another with nothing lost and nothing done twice.
//!
//! Five nouns: a [`Shell`] is opened on a journal; a [`Session`] is the unit of order; a [`Turn`] is one input and its
//! end; a [`Tool`] is the host's own code that acts, and its constructor says what may happen when it is called twice;
//! a [`Plan`] is the graph of [`Step`]s that answers a turn.
//!
//! ```
//! use agent_shell_core::{Call, Plan, Request, Shell, Step, Template, Tool, from, input};
//! use serde_json::json;
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! struct Price { cents: u64 }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let tax = Tool::pure("tax", "Adds the tax", |price: Price, _: Call| async move { Ok(price.cents * 119 / 100) });
//! let charge = Tool::idempotent("charge", "Charges a card", |price: Price, call: Call| async move {
//!     Ok(format!("{} charged under {}", price.cents, call.key())) // the key is the same after a crash
//! });
//! let shell = Shell::volatile().tool(tax).tool(charge).open().await?; // `Shell::at("shell.db")` for one that lasts
//! let plan = Plan::new([
//!     Step::tool("tax", "tax", input("")), // the turn's whole input
//!     Step::tool("charge", "charge", Template::object([("cents", from("tax", ""))])), // an earlier step's output
//! ])?;
//! let request = Request::plan(plan).input(json!({ "cents": 100 }));
//! let turn = shell.session("customer-42")?.submit(request).dedupe("request-1").await?; // on disk, where there is one
//! assert!(turn.outcome().await?.text().starts_with("119 charged"));
//! # shell.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Where to look: [`runtime`] for what a host holds and [`Limits`] for its bounds; [`data`] for plans and what records say;
//! [`ports`] for what a backend, a tool of another kind or a planner implements, and `conformance` (a feature) for the
//! suites that prove a backend, `testing` (another) for a host's own tests, and `evaluation`
//! (a third) for whether a change makes an agent better. The repository's docs say what is guaranteed and what is not yet.

pub mod backends;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod data;
mod embed;
#[cfg(feature = "evaluation")]
pub mod evaluation;
pub mod failpoint;
pub mod machine;
pub mod ports;
pub mod runtime;
#[cfg(feature = "simulation")]
pub mod simulation;
#[cfg(feature = "test-kit")]
pub mod testing;
pub mod words;

pub use backends::guards::HoldUntrusted;
pub use backends::models::{Recorded, Recorder, Reply, Scripted};
pub use backends::planners::{Compaction, PlanByModel, ToolLoop, Window};
pub use backends::roles::{Roles, TenantRoles};
pub use data::{
    Ceiling, Delegate, EffectClass, Envelope, Failure, FailureCode, LatencyBudgets, LatencyStage, Outcome,
    Plan, Reducer, Resolution, Retry, Settings, Step, Template, Undone, context, from, input, output,
};
pub use ports::{
    Authorizer, Call, Deed, EventHandler, Guard, GuardError, GuardRequest, HandlerError, Model, PlanView,
    Planned, Planner, PlannerError, ProbeAnswer, Ruling, Tool, ToolError, Undo,
};
pub use runtime::{
    Approval, Approvals, Ceilings, ChildTurn, Consumer, Follow, Followed, Fork, Lacking, Needs, Request,
    Rest, Session, Shell, ShellBuilder, Turn, Unclaimable,
};
pub use words::{Actor, Error, ErrorKind, Limits, Result, Subject, Tenant};

/// README's first embedding, run in a folder of its own.
#[cfg(doctest)]
#[doc = "```standalone_crate"]
#[doc = "fn main() {"]
#[doc = "    let folder = tempfile::tempdir().unwrap();"]
#[doc = "    std::env::set_current_dir(&folder).unwrap();"]
#[doc = "    embedding::run();"]
#[doc = "    embedding::run(); // the turn is there already"]
#[doc = "}"]
#[doc = "mod embedding {"]
#[doc = include_str!("../../examples/src/bin/first_embedding.rs")]
#[doc = "pub(super) fn run() { main().unwrap() }"]
#[doc = "}"]
#[doc = "```"]
pub struct FirstEmbedding;
