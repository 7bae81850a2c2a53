//! A kit for a host's own tests: an agent is run in simulated time, crashed wherever one likes, and asked what its journal
//! holds and what it did to the world.
//!
//! - **Time passes at once.** Timers, retries, deadlines and leases are those of a simulated clock, so a test of a reminder
//!   after a day takes a moment. The test is a plain `#[test]`, or one of any runtime: nothing of it is needed.
//! - **Crashes.** [`TestKit::crash_at`] lets the process die before or after a record; [`TestKit::each_crash`] before and after
//!   each one, a run for each; [`TestKit::each_poll`] after every single poll. The next life of the process is a new owner on
//!   the same store, after the lease of the dead one has expired.
//! - **The world outlives the process.** What tools act on is a [`World`]: [`Target`] is one that keeps keys, or bring your own.
//!   A sweep compares what each crashed run answered, and did to the world, with the run that was not crashed.
//! - **The journal can be asked**: [`Records`] tells kinds, calls with their keys and attempts, and asserts order.
//!
//! ```
//! use agent_shell_core::testing::TestKit;
//! use agent_shell_core::{Call, Plan, Step, Tool};
//! use serde_json::{Value, json};
//!
//! let kit = TestKit::new(|life| {
//!     let target = life.world(); // stands for the payment service: it keeps keys, and outlives the process
//!     life.shell().tool(Tool::idempotent("refund", "Refunds an order", move |order: Value, call: Call| {
//!         let is_new = target.apply("refund", call.key(), order);
//!         async move { Ok(is_new) }
//!     }))
//! });
//! let sweep = kit
//!     .each_crash(|host| async move {
//!         let plan = Plan::new([Step::tool("refund", "refund", json!("A-17"))])?;
//!         // Every life of the process does this again: the dedupe key makes it one turn.
//!         let turn = host.session("customer-42")?.submit(plan).dedupe("request-1").await?;
//!         turn.outcome().await?;
//!         Ok(())
//!     })
//!     .unwrap(); // or tells which crash changed the outcome, or the effects
//! assert!(sweep.crashes() >= 4);
//! for run in sweep.runs() {
//!     run.journal.assert_once("refund");
//!     run.journal.assert_order(["plan.adopted", "step.started refund", "step.succeeded refund", "turn.ended"]);
//!     run.journal.assert_ended();
//! }
//! ```
//!
//! # What a run needs
//! - Tools, planners and models wait only by the clock of their [`Life`] (`life.clock().sleep(..)`; a
//!   [`Scripted`](crate::Scripted) model by [`Scripted::clock`](crate::Scripted::clock)), or for what is ready. Simulated time
//!   does not wait for a socket or for Tokio's timer: it passes on, and the attempt's deadline with it.
//! - What a tool keeps outside its world is lost with its life, or kept although the process died: neither is so in earnest.
//!   A `Scripted` model is best made by [`by_answers`](crate::Scripted::by_answers) or [`with`](crate::Scripted::with), which
//!   survive a restart.
//! - Without randomness of its own a run is the same each time, for a seed. [`TestKit::seed`] gives another order.

mod crash;
mod drive;
mod host;
mod kit;
mod records;
mod sweep;
mod trouble;
mod watch;
mod world;

pub use crash::Crash;
pub use host::{Host, Life};
pub use kit::{BoxError, Run, TestKit};
pub use records::{CallEnd, JournaledCall, Records, Written};
pub use sweep::Sweep;
pub use trouble::{Problem, Trouble};
pub use world::{Target, World};
