//! The shell: what a host opens, and everything is reached from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use super::admission::Admission;
use super::budget::{self, Budgets, Ceilings, Whose};
use super::consumer::{self, Telling};
use super::core::{Core, Stop, Stopping, model_requirement, planner_requirement, tool_requirement};
use super::export;
use super::follow::Live;
use super::guards::Guards;
use super::history::History;
use super::keyring::Keyring;
use super::lease::{self, LeaseGuard};
use super::ledger_keep;
use super::manager::TurnManager;
use super::outputs::ReadOutput;
use super::registry::Registry;
use super::rest::Rest;
use super::session::Session;
use super::turn::Turn;
use super::unclaimable::{self, Unclaimable};
use super::watchers::Watchers;
use crate::data::{Account, AccountKind, EffectClass, LatencyBudgets};
use crate::failpoint::reach;
use crate::ports::{
    Authorizer, DynTool, Guard, KeyStore, Lag, Ledger, Model, Planner, SessionEntry, SessionFilter,
    SessionStatus, Spawn, Store, Tool,
};
use crate::words::{
    Actor, Clock, Entropy, Error, ErrorKind, GroupName, Head, Ids, InvalidName, Limits, ModelName,
    PlannerName, Pseudonym, Result, SessionId, SessionName, Subject, Tenant, ToolName, TurnId, UserId,
};

/// Sessions listed at once.
const PAGE: usize = 256;

/// A running shell. Cheap to clone. Dropping the last handle does not stop it; [`Shell::shutdown`] does, and a process
/// that just ends loses nothing either.
#[derive(Clone)]
pub struct Shell {
    pub(crate) core: Arc<Core>,
    pub(crate) manager: TurnManager,
    recovered: usize,
}

/// The ports that a shell runs on.
#[derive(Clone)]
pub struct Ports {
    /// The store.
    pub store: Store,
    /// The keys, which must not lie in the same backup as the store.
    pub keys: Arc<dyn KeyStore>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Tasks.
    pub spawn: Arc<dyn Spawn>,
}

/// Collects what a shell is made of.
#[must_use = "a shell runs only once it is opened"]
pub struct ShellBuilder {
    ports: BoxFuture<'static, Result<Ports>>,
    limits: Limits,
    tools: Vec<Tool>,
    planners: Vec<(std::result::Result<PlannerName, InvalidName>, Arc<dyn Planner>)>,
    models: Vec<(std::result::Result<ModelName, InvalidName>, Arc<dyn Model>)>,
    fallback: Option<fn() -> Arc<dyn Planner>>,
    reads_outputs: bool,
    budgets: Option<Budgets>,
    pub(super) latency: LatencyBudgets,
    guards: Vec<Arc<dyn Guard>>,
    authorizer: Option<Arc<dyn Authorizer>>,
    pub(super) telling: Telling,
    #[cfg(feature = "simulation")]
    observer: Option<Arc<dyn super::observer::Observer>>,
}

/// The name of the planner that [`ShellBuilder::planner`] sets, and of the model of [`ShellBuilder::model`].
const DEFAULT: &str = "default";

impl ShellBuilder {
    /// A shell on ports that `ports` opens, when the shell is opened. Hosts usually start from `Shell::at`,
    /// `Shell::volatile` or `Shell::on`.
    pub fn new(ports: impl Future<Output = Result<Ports>> + Send + 'static) -> Self {
        Self {
            ports: Box::pin(ports),
            limits: Limits::default(),
            tools: Vec::new(),
            planners: Vec::new(),
            models: Vec::new(),
            fallback: None,
            reads_outputs: false,
            budgets: None,
            latency: LatencyBudgets::NONE,
            guards: Vec::new(),
            authorizer: None,
            telling: Telling::default(),
            #[cfg(feature = "simulation")]
            observer: None,
        }
    }

    /// Adds a tool.
    pub fn tool(mut self, tool: Tool) -> Self {
        self.tools.push(tool);
        self
    }

