//! Budgets of running turns: what an attempt may spend is set aside before it begins, and what it spent is settled with
//! its outcome.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::core::Core;
use super::guarded::guarded;
use super::keyring::SessionKeys;
use super::session::NameAndSubject;
use crate::data::{Account, AccountKind, Amounts, AttemptId, Ceiling, Dimension, Share, Usage};
use crate::machine::AttemptEnd;
use crate::ports::{Fence, Ledger, ModelBound, Reserve, ReserveError, SessionEntry, Settlement};
use crate::words::{Digest, Result, SessionId, SessionName, Subject, Tenant, TurnId, UserId};

/// The ceilings under which the attempts of a turn are made: each attempt must fit under all of them. Default bounds
/// nothing.
///
/// An account counts what was set aside and spent **under a ceiling on it**, since the store was made. While the host sets
/// none ([`Ceiling::NONE`]) nothing is booked there, and a ceiling that is set later does not know of it. Whoever wants to
/// count without a bound sets one that is never reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ceilings {
    /// What all turns of the tenant may spend together, over all time.
    pub tenant: Ceiling,
    /// What all turns of the user may spend together, over all time. It bounds nothing in a session of nobody.
    pub user: Ceiling,
    /// What all turns of the session may spend together, for as long as the store lists it.
    pub session: Ceiling,
    /// What the turn may spend. A turn that was submitted with a budget of its own has the lower of both.
    pub turn: Ceiling,
}

/// Whose ceilings are asked for.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Whose<'a> {
    /// The tenant.
    pub tenant: &'a Tenant,
    /// Whose data the session holds.
    pub subject: &'a Subject,
    /// The session.
    pub session: SessionId,
    /// What the host calls the session, within the tenant.
    pub name: &'a SessionName,
}

