//! What the host of a shell does, as long as its process lives: it asks for turns, again and again, follows them, sends
//! signals, and lets people decide. All of it goes through the public interface, and all that it is shown is checked.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_shell_core::data::Amounts;
use agent_shell_core::ports::Spawn;
use agent_shell_core::simulation::{SeededEntropy, SimClock, SimTime};
use agent_shell_core::words::{Clock, Entropy, TurnId, UserId};
use agent_shell_core::{
    Actor, Error, ErrorKind, Needs, Request, Resolution, Rest, Result, Session, Shell, ShellBuilder, Subject,
    Tenant, Turn,
};
use futures::FutureExt;
use futures::future::{Either, select};
use serde_json::{Value, json};

use super::budgets;
use super::bugs::Bug;
use super::coverage::WorldFault;
use super::rule::Rule;
use super::settings::Settings;
use super::steering::Meets;
use super::talking::Number;
use super::tools;
use super::truth::{LifeId, Truth, USER, tenant_name};
use super::undoing;
use super::work::Work;
use crate::crash::scenario::{self, Act, Fate, session_name};

/// The name of the planner of the run.
pub(super) const PLANNER: &str = "scenario";

/// How long a host waits for an answer before it turns to something else.
const PATIENCE: Duration = Duration::from_millis(700);

/// The host of one life of one process.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) life: LifeId,
    pub(super) truth: Truth,
    pub(super) time: SimTime,
    pub(super) clock: SimClock,
    pub(super) entropy: Arc<SeededEntropy>,
    pub(super) spawn: Arc<dyn Spawn>,
    /// When the host shuts its shell down, if it does.
    pub(super) shuts_down: Option<Duration>,
    /// Set when it has.
    pub(super) is_over: Arc<AtomicBool>,
}

impl Host {
    /// Opens a shell, as often as it takes, and lives with it.
    pub(super) async fn live(self, builder: impl Fn() -> ShellBuilder) {
        let shell = loop {
            match builder().open().await {
                Ok(shell) => break shell,
                Err(error) => self.allow("opening", &error),
            }
            self.sleep_ms(80).await;
        };
        self.truth.tell(|| format!("{shell:?} is open, {} recovered", shell.recovered()));
        if let Some(after) = self.shuts_down {
            let (host, shell) = (self.clone(), shell.clone());
            self.spawn.spawn(Box::pin(async move { host.shut_down(shell, after).await }));
        }
        loop {
            self.sleep_ms(if self.truth.is_calm() { 60 } else { 150 }).await;
            let done = match self.entropy.below(27) {
                0..7 => self.submit(&shell).await,
                7..13 => self.see_to_rests(&shell).await,
                13..15 => self.look(&shell).await,
                15..18 => self.send_signals(&shell).await,
                18 => self.make_noise(&shell).await,
                19..21 => self.follow(&shell),
                21 => {
                    self.watch_on(&shell);
                    Ok(())
                }
                22..24 => self.keep_books(&shell).await,
                24 => self.cancel(&shell).await,
                _ => self.forget(&shell),
            };
            if let Err(error) = done {
                self.allow("a host's request", &error);
            }
        }
    }

    async fn shut_down(self, shell: Shell, after: Duration) {
        self.time.sleep(after).await;
        if self.truth.is_calm() {
            return;
        }
        self.truth.count(WorldFault::Shutdown);
        if let Err(error) = shell.shutdown().await {
            self.allow("a shutdown", &error);
        }
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(super) fn bug(&self) -> Option<Bug> {
        self.truth.settings().bug
    }

    pub(super) fn percent(&self, percent: u64) -> bool {
        self.entropy.below(100) < percent
    }

    pub(super) async fn sleep_ms(&self, longest: u64) {
        self.time.sleep(Duration::from_micros(self.entropy.below(longest * 1000))).await;
    }

    /// What may fail while the store does, and while others act on the same turns.
    pub(super) fn allow(&self, what: &str, error: &Error) {
        let is_allowed = matches!(
            error.kind(),
            ErrorKind::Unavailable
                | ErrorKind::Indeterminate
                | ErrorKind::ShuttingDown
                | ErrorKind::Overloaded
                | ErrorKind::AtRest
                | ErrorKind::NotFound
                | ErrorKind::InvalidInput
                | ErrorKind::Fenced
        );
        let is_allowed =
            is_allowed || (error.kind() == ErrorKind::Purged && self.truth.is_anybody_forgotten());
        if !is_allowed {
            self.truth.say(Rule::Trouble, format!("{what}: {error:?}"));
        }
    }

    /// The output of `work`, if it comes in time.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T>>) -> Result<Option<T>> {
        match select(pin!(work), self.time.sleep(PATIENCE)).await {
            Either::Left((output, _)) => output.map(Some),
            Either::Right(_) => Ok(None),
        }
    }