    /// Adds a guard: the host's own rule on what models are asked, what tools are called with, and what both bring. Guards are
    /// asked in the order in which they are added. What they rule is recorded; without any, nothing is.
    ///
    /// ```
    /// use agent_shell_core::{Guard, GuardError, GuardRequest, Ruling, Shell};
    ///
    /// struct NoPayments;
    ///
    /// #[async_trait::async_trait]
    /// impl Guard for NoPayments {
    ///     fn name(&self) -> &str {
    ///         "no-payments"
    ///     }
    ///
    ///     async fn rule(&self, request: &GuardRequest) -> Result<Ruling, GuardError> {
    ///         let pays = request.tool.as_ref().is_some_and(|tool| tool.name.as_str() == "pay");
    ///         Ok(if pays { Ruling::deny("payments are closed") } else { Ruling::Allow })
    ///     }
    /// }
    ///
    /// let builder = Shell::volatile().guard(NoPayments);
    /// ```
    pub fn guard(mut self, guard: impl Guard) -> Self {
        self.guards.push(Arc::new(guard));
        self
    }

    /// Who may submit, signal, approve, deny, resolve, cancel, abandon, purge and fork: [`Roles`](crate::Roles), or the host's own. Without
    /// one, everybody may everything.
    pub fn authorizer(mut self, authorizer: impl Authorizer) -> Self {
        self.authorizer = Some(Arc::new(authorizer));
        self
    }

    /// The planner of turns that name none.
    pub fn planner(self, planner: impl Planner) -> Self {
        self.named_planner(DEFAULT, planner)
    }

    /// Adds a planner that turns may name.
    pub fn named_planner(mut self, name: impl AsRef<str>, planner: impl Planner) -> Self {
        self.planners.push((PlannerName::new(name), Arc::new(planner)));
        self
    }

    /// The model that questions ask which name none: it is called `default`. With it, and without a planner, turns are
    /// planned by the tool-calling loop.
    pub fn model(self, model: impl Model) -> Self {
        self.named_model(DEFAULT, model)
    }

    /// Adds a model that plans may name.
    pub fn named_model(mut self, name: impl AsRef<str>, model: impl Model) -> Self {
        self.models.push((ModelName::new(name), Arc::new(model)));
        self
    }