/// What says the ceilings.
pub(crate) type Budgets = Arc<dyn Fn(&Whose<'_>) -> Ceilings + Send + Sync>;

/// Whose a session is, and the account of its user, when the shell is given budgets.
#[derive(Default)]
pub(crate) struct SessionBudget(Option<(NameAndSubject, Option<Account>)>);

impl SessionBudget {
    /// Learns whose a session is.
    ///
    /// # Errors
    /// What the key store says.
    pub(crate) async fn of(core: &Core, entry: &SessionEntry, keys: &SessionKeys) -> Result<Self> {
        if core.budgets.is_none() {
            return Ok(Self::default());
        }
        let whose = NameAndSubject::open(keys, entry)?;
        let of_user = match &whose.subject {
            Subject::User(user) => Some(core.account_of_user(&entry.tenant, user).await?),
            _ => None,
        };
        Ok(Self(Some((whose, of_user))))
    }

    /// What a turn's attempts are charged to, in the account of this session; none when nothing bounds them. The host is asked for the ceilings anew.
    pub(crate) fn purse(
        &self,
        core: &Core,
        (entry, fence, of_session): (&SessionEntry, Fence, SessionId),
        turn: TurnId,
        budget: Option<Ceiling>,
        under: &[Share],
    ) -> Option<Arc<Purse>> {
        let ledger = core.store.ledger.clone();
        let mut accounts: Vec<_> = under.iter().map(|share| (share.account, share.ceiling)).collect();
        let mut of_turn = budget.unwrap_or_default();
        match self.ceilings(core, &entry.tenant, entry.id) {
            Ok(None) => {}
            Ok(Some(ceilings)) => {
                let of_tenant = Account { kind: AccountKind::Tenant, id: of_tenant(&entry.tenant) };
                accounts.push((of_tenant, ceilings.tenant));
                accounts.push((Account::session(of_session), ceilings.session));
                let of_user = self.0.as_ref().and_then(|(_, of_user)| *of_user);
                accounts.extend(of_user.map(|account| (account, ceilings.user)));
                of_turn = of_turn.lower(ceilings.turn);
            }
            Err(reason) => {
                tracing::error!(session = %entry.id, reason, "the turn spends nothing");
                return Some(Arc::new(Purse { ledger, fence, accounts, reason: Some(reason) }));
            }
        }
        accounts.push((Account::turn(turn), of_turn));
        accounts.retain(|(_, ceiling)| *ceiling != Ceiling::NONE);
        (!accounts.is_empty()).then(|| Arc::new(Purse { ledger, fence, accounts, reason: None }))
    }

    /// What the host says of the ceilings, if it was asked for any.
    fn ceilings(
        &self,
        core: &Core,
        tenant: &Tenant,
        session: SessionId,
    ) -> std::result::Result<Option<Ceilings>, String> {
        let (Some(budgets), Some((NameAndSubject { name, subject, .. }, _))) = (&core.budgets, &self.0)
        else {
            return Ok(None);
        };
        let ceilings = guarded(|| budgets(&Whose { tenant, subject, session, name }));
        ceilings.map(Some).map_err(|panic| format!("what says the ceilings panicked: {panic}"))
    }

    /// The accounts under which a child's attempts are made besides its own: of the session and the turn that has it, as
    /// far as they have a ceiling, and those that are above these.
    ///
    /// # Errors
    /// Why the ceilings are not known.
    pub(crate) fn under(
        &self,
        core: &Core,
        (entry, turn): (&SessionEntry, TurnId),
        budget: Option<Ceiling>,
        above: &[Share],
    ) -> std::result::Result<Vec<Share>, String> {
        let ceilings = self.ceilings(core, &entry.tenant, entry.id)?.unwrap_or_default();
        let of_turn = budget.unwrap_or_default().lower(ceilings.turn);
        let own = [(Account::session(entry.id), ceilings.session), (Account::turn(turn), of_turn)];
        let own = own.into_iter().filter(|(_, ceiling)| *ceiling != Ceiling::NONE);
        let own = own.map(|(account, ceiling)| Share { account, ceiling });
        Ok(own.chain(above.iter().copied()).collect())
    }
}

impl Core {
    /// A user's account: its id is a keyed digest, for it outlives a purge.
    pub(crate) async fn account_of_user(&self, tenant: &Tenant, user: &UserId) -> Result<Account> {
        let key = self.keyring.tenant(tenant).await?;
        Ok(Account { kind: AccountKind::User, id: key.digest("budget-account", &[user.as_str().as_bytes()]) })
    }
}

/// The id of a tenant's account.
pub(crate) fn of_tenant(tenant: &Tenant) -> Digest {
    Digest::of([b"agent-shell/tenant-account/1\0", tenant.as_str().as_bytes()].concat())
}

/// What the attempts of a turn are charged to.
pub(crate) struct Purse {
    ledger: Arc<dyn Ledger>,
    fence: Fence,
    accounts: Vec<(Account, Ceiling)>,
    /// Why nothing may be spent, when the ceilings are not known.
    reason: Option<String>,
}

/// What an attempt has spent, or would have spent.
pub(crate) struct Spent {
    pub(crate) settlement: Settlement,
    /// What was set aside for it.
    reserved: Amounts,
    purse: Arc<Purse>,
}

impl Spent {
    /// Says in the log that more was spent than was set aside, once that is durable.
    pub(crate) fn alarm(&self) {
        let Settlement { attempt: AttemptId { session, turn, step, attempt, .. }, amounts: used } =
            &self.settlement;
        if !used.less(self.reserved).is_zero() {
            let accounts: Vec<_> = self.purse.accounts.iter().map(|(account, _)| account).collect();
            tracing::error!(
                %session, %turn, %step, attempt, ?accounts, asked = ?self.reserved, ?used,
                "more was spent than was set aside: the accounts are closed until they are reopened"
            );
        }
    }
}

impl Purse {
    /// Sets aside what an attempt may spend.
    ///
    /// # Errors
    /// How the attempt ends, which so does not begin; and what is settled with that, if it may have been set aside all the
    /// same.
    pub(crate) async fn reserve(
        self: &Arc<Self>,
        attempt: AttemptId,
        amounts: Amounts,
    ) -> std::result::Result<(), Ended> {
        if let Some(reason) = self.reason.clone() {
            return Err((AttemptEnd::Refused { reason }, None));
        }
        let (fence, accounts) = (self.fence, self.accounts.clone());
        let asked = Reserve { attempt: attempt.clone(), fence, amounts, accounts };
        let Err(error) = self.ledger.reserve(asked).await else { return Ok(()) };
        let reason = error.to_string();
        Err(match error {
            ReserveError::Exceeded { .. } | ReserveError::Closed { .. } => {
                (AttemptEnd::Refused { reason }, None)
            }
            ReserveError::Fenced { .. } => (AttemptEnd::Unleased, None),
            // It is tried again, under another number. What is set aside under this one after all is given back.
            _ => {
                let end =
                    AttemptEnd::NotBegun { reason: format!("its budget could not be set aside: {reason}") };
                (end, Some(self.spent(attempt, amounts, Amounts::ZERO)))
            }
        })
    }

    /// What is settled with the end of an attempt.
    pub(crate) fn spent(
        self: &Arc<Self>,
        attempt: AttemptId,
        reserved: Amounts,
        amounts: Amounts,
    ) -> Box<Spent> {
        Box::new(Spent { settlement: Settlement { attempt, amounts }, reserved, purse: self.clone() })
    }

    /// What a question may spend at most.
    ///
    /// # Errors
    /// How the attempt ends: what can't be bounded is refused where it counts.
    pub(crate) fn most_of_question(
        &self,
        bound: Option<ModelBound>,
        time: Duration,
    ) -> std::result::Result<Amounts, AttemptEnd> {
        let refused = |reason: &str| Err(AttemptEnd::Refused { reason: reason.into() });
        let counts = |dimension| self.accounts.iter().any(|(_, ceiling)| ceiling.of(dimension).is_some());
        let nano_usd = bound.and_then(|bound| bound.cost_nano_usd);
        if bound.is_none() && counts(Dimension::Tokens) {
            return refused(
                "the model does not say how many tokens the question may use, and a budget counts them",
            );
        }
        if nano_usd.is_none() && counts(Dimension::NanoUsd) {
            return refused("the price of the model is not known, and a budget counts money");
        }
        // What no ceiling counts is not refused for its size either.
        let of = |dimension, most: u64| if counts(dimension) { most } else { most.min(MOST_OF_A_QUESTION) };
        Ok(Amounts {
            nano_usd: of(Dimension::NanoUsd, nano_usd.unwrap_or(0)),
            tokens: of(Dimension::Tokens, bound.map_or(0, |bound| bound.tokens)),
            tool_calls: 0,
            steps: 1,
            time_ms: millis(time),
        })
    }

    /// What is left for the turn: in each dimension the least of all accounts.
    ///
    /// # Errors
    /// When the ledger does not say, or what says the ceilings panicked.
    pub(crate) async fn left(&self) -> std::result::Result<Ceiling, NotSaid> {
        if self.reason.is_some() {
            return Err(NotSaid);
        }
        let mut left = Ceiling::NONE;
        for (account, ceiling) in &self.accounts {
            let balance = self.ledger.balance(*account).await.map_err(|_| NotSaid)?.unwrap_or_default();
            let spent = balance.settled.plus(balance.reserved);
            let of = |dimension| {
                let ceiling = if balance.closed { Some(0) } else { ceiling.of(dimension) };
                ceiling.map(|ceiling: u64| ceiling.saturating_sub(spent.of(dimension)))
            };
            left = left.lower(Ceiling {
                nano_usd: of(Dimension::NanoUsd),
                tokens: of(Dimension::Tokens),
                tool_calls: of(Dimension::ToolCalls),
                steps: of(Dimension::Steps),
                time_ms: of(Dimension::TimeMs),
            });
        }
        Ok(left)
    }
}

/// It is not known what is left.
pub(crate) struct NotSaid;

/// The end of an attempt, and what is settled with it.
pub(crate) type Ended = (AttemptEnd, Option<Box<Spent>>);

/// The most that one question is taken to have used, in tokens and in thousand-millionths of a US dollar (about 281,000
/// dollars): what a model says beyond that is no number of this world, and a few of them would fill an account.
const MOST_OF_A_QUESTION: u64 = 1 << 48;

/// What a call of a tool may spend at most.
pub(crate) fn most_of_call(cost_nano_usd: u64, time: Duration) -> Amounts {
    Amounts { nano_usd: cost_nano_usd, tokens: 0, tool_calls: 1, steps: 1, time_ms: millis(time) }
}

/// What a call of a tool has spent.
pub(crate) fn spent_by_call(end: &AttemptEnd, most: Amounts, took: Duration) -> Amounts {
    let time_ms = millis(took).min(most.time_ms);
    match end {
        AttemptEnd::InvalidArguments { .. }
        | AttemptEnd::NotBegun { .. }
        | AttemptEnd::Refused { .. }
        | AttemptEnd::Unleased => Amounts::ZERO,
        AttemptEnd::NotApplied { .. } => Amounts { nano_usd: 0, time_ms, ..most },
        _ => Amounts { time_ms, ..most },
    }
}

/// What a question has used, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Used {
    /// Nothing: it was refused before it was answered.
    Nothing,
    /// This; what the vendor did not say counts at its bound.
    Known(Usage),
}