    fn session(&self, shell: &Shell, session: u64) -> Result<Session> {
        let tenant = Tenant::new(tenant_name(Settings::tenant(session)))?;
        let subject = match self.truth.settings().subject(session) {
            Some(_) => Subject::User(UserId::new(USER)?),
            None => Subject::None,
        };
        shell.session_of(tenant, session_name(session), subject)
    }

    fn person(&self) -> Result<Actor> {
        Ok(Actor::named(format!("person-{}", self.entropy.below(3)))?)
    }

    /// Asks for a turn that is due, perhaps one that was asked for before.
    async fn submit(&self, shell: &Shell) -> Result<()> {
        let due = self.truth.due();
        let open: Vec<_> = due.iter().filter(|(_, _, accepted)| !accepted).collect();
        let all: Vec<_> = due.iter().collect();
        let among = if open.is_empty() || self.percent(15) { all } else { open };
        let Some((key, work, _)) = among.get(self.entropy.below(among.len() as u64) as usize) else {
            return Ok(());
        };
        let input = match work {
            Work::Talk(talk) => talk.input(),
            _ => json!(key),
        };
        let request = match work.fixed() {
            None if let Work::Talk(talk) = work => Request::new(Value::Null).planner(talk.planner()),
            None => Request::new(Value::Null).planner(PLANNER),
            Some(Ok(plan)) => Request::plan(plan),
            Some(Err(error)) => {
                self.truth.say(Rule::Trouble, format!("{key} has no valid plan: {error}"));
                return Ok(());
            }
        };
        let submit = self.session(shell, key.session)?.submit(request.input(input));
        let submit = match Meets::of(self.truth.settings(), *key) {
            Meets::Queues => submit,
            Meets::Steers => submit.steer(),
            Meets::Interrupts => submit.interrupt(),
        };
        let mut submit = submit.dedupe(key.to_string());
        if let Some(deadline) = work.deadline() {
            submit = submit.deadline(deadline);
        }
        if let Some(budget) = budgets::of_turn(self.truth.settings().seed, *key) {
            submit = submit.budget(budget);
        }
        if matches!(work, Work::Talk(talk) if talk.wants) {
            submit = submit.wants::<Number>();
        }
        if self.percent(50) {
            submit = submit.actor(self.person()?);
        }
        let asked = self.truth.now();
        let turn = submit.await?;
        let subject = self.truth.settings().subject(key.session);
        self.truth.check_not_forgotten(subject, asked, || format!("{key} is accepted as {}", turn.id()));
        self.truth.accepted(*key, turn.id());
        if self.percent(if matches!(work, Work::Talk(_)) { 70 } else { 25 }) {
            self.watch(turn.clone());
        }
        let said = (Meets::of(self.truth.settings(), *key) != Meets::Queues).then(|| turn.id());
        if self.percent(60) {
            self.follow_one(turn);
        }
        match said {
            Some(said) if self.percent(20) => self.take_back(shell, said).await,
            _ => Ok(()),
        }
    }

    /// Cancels what was said to a turn a moment ago, whether a plan has taken it up or not.
    async fn take_back(&self, shell: &Shell, said: TurnId) -> Result<()> {
        self.sleep_ms(400).await;
        if self.truth.is_calm() || !self.truth.may_cancel(said) {
            return Ok(());
        }
        self.truth.count(WorldFault::Cancelled);
        shell.turn(said).cancel("it was said too soon", &self.person()?).await
    }

    /// Follows some turn to its end.
    fn follow(&self, shell: &Shell) -> Result<()> {
        if let Some(turn) = self.any_turn() {
            self.follow_one(shell.turn(turn));
        }
        // Mostly one of those that have text to tell.
        let turn = self.truth.a_turn_of_a_model(self.entropy.number()).filter(|_| self.percent(70));
        if let Some(turn) = turn.or_else(|| self.any_turn())
            && self.percent(60)
        {
            self.watch(shell.turn(turn));
        }
        Ok(())
    }

    fn any_turn(&self) -> Option<TurnId> {
        let children = self.truth.children();
        if !children.is_empty() && self.percent(25) {
            return children.get(self.entropy.below(children.len() as u64) as usize).copied();
        }
        let turns = self.truth.accepted_turns();
        turns.get(self.entropy.below(turns.len() as u64) as usize).map(|(_, turn)| *turn)
    }

