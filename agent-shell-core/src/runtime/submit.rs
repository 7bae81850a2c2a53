//! Asking for a turn.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use schemars::JsonSchema;
use serde_json::Value;

use super::session::Session;
use super::turn::Turn;
use crate::data::{AnswerFormat, Ceiling, Mail, Payload, Plan, PlannerRef, TurnRequest};
use crate::ports::{Deed, Posted};
use crate::words::{Actor, DedupeKey, Error, ErrorKind, InvalidName, PlannerName, Result, TurnId};

/// What a turn is asked to do: an input, and who plans.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request {
    input: Value,
    planner: Who,
}

#[derive(Debug, Clone)]
enum Who {
    Default,
    Named(std::result::Result<PlannerName, InvalidName>),
    Fixed(Plan),
}

impl Request {
    /// An input for the shell's default planner.
    pub fn new(input: impl Into<Value>) -> Self {
        Self { input: input.into(), planner: Who::Default }
    }

    /// A fixed plan; its templates may use the turn's input.
    pub fn plan(plan: Plan) -> Self {
        Self { input: Value::Null, planner: Who::Fixed(plan) }
    }

    /// The turn's input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Value>) -> Self {
        self.input = input.into();
        self
    }

    /// The planner with this name, of those that the shell was opened with.
    #[must_use]
    pub fn planner(mut self, name: impl AsRef<str>) -> Self {
        self.planner = Who::Named(PlannerName::new(name));
        self
    }
}

impl From<Plan> for Request {
    fn from(plan: Plan) -> Self {
        Self::plan(plan)
    }
}

impl<T: Into<Value>> From<T> for Request {
    fn from(input: T) -> Self {
        Self::new(input)
    }
}

/// A turn that is about to be posted. Await it.
///
/// # Cancel safety
/// Dropping the future once it was polled does not withdraw the turn. With a dedupe key, submit it again to learn;
/// without one it is unknown.
#[must_use = "nothing is posted until it is awaited"]
pub struct Submit {
    session: Session,
    request: Request,
    dedupe: Option<std::result::Result<DedupeKey, InvalidName>>,
    deadline: Option<Duration>,
    wants: Option<AnswerFormat>,
    budget: Option<Ceiling>,
    meets: Meets,
    untrusted: bool,
    actor: Actor,
}

/// What a request does that meets a running turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meets {
    Queues,
    Steers,
    Interrupts,
}

impl Submit {
    pub(crate) fn new(session: Session, request: Request) -> Self {
        Self {
            session,
            request,
            dedupe: None,
            deadline: None,
            wants: None,
            budget: None,
            meets: Meets::Queues,
            untrusted: false,
            actor: Actor::Host,
        }
    }

    /// The caller's own name for this request. Submitted again with the same name and input it is the same turn, as
    /// long as the session lives; with another input it is [`ErrorKind::Mismatch`].
    pub fn dedupe(mut self, key: impl AsRef<str>) -> Self {
        self.dedupe = Some(DedupeKey::new(key));
        self
    }

    /// When the turn must have ended, from now, in wall time across restarts. Past it nothing new starts, and the turn
    /// ends as expired once all acts have ended.
    pub fn deadline(mut self, after: Duration) -> Self {
        self.deadline = Some(after);
        self
    }

    /// The form that the answer must have: the JSON Schema of `T`. The planner sees to it; [`Outcome::answer_as`] reads it.
    ///
    /// [`Outcome::answer_as`]: crate::Outcome::answer_as
    pub fn wants<T: JsonSchema>(mut self) -> Self {
        self.wants = Some(AnswerFormat {
            name: T::schema_name().into_owned(),
            schema: schemars::schema_for!(T).to_value(),
        });
        self
    }

    /// The form that the answer must have, as it was recorded.
    #[cfg(feature = "evaluation")]
    pub(crate) fn wants_form(mut self, form: Option<AnswerFormat>) -> Self {
        self.wants = form;
        self
    }

