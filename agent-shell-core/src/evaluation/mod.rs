//! Whether a change of model, prompt or tools makes an agent better: cases, variants, scorers, a comparison and a gate for CI;
//! and recorded turns that are replayed offline against a changed agent.
//!
//! - A [`DataSet`] of [`Case`]s comes from JSON Lines, or from what sessions recorded ([`DataSet::of_sessions`]).
//! - A [`Variant`] is one way to build the agent. Each case runs in a session of its own.
//! - A [`Scorer`] says how good a case went: [`Exact`], [`Contains`], [`PointerEquals`], [`MatchesSchema`], [`Calls`], [`Within`]
//!   (cost, latency, tokens), [`Judge`] (a model), or the host's own.
//! - An [`Evaluation`] runs all of it, and makes a [`Comparison`]: a table as text, or JSON.
//! - A [`Gate`] makes a [`Verdict`] of it, which has an exit code.
//! - [`Differences`] lists what went otherwise in a fork than in its parent, or in one session than in another, turn by turn.
//! - A [`Replay`] runs recorded turns again, with recorded answers and outputs, and names the first thing that differs.
//!
//! It never asks a model or calls a tool by itself but those of the variants, and the judge. The repository's docs/EVALUATION.md is the
//! how-to.
//!
//! ```
//! use agent_shell_core::evaluation::{Case, DataSet, Evaluation, Exact, Gate, Score, Variant};
//! use agent_shell_core::{Reply, Scripted, Shell};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut cases = DataSet::new();
//! cases.add(Case::new("capital", "What is the capital of Norway?").expected("Oslo")).unwrap();
//! let variant = |name, answer| {
//!     Variant::new(name, move || Shell::volatile().model(Scripted::by_answers([Reply::text(answer)])).open())
//! };
//! let comparison = Evaluation::new(cases)
//!     .variant(variant("today", "Oslo"))
//!     .variant(variant("changed", "Bergen"))
//!     .scorer(Exact::new())
//!     .run()
//!     .await?;
//! println!("{comparison}");
//! let verdict = Gate::new().no_new_failure("exact", Score::PASS).judge(&comparison);
//! assert_eq!(verdict.reasons, ["`changed`: case `capital` passed `exact`, and now does not: it is not what is expected"]);
//! # Ok(())
//! # }
//! ```

mod comparison;
mod data_set;
mod differences;
mod gate;
mod past;
mod replay;
mod run;
mod score;
mod scorers;
mod table;
mod variant;

pub use comparison::{Change, Comparison, Paired, PairedScore, Summary, VariantRuns};
pub use data_set::{BadLine, Case, DataSet, DataSetError};
pub use differences::{Differences, TurnDifference};
pub use gate::{Gate, Verdict};
pub use past::{CallEnd, PastCall, PastQuestion, PastTurn, Spent};
pub use replay::{Difference, Differs, Divergence, Replay, ReplayReport, ReplayedSession, Tape};
pub use run::{CaseRun, Evaluation};
pub use score::{Named, Score, Scored, Scorer, Seen};
pub use scorers::{Calls, Contains, Exact, Judge, MatchesSchema, PointerEquals, Within};
pub use variant::Variant;