    fn follow_one(&self, turn: Turn) {
        let (host, asked) = (self.clone(), self.truth.now());
        self.spawn.spawn(Box::pin(async move {
            match turn.outcome().await {
                Ok(outcome) => host.truth.shown_outcome(turn.id(), asked, &outcome),
                Err(error) => host.allow("following a turn", &error),
            }
        }));
    }

    /// Looks whether some turn has ended.
    async fn look(&self, shell: &Shell) -> Result<()> {
        let Some(turn) = self.any_turn() else { return Ok(()) };
        let asked = self.truth.now();
        if let Some(Some(outcome)) = self.in_time(shell.turn(turn).ended()).await? {
            self.truth.shown_outcome(turn, asked, &outcome);
        }
        Ok(())
    }

    async fn send_signals(&self, shell: &Shell) -> Result<()> {
        for (key, name, payload) in self.truth.unsent_signals() {
            if !self.truth.is_calm() && self.percent(50) {
                continue;
            }
            let session = self.session(shell, key.session)?;
            match session.signal(&name, payload, Some(&name), &self.person()?).await {
                Err(error) if error.kind() != ErrorKind::Purged => return Err(error),
                // Nobody waits for it any more.
                Err(error) => self.allow("a signal", &error),
                Ok(()) => {}
            }
            // Sent again now and then: with its dedupe key it is the same.
            if self.percent(85) {
                self.truth.sent(key, name);
            }
        }
        Ok(())
    }

    /// Asks to forget a subject that is due, perhaps one that is forgotten already. It goes on beside all else.
    fn forget(&self, shell: &Shell) -> Result<()> {
        let to_forget = self.truth.to_forget();
        let Some(&(subject, is_done)) = to_forget.get(self.entropy.below(to_forget.len() as u64) as usize)
        else {
            return Ok(());
        };
        if is_done && self.percent(85) {
            return Ok(());
        }
        let (tenant, user) = (Tenant::new(tenant_name(subject))?, UserId::new(USER)?);
        let by = if self.percent(25) { Actor::Named(user.clone()) } else { self.person()? };
        let (host, shell) = (self.clone(), shell.clone());
        self.spawn.spawn(Box::pin(async move {
            let purging = host.truth.forgetting(subject);
            match shell.purge(&tenant, &user, &by).await {
                Ok(receipt) => {
                    host.truth.forgot(subject, purging.asked, &receipt);
                    purging.was_answered();
                }
                Err(error) => host.allow("a purge", &error),
            }
        }));
        Ok(())
    }

    /// Takes a bill, or opens an account that an overrun has closed, as those do who see to the money.
    async fn keep_books(&self, shell: &Shell) -> Result<()> {
        if !self.truth.settings().overruns {
            return Ok(());
        }
        let closed = self.truth.closed_accounts();
        if let Some(&(account, overrun)) = closed.get(self.entropy.below(closed.len() as u64) as usize)
            && self.percent(60)
        {
            let more = Amounts { tokens: u64::from(self.percent(25)), ..Amounts::ZERO };
            // What comes of it, the truth judges.
            drop(self.in_time(shell.ledger().reopen(account, overrun.plus(more)).map(Ok)).await?);
            return Ok(());
        }
        let Some((attempt, most, bills)) = self.truth.any_attempt(self.entropy.number()) else {
            return Ok(());
        };
        let of = |most: u64| {
            let above = if self.percent(12) { most / 2 } else { 0 };
            self.entropy.below(most + above + 1)
        };
        let (nano_usd, tokens, time_ms) = (of(most.nano_usd), of(most.tokens), of(most.time_ms));
        let again = bills.first().filter(|_| self.percent(30)).copied();
        let billed = again.unwrap_or(Amounts { nano_usd, tokens, time_ms, ..most });
        drop(self.in_time(shell.ledger().reconcile(attempt, billed).map(Ok)).await?);
        Ok(())
    }

    /// Cancels some turn of which anything may come, wherever it is.
    async fn cancel(&self, shell: &Shell) -> Result<()> {
        let Some(turn) = self.any_turn().filter(|turn| self.truth.may_cancel(*turn)) else { return Ok(()) };
        if self.truth.is_calm() || self.percent(50) {
            return Ok(());
        }
        self.truth.count(WorldFault::Cancelled);
        shell.turn(turn).cancel("on second thoughts", &self.person()?).await
    }

