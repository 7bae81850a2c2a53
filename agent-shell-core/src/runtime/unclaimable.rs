//! Sessions that have work and that this process may not take: it lacks what they require.

use std::fmt;

use super::core::{Core, planner_requirement, tool_requirement};
use super::reader::load;
use super::session::NameAndSubject;
use crate::data::{Action, EffectClass, Lane, PlannerRef, RequirementId};
use crate::machine::Folded;
use crate::ports::{SessionEntry, SessionStatus};
use crate::words::{PlannerName, Result, SessionId, SessionName, Tenant, ToolName, TurnId};

/// A session that has work, that nobody holds, and that this process does not take for what it lacks.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Unclaimable {
    /// The session.
    pub session: SessionId,
    /// Its tenant.
    pub tenant: Tenant,
    /// Its name; none when it can't be read, because its key is lost, say.
    pub name: Option<SessionName>,
    /// The turn that stands still; none when it can't be read.
    pub turn: Option<TurnId>,
    /// What this process lacks, each once.
    pub lacks: Vec<Lacking>,
}

/// What a session requires and a process lacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Lacking {
    /// A planner of this name.
    Planner(PlannerName),
    /// A tool of this name; its contract is not recorded yet, so any will do.
    Tool(ToolName),
    /// A tool with the contract that the turn's plan was adopted with.
    Contract {
        /// The tool.
        tool: ToolName,
        /// Its version, as recorded.
        version: u32,
        /// Its class, as recorded.
        class: EffectClass,
        /// The digest of what was recorded of its contract.
        requirement: RequirementId,
        /// The version of the tool of the same name that this process has. If it is the same, then its class, its input
        /// schema or its compensation differs.
        here: Option<u32>,
    },
    /// Something that can't be named, because the session can't be read here.
    Unknown(RequirementId),
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Planner(name) => write!(f, "the planner `{name}`"),
            Self::Tool(name) => write!(f, "a tool `{name}`"),
            Self::Contract { tool, version, class, here: None, .. } => {
                write!(f, "version {version} of the {class:?} tool `{tool}`")
            }
            Self::Contract { tool, version, class, here: Some(here), .. } => write!(
                f,
                "version {version} of the {class:?} tool `{tool}` as its plan knows it: version {here}, which is here, \
                 differs in version, class, input schema or compensation"
            ),
            Self::Unknown(RequirementId(digest)) => write!(f, "what has the digest {digest}"),
        }
    }
}

impl fmt::Display for Unclaimable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lacks: Vec<String> = self.lacks.iter().map(ToString::to_string).collect();
        let (session, tenant, lacks) = (self.session, &self.tenant, lacks.join(", "));
        write!(f, "session {session} of tenant `{tenant}` waits for a process that has {lacks}")
    }
}

/// Whether a session that nobody holds is left alone here although it has work, and for want of what. None when this
/// process would take it, or nobody needs to.
pub(super) async fn judge(core: &Core, entry: &SessionEntry) -> Result<Option<Unclaimable>> {
    let lacking = || entry.requires.iter().copied().filter(|required| !core.offers.contains(required));
    if entry.owner.is_some() || lacking().next().is_none() || !has_work(core, entry).await? {
        return Ok(None);
    }
    let mut found = Unclaimable {
        session: entry.id,
        tenant: entry.tenant.clone(),
        name: None,
        turn: None,
        lacks: lacking().map(Lacking::Unknown).collect(),
    };
    match read(core, entry).await {
        Ok((name, state)) => {
            found.name = Some(name);
            found.turn = state.turn.as_ref().map(|turn| turn.id);
            found.lacks = lacking().map(|required| named(core, &state, required)).collect();
        }
        Err(error) => tracing::warn!(session = %entry.id, %error, "what it lacks can't be named"),
    }
    found.lacks.sort();
    Ok(Some(found))
}

/// As a claim looks for it: a turn that runs, mail that can move it, or an instant that has come.
async fn has_work(core: &Core, entry: &SessionEntry) -> Result<bool> {
    let is_due = entry.mark.wake_at.is_some_and(|wake_at| wake_at <= core.clock.now());
    if entry.mark.status == SessionStatus::Running || is_due {
        return Ok(true);
    }
    if entry.waiting_mail == 0 {
        return Ok(false);
    }
    for lane in Lane::ALL {
        if entry.mark.status.reads(lane)
            && !core.store.mailbox.waiting(entry.id, lane, None, 1).await?.is_empty()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn read(core: &Core, entry: &SessionEntry) -> Result<(SessionName, Folded)> {
    let keys = core.keyring.session(entry.key, false).await?;
    let name = NameAndSubject::open(&keys, entry)?.name;
    Ok((name, load(&*core.store.journal, &keys, entry).await?.state))
}

fn named(core: &Core, state: &Folded, required: RequirementId) -> Lacking {
    let Some(turn) = &state.turn else { return Lacking::Unknown(required) };
    if let PlannerRef::Named(planner) = &turn.planner
        && planner_requirement(planner) == required
    {
        return Lacking::Planner(planner.clone());
    }
    if let Some((tool, terms)) = turn.terms.iter().find(|(_, terms)| terms.requirement == required) {
        let here = core.tools.get(tool).map(|tool| tool.contract().version);
        let (tool, version, class) = (tool.clone(), terms.version, terms.class);
        return Lacking::Contract { tool, version, class, requirement: required, here };
    }
    let PlannerRef::Fixed(plan) = &turn.planner else { return Lacking::Unknown(required) };
    let tools = plan.steps().iter().filter_map(|step| match &step.action {
        Action::Tool { name, .. } => Some(name),
        _ => None,
    });
    let tool = tools.into_iter().find(|tool| tool_requirement(tool) == required);
    tool.map_or(Lacking::Unknown(required), |tool| Lacking::Tool(tool.clone()))
}
