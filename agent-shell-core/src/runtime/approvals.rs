//! Approvals: what waits for a yes or no, how it is listed, and how it and other rests are answered.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use futures::Stream;
use serde_json::Value;

use super::rest::{Needs, Rest};
use super::shell::Shell;
use super::turn::Turn;
use crate::data::{Decision, Mail, Resolution};
use crate::machine::Origin;
use crate::words::{Actor, Digest, Error, ErrorKind, Result, Seq, StepId, Timestamp, ToolName};

/// A call that waits for an approval, with its exact arguments.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Approval {
    turn: Turn,
    /// The step that waits.
    pub step: StepId,
    /// The tool that is to be called; none when the step only asks.
    pub tool: Option<ToolName>,
    /// The exact arguments, or what the step shows.
    pub shown: Arc<Value>,
    /// When it is too late.
    pub expires: Option<Timestamp>,
    /// What the decision binds to.
    pub digest: Digest,
    /// What a guard said that asks for the approval; none when the tool or the plan asks.
    pub reason: Option<String>,
    /// Where each text and each number in the arguments came from, as far as it can be told: a hint for a person, and no
    /// proof. See [`Origin`].
    pub origins: Vec<Origin>,
}

impl Approval {
    /// What a rest of the turn asks, when it asks for an approval.
    pub(super) fn of(turn: &Turn, rest: &Rest) -> Option<Self> {
        match &rest.needs {
            Needs::Approval { digest, tool, shown, expires, reason, origins } => Some(Self {
                turn: turn.in_session(rest.session),
                step: rest.step.clone(),
                tool: tool.clone(),
                shown: shown.clone(),
                expires: *expires,
                digest: *digest,
                reason: reason.clone(),
                origins: origins.clone(),
            }),
            Needs::Resolution { .. } | Needs::Undo { .. } => None,
        }
    }

    /// Approves exactly this call. Returns when the approval is on disk; it counts by this time.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`] when the actor may not; else what the store says.
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the approval.
    pub async fn approve(&self, actor: &Actor) -> Result<()> {
        self.decide(Decision::Approved, actor).await
    }

    /// Refuses this call; the step fails with the reason. Returns when the refusal is on disk.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`] when the actor may not; else what the store says.
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the refusal.
    pub async fn deny(&self, reason: impl Into<String>, actor: &Actor) -> Result<()> {
        self.decide(Decision::Denied { reason: reason.into() }, actor).await
    }

    async fn decide(&self, decision: Decision, actor: &Actor) -> Result<()> {
        let (turn, step, digest) = (self.turn.id(), self.step.clone(), self.digest);
        self.turn.post(Mail::Decide { turn, step, digest, decision }, actor).await
    }
}

/// Every approval that a turn asks for, as it comes. See [`Turn::approvals_stream`].
#[must_use = "nothing is waited for until the next approval is asked for"]
pub struct Approvals {
    turn: Turn,
    /// By the record with which each was asked for: a step may ask again, for another call, or to undo.
    given: BTreeSet<Seq>,
}

impl Approvals {
    /// Waits until the turn asks for an approval that was not returned here before; none once the turn has ended. While
    /// the turn rests, this waits: somebody may answer, and the turn go on and ask again.
    ///
    /// # Errors
    /// What the store says, or `ShuttingDown`. It may be called again.
    ///
    /// # Cancel safety
    /// Dropping the future skips nothing: the next call returns what this one would have.
    pub async fn next(&mut self) -> Result<Option<Approval>> {
        let Self { turn, given } = self;
        let next = turn.wait(|view| {
            let mut fresh = view.open.iter().filter(|rest| !given.contains(&rest.since));
            let next = fresh.find_map(|rest| Some((rest.since, Approval::of(turn, rest)?)));
            (next.is_some() || view.outcome.is_some()).then_some(next)
        });
        let next = next.await?;
        given.extend(next.as_ref().map(|(since, _)| *since));
        Ok(next.map(|(_, approval)| approval))
    }

    /// The same as a [`Stream`], to be merged with others. It ends with the turn, or after its first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Approval>> + Send + 'static {
        futures::stream::try_unfold(self, |mut approvals| async move {
            Ok(approvals.next().await?.map(|approval| (approval, approvals)))
        })
    }
}

impl fmt::Debug for Approvals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Approvals({:?}, {} given)", self.turn, self.given.len())
    }
}

impl Turn {
    /// Waits until the turn asks for an approval, and returns the first one in plan order; none when it ends without
    /// asking (again). One that was just answered is returned again until the session's owner, which may be another
    /// process, has read the answer: so don't call this in a loop. For a turn that may ask for several, see
    /// [`Turn::approvals_stream`] and [`Turn::approvals`].
    ///
    /// # Errors
    /// What the store says, or `ShuttingDown`.
    ///
    /// # Cancel safety
    /// Dropping the future does not touch the turn.
    pub async fn approval(&self) -> Result<Option<Approval>> {
        self.wait(|view| {
            let first = view.open.iter().find_map(|rest| Approval::of(self, rest));
            (first.is_some() || view.outcome.is_some() || view.rests).then_some(first)
        })
        .await
    }