    /// Bounds what turns may spend: `ceilings` is asked at every turn that the shell drives, before its first attempt, and again
    /// when another process goes on with the turn. It must be quick; when it panics, nothing of the turn begins. An attempt at a tool or a
    /// question to a model begins only when the most that it can spend fits under all ceilings, together with what is spent
    /// and set aside; else its step fails with [`FailureCode::Budget`](crate::FailureCode::Budget). A model that can't say
    /// what a question costs at most is refused where that counts.
    ///
    /// ```
    /// use agent_shell_core::data::Ceiling;
    /// use agent_shell_core::runtime::Ceilings;
    /// use agent_shell_core::Shell;
    ///
    /// let a_cent = Ceiling { nano_usd: Some(10_000_000), ..Ceiling::NONE };
    /// let builder = Shell::volatile().budgeted(move |_| Ceilings { turn: a_cent, ..Ceilings::default() });
    /// ```
    pub fn budgeted(mut self, ceilings: impl Fn(&Whose<'_>) -> Ceilings + Send + Sync + 'static) -> Self {
        self.budgets = Some(Arc::new(ceilings));
        self
    }

    /// Gives the shell the tool `read_output`, by which a model reads on in an output that it was shown as a handle
    /// ([`ToolLoop::handles_above`](crate::ToolLoop::handles_above)): `handle`, and if it likes `offset` and `bytes`. It reads
    /// outputs of the same session alone, and changes nothing.
    pub fn reads_outputs(mut self) -> Self {
        self.reads_outputs = true;
        self
    }

    /// Who plans the turns that name no planner, when the host gives a default model and no default planner.
    pub(crate) fn fallback_planner(mut self, fallback: fn() -> Arc<dyn Planner>) -> Self {
        self.fallback = Some(fallback);
        self
    }

    /// Shows a simulation the state of every session that the shell holds.
    #[cfg(feature = "simulation")]
    pub fn observed_by(mut self, observer: Arc<dyn super::observer::Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Sets the bounds.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same agent, apart from the world: on the ports of another builder, without a bus, and with what stands in for its
    /// tools and its models.
    #[cfg(feature = "evaluation")]
    pub(crate) fn offline(
        mut self,
        on: Self,
        tool: impl Fn(Arc<dyn DynTool>) -> Tool,
        model: impl Fn(Arc<dyn Model>) -> Arc<dyn Model>,
    ) -> Result<Self> {
        (self.ports, self.telling) = (on.ports, on.telling);
        let tools = self.tools.into_iter().map(|of_host| Ok(tool(of_host.build()?)));
        self.tools = tools.collect::<Result<_>>()?;
        self.models = self.models.into_iter().map(|(name, of_host)| (name, model(of_host))).collect();
        Ok(self)
    }

    /// The bounds that were set so far.
    #[cfg(feature = "test-kit")]
    pub(crate) fn bounds(&self) -> &Limits {
        &self.limits
    }

    /// Opens the shell: what a crash left is taken over and goes on before this returns, as far as no other living
    /// process holds it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a wrong or doubled name of a tool, planner or model, and for bounds that would let nothing
    /// run; else what the store says.
    ///
    /// # Cancel safety
    /// Dropping the future stops what was started and lets go of what was claimed, soon after.
    pub async fn open(self) -> Result<Shell> {
        if let Some(problem) = self.limits.problem().or_else(|| self.latency.problem()) {
            return Err(Error::new(ErrorKind::InvalidInput, problem));
        }
        let mut tools = BTreeMap::new();
        for tool in self.tools {
            let tool = tool.build()?;
            let name = tool.contract().name.clone();
            if tools.insert(name.clone(), tool).is_some() {
                return Err(twice("tool", name.as_str()));
            }
        }
        // What it reads may be what another tool brought from outside.
        let untrusted = tools.values().any(|tool| tool.contract().untrusted);
        let reader = self.reads_outputs.then(|| ReadOutput::new(untrusted)).transpose()?.map(Arc::new);
        if let Some(reader) = &reader {
            let name = reader.contract().name.clone();
            if tools.insert(name.clone(), reader.clone() as Arc<dyn DynTool>).is_some() {
                return Err(twice("tool", name.as_str()));
            }
        }
        compensations(&tools)?;
        let mut planners = BTreeMap::new();
        for (name, planner) in self.planners {
            let name = name?;
            if planners.insert(name.clone(), planner).is_some() {
                return Err(twice("planner", name.as_str()));
            }
        }
        let mut models = BTreeMap::new();
        for (name, model) in self.models {
            let name = name?;
            if models.insert(name.clone(), model).is_some() {
                return Err(twice("model", name.as_str()));
            }
        }
        if let Some(fallback) = self.fallback.filter(|_| models.contains_key(DEFAULT)) {
            planners.entry(PlannerName::new(DEFAULT)?).or_insert_with(fallback);
        }
        let contracts: Vec<_> = tools.values().map(|tool| tool.contract().clone()).collect();
        let offers: BTreeSet<_> = contracts
            .iter()
            .map(crate::data::ToolContract::requirement)
            .chain(tools.keys().map(tool_requirement))
            .chain(planners.keys().map(planner_requirement))
            .chain(models.keys().map(model_requirement))
            .collect();
        let guards = Guards::new(self.guards)?;
        let (events, consumers) = self.telling.check()?;
        let lease = Duration::from_millis(self.limits.lease_ms);
        let Ports { store, keys, clock, entropy, spawn } = self.ports.await?;
        let ids = Ids::new(clock.clone(), entropy.clone());
        let journal = store.journal.clone();
        let core = Arc::new(Core {
            store,
            keyring: Keyring::new(keys, journal, entropy.clone()),
            clock,
            entropy,
            spawn,
            owner: ids.make(),
            ids,
            tools: Arc::new(tools),
            models,
            guards,
            authorizer: self.authorizer,
            budgets: self.budgets,
            latency: (self.latency != LatencyBudgets::NONE).then(|| Box::new(self.latency)),
            contracts: Arc::new(contracts),
            planners,
            offers,
            lease: LeaseGuard::new(lease),
            registry: Registry::default(),
            admission: Admission::new(self.limits.running_turns),
            apart: Arc::new(Semaphore::new(1)),
            watchers: Watchers::default(),
            live: Arc::new(Live::new(self.limits.live_bytes)),
            stop: Stop::new(),
            limits: self.limits,
            events,
            #[cfg(feature = "simulation")]
            observer: self.observer,
        });
        if let Some(reader) = reader {
            reader.serve(&core);
        }
        let shell = start(core).await?;
        consumer::start(&shell.core, consumers).await;
        Ok(shell)
    }
}

/// Checks that what is to undo calls is there and can.
fn compensations(tools: &BTreeMap<ToolName, Arc<dyn DynTool>>) -> Result<()> {
    for (name, contract) in tools.iter().map(|(name, tool)| (name, tool.contract())) {
        let Some(undoing) = &contract.compensation else { continue };
        let problem = match tools.get(undoing).map(|tool| tool.contract()) {
            _ if contract.class == EffectClass::Pure => {
                "it changes nothing, so there is nothing to undo".into()
            }
            None => format!("the shell has no tool `{undoing}`: give it one with `ShellBuilder::tool`"),
            Some(of) if of.held => format!("`{undoing}` is held back, and what undoes a call can't be"),
            Some(_) => continue,
        };
        let message = format!("tool `{name}` is compensated by `{undoing}`: {problem}");
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(())
}

/// A shell that is being opened. Unless it is finished, nothing is left behind that would hold sessions without a shell.
struct Opening {
    core: Option<Arc<Core>>,
}

impl Drop for Opening {
    fn drop(&mut self) {
        let Some(core) = self.core.take() else { return };
        core.stop.advance(Stopping::Abrupt);
        let resigning = core.clone();
        core.spawn.spawn(Box::pin(async move {
            if let Err(error) = resigning.store.ownership.resign(resigning.owner).await {
                tracing::warn!(%error, "a shell that was not opened did not resign; its lease runs out");
            }
        }));
    }
}

async fn start(core: Arc<Core>) -> Result<Shell> {
    let mut opening = Opening { core: Some(core.clone()) };
    lease::enlist(&core).await?;
    reach!(OpenEnlisted);
    core.spawn.spawn(Box::pin(lease::keep(core.clone())));
    let (manager, wishes) = TurnManager::new(core.clone());
    let recovered = manager.recover().await?;
    reach!(OpenEnds);
    opening.core = None;
    core.spawn.spawn(Box::pin(manager.clone().keep(wishes)));
    // Also without budgets of the shell: a turn may have been submitted with its own.
    core.spawn.spawn(Box::pin(ledger_keep::keep(core.clone())));
    tracing::info!(owner = %core.owner, recovered, "the shell is open");
    Ok(Shell { core, manager, recovered })
}

fn twice(what: &str, name: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("two {what}s are called `{name}`: give each its own name"))
}

impl Shell {
    /// The session with this name, of the tenant `default`, holding the data of the user of the same name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the name is empty, longer than 256 bytes, or holds control characters.
    pub fn session(&self, name: impl AsRef<str>) -> Result<Session> {
        // The name is checked as what it is called here, before it also names the user.
        let name = SessionName::new(name)?;
        let subject = Subject::User(UserId::new(&name)?);
        self.session_of(Tenant::default(), name, subject)
    }

    /// The session with this name, of a tenant and a subject. The subject is part of the session: opening it later
    /// with another is refused.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the name is not valid.
    pub fn session_of(&self, tenant: Tenant, name: impl AsRef<str>, subject: Subject) -> Result<Session> {
        let name = SessionName::new(name)?;
        Ok(Session::new(self.core.clone(), self.manager.clone(), tenant, name, subject))
    }

    /// A turn by its id, from the moment when `submit` returned it, in any process. Nothing is looked up yet: a turn
    /// that never was is `NotFound` when it is first asked for something.
    pub fn turn(&self, id: TurnId) -> Turn {
        Turn::new(self.core.clone(), self.manager.clone(), None, id)
    }

    /// How many sessions with work were taken over when the shell was opened.
    pub fn recovered(&self) -> usize {
        self.recovered
    }

    /// Everything that waits for a person, in every session of this store, whoever holds it. A session that can't be
    /// read (its key is lost, say) is passed over with an error in the log, so that it does not hide the others. How each
    /// is answered, [`Rest`] says.
    ///
    /// # Errors
    /// What the store or the key store says.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn rests(&self) -> Result<Vec<Rest>> {
        let mut rests = Vec::new();
        let mut after = None;
        loop {
            let page = self.sessions(SessionFilter::default(), after, PAGE).await?;
            // A turn may ask for an approval while other steps of it still run.
            let busy = |entry: &&SessionEntry| {
                matches!(entry.mark.status, SessionStatus::Resting | SessionStatus::Running)
            };
            for entry in page.iter().filter(busy) {
                match self.rests_of(entry).await {
                    Ok(found) => rests.extend(found),
                    // Nothing waits in it any more.
                    Err(error) if error.kind() == ErrorKind::Purged => {}
                    Err(error) => tracing::error!(session = %entry.id, %error, "its rests can't be read"),
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.id),
                _ => return Ok(rests),
            }
        }
    }

    /// The sessions that have work, that no process holds, and that this one does not take because it lacks what they
    /// require: for each the tools and planners by name. They wait, and are not failed: start a process that has them.
    ///
    /// What other processes offer is not known here. A session that one of them can take is gone from the list with its
    /// next poll ([`Limits::poll_ms`]); what is listed twice, further apart than that, nobody alive takes.
    ///
    /// # Errors
    /// What the store says. A session that can't be read is listed with what it lacks by digest.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn unclaimable(&self) -> Result<Vec<Unclaimable>> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = self.sessions(SessionFilter::default(), after, PAGE).await?;
            for entry in &page {
                found.extend(unclaimable::judge(&self.core, entry).await?);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.id),
                _ => return Ok(found),
            }
        }
    }

    async fn rests_of(&self, entry: &SessionEntry) -> Result<Vec<Rest>> {
        let keys = self.core.keyring.session(entry.key, false).await?;
        Ok(Rest::all(&super::reader::load(&*self.core.store.journal, &keys, entry).await?.state))
    }

    /// The ledger of budgets: balances, the order of its operations, later bills ([`Ledger::reconcile`]), and the opening of
    /// an account that an overrun closed. The attempt of a record is named by [`AttemptId`](crate::data::AttemptId): the
    /// record's session, turn, step and attempt, and its epoch.
    pub fn ledger(&self) -> &dyn Ledger {
        &*self.core.store.ledger
    }

    /// The account of a tenant.
    pub fn tenant_account(&self, tenant: &Tenant) -> Account {
        Account { kind: AccountKind::Tenant, id: budget::of_tenant(tenant) }
    }

    /// The account of a user of a tenant.
    ///
    /// # Errors
    /// What the key store says.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the tenant with a key.
    pub async fn user_account(&self, tenant: &Tenant, user: &UserId) -> Result<Account> {
        self.core.account_of_user(tenant, user).await
    }

    /// The account of a session. It goes with the session ([`Shell::expire`]).
    pub fn session_account(&self, session: SessionId) -> Account {
        Account::session(session)
    }

    /// Who is behind a record's actor; none when the name is not known here.
    ///
    /// # Errors
    /// [`ErrorKind::Purged`] when the actor's name was erased; else what the store or the key store says.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn actor(&self, tenant: &Tenant, actor: Pseudonym) -> Result<Option<Actor>> {
        self.core.keyring.actor_of(tenant, actor).await
    }

    /// The sessions after `after` in the order of their ids, at most `limit`.
    ///
    /// # Errors
    /// What the store says.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn sessions(
        &self,
        filter: SessionFilter,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionEntry>> {
        Ok(self.core.store.journal.sessions(filter, after, limit).await?)
    }

    /// The records of a session that is known by its id alone, opened, from the first on. Nothing is registered, and
    /// nobody need know the session's name: its first record says it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such session, [`ErrorKind::Purged`] when its key was destroyed; else
    /// what the store or the key store says.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn history(&self, session: SessionId) -> Result<History> {
        let entry = self.core.store.journal.session(session).await?;
        let entry = entry.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no session {session}: check its id"))
        })?;
        let keys = self.core.keyring.session(entry.key, false).await?;
        Ok(History::new(self.core.clone(), session, keys))
    }

    /// Writes every session as JSON Lines, in the form that docs/FORMAT.md describes. With `opened`, bodies are
    /// written in the clear beside the sealed ones. Returns the head of each session: keep them elsewhere, and a later
    /// check finds what was cut since.
    ///
    /// # Errors
    /// What the store says, or `out`.
    ///
    /// # Cancel safety
    /// Dropping the future leaves `out` with a part.
    pub async fn export(
        &self,
        out: &mut (dyn std::io::Write + Send),
        opened: bool,
    ) -> std::result::Result<BTreeMap<SessionId, Head>, export::ExportError> {
        export::export(&self.core, out, opened).await
    }

    /// How far a group of consumers is behind on the bus.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the shell has no bus; else what the bus says.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn lag(&self, group: &GroupName) -> Result<Lag> {
        let events = self.core.events.as_ref();
        let Some((topic, bus)) = events.and_then(|events| Some((&events.topic, events.bus.as_ref()?))) else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the shell has no bus: give it one with `ShellBuilder::bus`",
            ));
        };
        Ok(bus.lag(topic, group).await?)
    }

    /// Lets running acts end, starts nothing new, lets every session go, and publishes what they still told. What has not ended after
    /// [`Limits::drain_ms`] is left to its class: another process resumes it.
    ///
    /// # Errors
    /// What the store says to the resignation; the shell has stopped all the same.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the shell draining; call it again.
    pub async fn shutdown(&self) -> Result<()> {
        reach!(DrainBegins);
        self.core.stop.advance(Stopping::Draining);
        let step = Duration::from_millis(5);
        let give_up = self.core.clock.monotonic().plus(Duration::from_millis(self.core.limits.drain_ms));
        let is_busy = || {
            let events = self.core.events.as_ref();
            self.core.registry.len() > 0 || events.is_some_and(|events| !events.are_published())
        };
        while is_busy() && self.core.clock.monotonic() < give_up {
            self.core.clock.sleep(step).await;
        }
        self.core.stop.advance(Stopping::Abrupt);
        reach!(ResignBegins);
        self.core.store.ownership.resign(self.core.owner).await?;
        reach!(ResignEnds);
        Ok(())
    }
}

impl Core {
    /// The name of the planner of turns that name none.
    pub(crate) fn default_planner(&self) -> Result<PlannerName> {
        let found = self.planners.get_key_value(DEFAULT).map(|(name, _)| name.clone());
        found.ok_or_else(|| {
            let message =
                "the shell has no default planner: submit a `Plan`, or open it with `ShellBuilder::planner` or \
                           `ShellBuilder::model`";
            Error::new(ErrorKind::InvalidInput, message)
        })
    }
}

impl fmt::Debug for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shell({})", self.core.owner)
    }
}
