//! Children: a session is registered for one before it starts, and it is found again by whose child it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::AbortHandle;
use serde_json::Value;

use super::core::Core;
use super::keyring::{Place, SessionKeys, name_digest};
use super::outputs::READ_OUTPUT;
use super::processor::StepProcessor;
use super::reader::open;
use super::session::{NameAndSubject, not_json};
use super::shell::Shell;
use super::turn::Turn;
use crate::data::{Action, Body, ChildOf, Delegate, KeyId, Plan, PlannerRef, ToolContract};
use crate::failpoint::reach;
use crate::machine::{AttemptEnd, Event};
use crate::ports::{DynTool, NewSession, SessionStatus};
use crate::words::{Error, ErrorKind, Result, SessionId, StepId, Subject, Tenant, ToolName, TurnId};

/// Tools by their names.
type Tools = BTreeMap<ToolName, Arc<dyn DynTool>>;

/// Records read at once.
const PAGE: usize = 256;

/// A session to be registered for a child.
pub(crate) struct Birth {
    pub(crate) place: usize,
    pub(crate) attempt: u32,
    pub(crate) of: ChildOf,
    pub(crate) tenant: Tenant,
    pub(crate) subject: Subject,
    /// Which key seals what belongs to the subject, and that key.
    pub(crate) key: KeyId,
    pub(crate) keys: SessionKeys,
    pub(crate) input: Arc<Value>,
}

impl StepProcessor {
    /// Registers a session for a child, or finds the one that was registered before a crash.
    pub(crate) fn open_child(&self, birth: Birth) -> AbortHandle {
        let (core, step, attempt) = (self.core.clone(), birth.place, birth.attempt);
        let ended = move |end| Event::Finished { step, attempt, read: 0, end, took: None };
        let work = async move {
            let event = match register(&core, &birth).await {
                Ok((session, child)) => Event::ChildOpened { step, session, child, input: birth.input },
                Err(error) if error.kind() == ErrorKind::InvalidInput => {
                    ended(AttemptEnd::NotApplied { retry: false, reason: error.to_string() })
                }
                Err(error) => {
                    let reason = format!("no session could be registered for the child: {error}");
                    ended(AttemptEnd::NotBegun { reason })
                }
            };
            (event, None)
        };
        self.start(work, move |message| {
            ended(AttemptEnd::NotBegun { reason: format!("the store panicked: {message}") })
        })
    }
}

/// The session that is registered under the child's name, and the turn that it is registered for.
async fn register(core: &Core, birth: &Birth) -> Result<(SessionId, TurnId)> {
    let named = NameAndSubject {
        name: birth.of.name()?,
        subject: birth.subject.clone(),
        child_of: Some(Box::new(birth.of.clone())),
    };
    let text = serde_json::to_vec(&named).map_err(|error| not_json("the child's name", &error))?;
    let tenant_key = core.keyring.tenant(&birth.tenant).await?;
    let new = NewSession {
        id: core.ids.make(),
        tenant: birth.tenant.clone(),
        name: name_digest(&tenant_key, &named.name),
        sealed: birth.keys.seal(Place::Name, &text),
        key: birth.key,
        created: core.clock.now(),
    };
    reach!(RegisterBegins);
    let entry = core.store.journal.open_session(new).await?;
    reach!(RegisterEnds);
    let taken =
        |why: &str| Error::new(ErrorKind::InvalidInput, format!("the session `{}` {why}", named.name));
    if entry.key != birth.key {
        return Err(taken("has another subject"));
    }
    if entry.mark.status == SessionStatus::Archived {
        return Err(Error::new(ErrorKind::Archived, "it was archived before the child started: restore it"));
    }
    let found = NameAndSubject::open(&birth.keys, &entry)?.child_of;
    let mine =
        |of: &ChildOf| (of.session, of.turn, &of.step) == (birth.of.session, birth.of.turn, &birth.of.step);
    match found.filter(|of| mine(of)) {
        Some(of) => Ok((entry.id, of.child)),
        None => Err(taken("is there already, and is no child's")),
    }
}

impl Core {
    /// What a plan's children need that this shell does not have, if anything.
    pub(crate) fn lacks_for_children(&self, plan: &Plan) -> Option<String> {
        let mut delegates = plan.steps().iter().filter_map(|step| match &step.action {
            Action::Child(delegate) => Some((&step.id, &**delegate)),
            _ => None,
        });
        delegates.find_map(|(step, delegate)| self.lacks_for(step, delegate))
    }