/// What a question has spent; of what is no number of this world, not more than its bound allows, or
/// [`MOST_OF_A_QUESTION`]. What had no bound, because nothing counts it, is not charged: else it would be an overrun of
/// nothing, which closes the accounts.
pub(crate) fn spent_by_question(
    used: Used,
    bound: Option<ModelBound>,
    most: Amounts,
    took: Duration,
) -> Amounts {
    let time_ms = millis(took).min(most.time_ms);
    let (tokens, nano_usd) = match used {
        Used::Nothing => (0, 0),
        Used::Known(usage) => {
            let tokens = usage
                .input_tokens
                .zip(usage.output_tokens)
                .map(|(input, output)| input.saturating_add(output));
            let within = |used: Option<u64>, most: u64| {
                used.map_or(most, |used| used.min(most.max(MOST_OF_A_QUESTION)))
            };
            (within(tokens, most.tokens), within(usage.cost_nano_usd, most.nano_usd))
        }
    };
    let has_price = bound.is_some_and(|bound| bound.cost_nano_usd.is_some());
    Amounts {
        nano_usd: if has_price { nano_usd } else { 0 },
        tokens: if bound.is_some() { tokens } else { 0 },
        tool_calls: 0,
        steps: 1,
        time_ms,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_had_no_bound_is_no_overrun() {
        let (most, took) = (Amounts { steps: 1, time_ms: 9, ..Amounts::ZERO }, Duration::from_millis(4));
        let mut usage = Usage::default();
        (usage.input_tokens, usage.output_tokens, usage.cost_nano_usd) = (Some(5), Some(6), Some(7));
        let used = Used::Known(usage);
        let spent = spent_by_question(used, None, most, took);
        assert_eq!(spent, Amounts { steps: 1, time_ms: 4, ..Amounts::ZERO });
        let bound = ModelBound { tokens: 20, cost_nano_usd: None };
        let spent = spent_by_question(used, Some(bound), Amounts { tokens: 20, ..most }, took);
        assert_eq!((spent.tokens, spent.nano_usd), (11, 0));
    }

    #[test]
    fn what_is_not_known_counts_at_its_bound_and_no_number_is_too_large() {
        let (most, took) = (Amounts { tokens: 20, nano_usd: 30, ..Amounts::ZERO }, Duration::from_millis(4));
        let bound = Some(ModelBound { tokens: 20, cost_nano_usd: Some(30) });
        let spent = |used| {
            let spent = spent_by_question(used, bound, most, took);
            (spent.tokens, spent.nano_usd)
        };
        assert_eq!(spent(Used::Nothing), (0, 0));
        assert_eq!(spent(Used::Known(Usage::default())), (20, 30));
        let mut usage = Usage::default();
        (usage.input_tokens, usage.output_tokens) = (Some(u64::MAX), Some(2));
        usage.cost_nano_usd = Some(u64::MAX);
        assert_eq!(spent(Used::Known(usage)), (MOST_OF_A_QUESTION, MOST_OF_A_QUESTION));
    }
}