    /// A signal that nobody waits for, or a hand-off.
    async fn make_noise(&self, shell: &Shell) -> Result<()> {
        if self.truth.is_calm() {
            return Ok(());
        }
        let session = self.session(shell, self.entropy.below(self.truth.settings().sessions))?;
        if self.percent(50) {
            // Every turn names its planner, so it is another's session now, and nothing else.
            return session.hand_off(PLANNER, "as it goes", &self.person()?).await;
        }
        session.signal(format!("noise-{}", self.entropy.number()), json!(null), None, &Actor::Host).await
    }

    async fn see_to_rests(&self, shell: &Shell) -> Result<()> {
        let asked = self.truth.now();
        let Some(rests) = self.in_time(shell.rests()).await? else { return Ok(()) };
        for rest in rests {
            self.truth.shown_rest(asked, &rest);
            if !self.truth.is_calm() && self.percent(35) {
                continue;
            }
            self.see_to(shell, &rest).await?;
        }
        Ok(())
    }

    async fn see_to(&self, shell: &Shell, rest: &Rest) -> Result<()> {
        let turn = shell.turn(rest.turn);
        let Some((_, work)) = self.truth.work_of(rest.turn) else { return Ok(()) };
        if work.is_abandoned() && self.percent(30) {
            return turn.abandon("nobody wants it", &self.person()?).await;
        }
        match &rest.needs {
            Needs::Approval { .. } => self.decide(&turn, &work).await,
            Needs::Resolution { tool, input, not_applied_from, .. } => {
                if self.clock.now() < *not_applied_from && !self.percent(5) {
                    return Ok(());
                }
                let Some(applied) = self.truth.found_out(rest.turn, &rest.step) else { return Ok(()) };
                let tool = tool.as_ref().map_or("", |tool| tool.as_str());
                let gives_up = match &work {
                    Work::Drawn(scenario) => scenario.gives_up,
                    Work::Wild(_) | Work::Talk(_) => self.percent(40),
                };
                let undone = undoing::undone_work(input);
                let work_of = || match undone {
                    Some(work) => Ok(work),
                    None => serde_json::from_value::<scenario::Work>((**input).clone()),
                };
                let resolution = match work_of() {
                    Ok(work) if applied => Resolution::Applied(tools::output(tool, &work)),
                    Ok(_) if gives_up => Resolution::GiveUp,
                    Ok(_) => Resolution::Retry,
                    Err(error) => {
                        self.truth.say(Rule::Input, format!("{rest:?}: {error}"));
                        return Ok(());
                    }
                };
                turn.resolve_rest(rest, resolution, &self.person()?).await
            }
            // It was not undone: it is tried again, was undone by hand, or stays.
            Needs::Undo { .. } => {
                let resolution = match self.entropy.below(3) {
                    0 => Resolution::Retry,
                    1 => Resolution::Applied(Value::Null),
                    _ => Resolution::GiveUp,
                };
                turn.resolve_rest(rest, resolution, &self.person()?).await
            }
            _ => Ok(()),
        }
    }

    /// Decides on the first approval that a turn asks for.
    async fn decide(&self, turn: &Turn, work: &Work) -> Result<()> {
        let Some(Some(approval)) = self.in_time(turn.approval()).await? else { return Ok(()) };
        let denies = match work {
            Work::Drawn(scenario) => {
                let Some(place) = scenario.place(approval.step.as_str()) else { return Ok(()) };
                let spec = &scenario.steps[place];
                let expected = match scenario.work_of(place) {
                    Some(work) => json!(work),
                    None if spec.act == Act::Approval => json!({ "own": spec.own }),
                    None => Value::Null,
                };
                // What a guard rewrote is not known here: the approval binds to it, as rule Guard sees to.
                if *approval.shown != expected && !self.truth.is_guarded(turn.id()) {
                    let shown = &approval.shown;
                    self.truth
                        .say(Rule::Shown, format!("{}: {shown} is shown, not {expected}", scenario.key));
                }
                spec.fate == Fate::Denied
            }
            Work::Wild(_) | Work::Talk(_) => self.percent(20),
        };
        for _ in 0..if self.percent(15) { 2 } else { 1 } {
            let person = self.person()?;
            match denies {
                true => approval.deny("denied on purpose", &person).await?,
                false => {
                    self.truth.approves(turn.id(), &approval.step);
                    approval.approve(&person).await?;
                }
            }
        }
        Ok(())
    }
}