    /// All approvals that the turn waits for now, in plan order. They may be answered in any order. One that was just
    /// answered is listed until the session has read the answer.
    ///
    /// # Errors
    /// What the store says.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn approvals(&self) -> Result<Vec<Approval>> {
        let rests = self.rests().await?;
        Ok(rests.iter().filter_map(|rest| Approval::of(self, rest)).collect())
    }

    /// Every approval that the turn asks for until it ends, each once, as it comes. Those that wait already come first.
    /// What somebody else decides before it is seen here does not come.
    ///
    /// ```
    /// # use agent_shell_core::{Actor, Call, Plan, Shell, Step, Tool};
    /// # use serde_json::json;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let post = Tool::irreversible("post", "", |_: serde_json::Value, _: Call| async { Ok("posted") });
    /// # let shell = Shell::volatile().tool(post.ask_first()).open().await?;
    /// # let plan = Plan::new([Step::tool("one", "post", json!(1)), Step::tool("two", "post", json!(2))])?;
    /// # let turn = shell.session("customer-42")?.submit(plan).await?;
    /// # let olga = Actor::named("olga")?;
    /// let mut approvals = turn.approvals_stream();
    /// while let Some(approval) = approvals.next().await? {
    ///     println!("{} asks for {}", approval.step, approval.shown);
    ///     approval.approve(&olga).await?;
    /// }
    /// println!("{}", turn.outcome().await?.text());
    /// # assert_eq!(turn.outcome().await?.text(), r#"{"one":"posted","two":"posted"}"#);
    /// # Ok(())
    /// # }
    /// ```
    pub fn approvals_stream(&self) -> Approvals {
        Approvals { turn: self.clone(), given: BTreeSet::new() }
    }
}

impl Shell {
    /// Approves exactly the call that a rest shows. Returns when the approval is on disk; it counts by this time.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`] when the actor may not, [`ErrorKind::InvalidInput`] when the rest asks for a resolution; else what the store says.
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the approval.
    pub async fn approve(&self, rest: &Rest, actor: &Actor) -> Result<()> {
        self.approval_of(rest)?.approve(actor).await
    }

    /// Refuses the call that a rest shows; its step fails with the reason. Returns when the refusal is on disk.
    ///
    /// # Errors
    /// As [`Shell::approve`].
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the refusal.
    pub async fn deny(&self, rest: &Rest, reason: impl Into<String>, actor: &Actor) -> Result<()> {
        self.approval_of(rest)?.deny(reason, actor).await
    }

    /// Says what became of the attempt that a rest shows, or how the undoing of a step goes on. Returns when this is on disk; the turn goes on soon after.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when that attempt is not in doubt any more: somebody else has resolved it.
    /// [`ErrorKind::InvalidInput`] when the rest asks for an approval, or when it is resolved as not applied while the
    /// attempt may still take effect: see [`Needs::Resolution`]. Else what the store says.
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the resolution; a second one is refused by the session.
    pub async fn resolve(&self, rest: &Rest, resolution: Resolution, actor: &Actor) -> Result<()> {
        let (Needs::Resolution { attempt, .. } | Needs::Undo { attempt, .. }) = &rest.needs else {
            let message = "the rest waits for an approval: answer it with `Shell::approve` or `Shell::deny`";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        };
        let turn = self.turn(rest.turn);
        // What was found out about one attempt says nothing of a later one, which somebody else may have let begin.
        let stands = turn.rests().await?.iter().any(|now| {
            let (Needs::Resolution { attempt: now_at, .. } | Needs::Undo { attempt: now_at, .. }) =
                &now.needs
            else {
                return false;
            };
            now.step == rest.step && now_at == attempt
        });
        if !stands {
            let message =
                format!("attempt {attempt} at step `{}` is neither in doubt nor parked any more", rest.step);
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        turn.resolve_rest(rest, resolution, actor).await
    }

    fn approval_of(&self, rest: &Rest) -> Result<Approval> {
        Approval::of(&self.turn(rest.turn), rest).ok_or_else(|| {
            let message = match &rest.needs {
                Needs::Undo { undoes, .. } => format!(
                    "step `{undoes}` can't be undone: say how it goes on with `Shell::resolve`, which `Needs::Undo` explains"
                ),
                _ => format!(
                    "step `{}` is in doubt: look up what became of its call, and say so with `Shell::resolve`",
                    rest.step
                ),
            };
            Error::new(ErrorKind::InvalidInput, message)
        })
    }
}