    fn lacks_for(&self, step: &StepId, delegate: &Delegate) -> Option<String> {
        let lacking = match &delegate.planner {
            PlannerRef::Fixed(plan) => {
                self.lacks(&delegate.planner).or_else(|| self.lacks_for_children(plan))
            }
            PlannerRef::Named(_) => self.lacks(&delegate.planner),
        };
        let unknown = || {
            let tool = delegate.tools.iter().flatten().find(|tool| !self.tools.contains_key(*tool))?;
            Some(format!("the shell has no tool `{tool}`"))
        };
        lacking.or_else(unknown).map(|lacking| format!("step `{step}` is a child: {lacking}"))
    }

    /// The tools that a planner of a session is shown: those that the session may use.
    pub(crate) fn shown_tools(&self, of: Option<&ChildOf>) -> (Arc<Vec<ToolContract>>, Arc<Tools>) {
        let Some(of) = of.filter(|of| of.tools.is_some()) else {
            return (self.contracts.clone(), self.tools.clone());
        };
        let contracts = self.contracts.iter().filter(|contract| of.allows(&contract.name)).cloned();
        let tools = self.tools.iter().filter(|(name, _)| of.allows(name));
        let tools = tools.map(|(name, tool)| (name.clone(), tool.clone()));
        (Arc::new(contracts.collect()), Arc::new(tools.collect()))
    }

    /// The tools that a child may use, of those that its parent may. What a model was shown as a handle it may read.
    pub(crate) fn tools_for_child(
        &self,
        parent: Option<&ChildOf>,
        delegate: &Delegate,
    ) -> Option<BTreeSet<ToolName>> {
        let mut tools = delegate.tools.clone().or_else(|| parent?.tools.clone())?;
        let reads = self.tools.keys().find(|tool| tool.as_str() == READ_OUTPUT);
        let reads = reads.filter(|tool| parent.is_none_or(|of| of.allows(tool)));
        tools.extend(reads.cloned());
        Some(tools)
    }
}

/// A child of a turn.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChildTurn {
    /// The step that it does.
    pub step: StepId,
    /// Its session.
    pub session: SessionId,
    /// Its turn.
    pub turn: Turn,
}

impl Turn {
    /// The children of the turn that have started, in the order in which they did, whether or not they have ended. To find
    /// them, the turn's records are read.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such turn; else what the store or the key store says.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn children(&self) -> Result<Vec<ChildTurn>> {
        let (entry, opened) = (self.entry().await?, self.opened().await?);
        let Some(mut after) = entry.started else { return Ok(Vec::new()) };
        let (core, mut children) = (self.core(), Vec::new());
        loop {
            let records = core.store.journal.read(opened.entry.id, after, PAGE).await?;
            for record in &records {
                let ended = entry.ended.is_some_and(|ended| record.header.seq > ended);
                if ended {
                    return Ok(children);
                }
                after = record.header.seq;
                if record.header.kind.as_str() != CHILD_STARTED {
                    continue;
                }
                let body = open(&*core.store.journal, &opened.keys, record).await?.body;
                if let Body::ChildStarted { turn, step, session, child, .. } = body
                    && turn == self.id()
                {
                    children.push(ChildTurn { step, session, turn: self.of_session(session, child) });
                }
            }
            if records.len() < PAGE {
                return Ok(children);
            }
        }
    }
}

/// The kind of the record that tells of a child.
const CHILD_STARTED: &str = crate::data::BodyKind::ChildStarted.name();

impl Shell {
    /// Whose child a session is; none for a session that a host opened.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such session, [`ErrorKind::Purged`] when it was purged; else what the store or
    /// the key store says.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn child_of(&self, session: SessionId) -> Result<Option<ChildOf>> {
        let entry = self.core.store.journal.session(session).await?;
        let no_session = || Error::new(ErrorKind::NotFound, format!("there is no session {session}"));
        let entry = entry.ok_or_else(no_session)?;
        if entry.mark.status == SessionStatus::Purged {
            return Err(Error::new(ErrorKind::Purged, format!("session {session} was purged")));
        }
        let keys = self.core.keyring.session(entry.key, false).await?;
        Ok(NameAndSubject::open(&keys, &entry)?.child_of.map(|of| *of))
    }
}