    /// What the turn may spend at most, besides the ceilings that the shell sets. It is no part of what a
    /// [dedupe key](Submit::dedupe) stands for: submitted again with another budget, the turn keeps its first one.
    pub fn budget(mut self, ceiling: Ceiling) -> Self {
        self.budget = Some(ceiling);
        self
    }

    /// Says it to the turn that runs, if one does: its planner's next call sees it ([`PlanView::steers`](crate::PlanView::steers)),
    /// and what runs goes on. Once a plan has taken it up, this turn ends together with that one and has its outcome; deadline,
    /// form and budget are those of the turn that it joined. What no plan took up becomes the next turn, before any other that
    /// waits. `docs/GUARANTEES.md` has a table of what becomes of it, wherever the turn stands.
    pub fn steer(mut self) -> Self {
        self.meets = Meets::Steers;
        self
    }

    /// As [`steer`](Self::steer), and at once: steps of the running turn that have not begun are given up, running `Pure` work is
    /// dropped, acts that have begun go on to their end, nothing is undone, and then the planner is asked again. A turn with a
    /// fixed plan has nobody to ask again: there it waits for the turn's end.
    pub fn interrupt(mut self) -> Self {
        self.meets = Meets::Interrupts;
        self
    }

    /// Says that the input is, or holds, content from outside: an e-mail, a page, a ticket that a stranger wrote. It counts as what an
    /// [`untrusted`](crate::Tool::untrusted) tool brings: guards see the label on all that is made of it, in this turn, in the
    /// conversation behind it, and in children, and [`HoldUntrusted`](crate::HoldUntrusted) holds what can't be taken back.
    pub fn untrusted(mut self) -> Self {
        self.untrusted = true;
        self
    }

    /// Who asks. Without it, [`Actor::Host`].
    pub fn actor(mut self, actor: Actor) -> Self {
        self.actor = actor;
        self
    }

    async fn post(self) -> Result<Turn> {
        let inner = &self.session.inner;
        let core = &inner.core;
        core.stop.check()?;
        inner.check_size("the turn's input", &self.request.input)?;
        crate::data::canonical::canonical(&self.request.input)
            .map_err(|error| Error::new(ErrorKind::InvalidInput, format!("the turn's input: {error}")))?;
        let by_default = matches!(self.request.planner, Who::Default);
        let planner = match self.request.planner {
            Who::Fixed(plan) => PlannerRef::Fixed(plan),
            Who::Named(name) => PlannerRef::Named(name?),
            Who::Default => PlannerRef::Named(core.default_planner()?),
        };
        if let Some(lacking) = core.lacks(&planner) {
            return Err(Error::new(ErrorKind::InvalidInput, lacking));
        }
        let turn: TurnId = core.ids.make();
        let deadline = self.deadline.map(|after| core.clock.now().plus(after));
        let (input, wants, budget) =
            (Payload::from(self.request.input), self.wants.map(Box::new), self.budget.map(Box::new));
        let untrusted = self.untrusted;
        let mail = match self.meets {
            Meets::Queues => {
                Mail::Submit { turn, input, planner, by_default, deadline, wants, budget, untrusted }
            }
            meets => Mail::Steer {
                request: Box::new(TurnRequest {
                    turn,
                    input,
                    planner,
                    by_default,
                    deadline,
                    wants,
                    budget,
                    untrusted,
                }),
                at_once: meets == Meets::Interrupts,
            },
        };
        let dedupe = self.dedupe.transpose()?;
        inner.authorize(&self.actor, Deed::Submit).await?;
        let opened = inner.opened().await?;
        let posted = inner.post(mail, dedupe.as_ref(), Some(turn), &self.actor).await?;
        let turn = match posted {
            Posted::Duplicate(Some(earlier)) => earlier,
            _ => turn,
        };
        Ok(Turn::new(core.clone(), inner.manager.clone(), Some(opened.entry.id), turn))
    }
}

impl IntoFuture for Submit {
    type Output = Result<Turn>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Turn>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.post())
    }
}
