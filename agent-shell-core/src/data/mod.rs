//! What is stored and what crosses a boundary: plans, tool contracts, records with their chain, mail, envelopes;
//! and how they are written down, sealed and read back in any version.
//!
//! Nothing here does I/O, and nothing here knows a backend.

mod ask;
mod balance;
mod body;
mod budget;
pub mod canonical;
mod chain;
pub(crate) mod chat;
mod child;
mod codec;
mod contract;
mod envelope;
mod extent;
mod guard;
mod latency;
mod mail;
mod outcome;
mod plan;
mod record;
mod schema;
mod seal;
mod step;
mod template;

pub use ask::{Ask, CallResult, PromptRef, ResultOf, Say};
pub use balance::{Balance, BillError, BillTooLarge, Movement, Spending, TooManyBills};
pub use body::{
    Body, BodyKind, Decision, OpenAct, Payload, PlannerRef, Resolution, ToolTerms, WaitEnd, WaitFor,
};
pub use budget::{Account, AccountKind, Amounts, AttemptId, Ceiling, Dimension, in_order};
pub use chain::{ChainBreak, ChainVerifier, record_hash};
pub use chat::{
    Answer, AnswerFormat, Arguments, CallStatus, Content, Finish, Message, Opaque, Prompt, Said, Settings,
    ToolCall, ToolResult, ToolSpec, Usage,
};
pub use child::{ChildEnd, ChildMail, ChildOf, Delegate, Share};
pub use codec::{CodecError, RECORD_VERSION, decode, encode};
pub use contract::{EffectClass, RequirementId, Retry, ToolContract};
pub use envelope::Envelope;
pub(crate) use extent::{Extent, MOST_LEVELS, extent, is_deeper};
pub use guard::{GuardPlace, GuardPlaces, GuardRuling, Labels, Verdict};
pub(crate) use latency::took_ms;
pub use latency::{LatencyBudgets, LatencyStage};
pub use mail::{Lane, Mail, MailKind, TurnRequest};
pub use outcome::{Failure, FailureCode, Outcome, Undone};
pub use plan::{AskError, Plan, PlanBuilder, PlanError, PlanPart};
pub(crate) use plan::{is_undo, undo_of};
pub use record::{Header, Kind, Record};
pub use seal::{DataKey, KeyId, Nonce, OpenError, Sealer, keyed_digest};
pub use step::{Action, Reducer, Step, Write};
pub use template::{Template, context, from, input, output};
