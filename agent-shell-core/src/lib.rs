//! A durable agent runtime to embed in a host application.

pub mod backends;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod data;
mod embed;
pub mod machine;
pub mod ports;
pub mod runtime;
pub mod words;

pub use data::{
    EffectClass, Envelope, Failure, FailureCode, Outcome, Plan, Reducer, Resolution, Retry, Step, Template,
    context, from, input, output,
};
pub use ports::{
    Call, EventHandler, HandlerError, PlanView, Planned, Planner, PlannerError, ProbeAnswer, Tool, ToolError,
};
pub use runtime::{Approval, Consumer, Needs, Request, Rest, Session, Shell, ShellBuilder, Turn};
pub use words::{Actor, Error, ErrorKind, Limits, Result, Subject, Tenant};
