//! Budgets of running turns: what an attempt may spend is set aside before it begins, and what it spent is settled with
//! its outcome.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::core::Core;
use super::keyring::SessionKeys;
use super::session::NameAndSubject;
use crate::data::{Account, AccountKind, Amounts, AttemptId, Ceiling, Dimension, Usage};
use crate::machine::AttemptEnd;
use crate::ports::{Fence, Ledger, ModelBound, Reserve, ReserveError, SessionEntry};
use crate::words::{Digest, Result, SessionId, Subject, Tenant, TurnId, UserId};

/// The ceilings under which the attempts of a turn are made: each attempt must fit under all of them. Default bounds
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ceilings {
    /// What all turns of the tenant may spend together, ever.
    pub tenant: Ceiling,
    /// What all turns of the user may spend together, ever. It bounds nothing in a session of nobody.
    pub user: Ceiling,
    /// What all turns of the session may spend together, ever.
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
}

/// What says the ceilings.
pub(crate) type Budgets = Arc<dyn Fn(&Whose<'_>) -> Ceilings + Send + Sync>;

/// The accounts and ceilings of a session.
#[derive(Default)]
pub(crate) struct SessionBudget {
    accounts: Vec<(Account, Ceiling)>,
    of_turn: Ceiling,
}

impl SessionBudget {
    /// Asks the host for the ceilings of a session.
    ///
    /// # Errors
    /// What the key store says.
    pub(crate) async fn of(core: &Core, entry: &SessionEntry, keys: &SessionKeys) -> Result<Self> {
        let Some(budgets) = &core.budgets else { return Ok(Self::default()) };
        let subject = NameAndSubject::open(keys, entry)?.subject;
        let ceilings = budgets(&Whose { tenant: &entry.tenant, subject: &subject, session: entry.id });
        let mut accounts = vec![
            (Account { kind: AccountKind::Tenant, id: of_tenant(&entry.tenant) }, ceilings.tenant),
            (Account { kind: AccountKind::Session, id: of_session(entry.id) }, ceilings.session),
        ];
        if let Subject::User(user) = &subject {
            accounts.push((core.account_of_user(&entry.tenant, user).await?, ceilings.user));
        }
        accounts.retain(|(_, ceiling)| *ceiling != Ceiling::NONE);
        Ok(Self { accounts, of_turn: ceilings.turn })
    }

    /// What a turn's attempts are charged to; none when nothing bounds them.
    pub(crate) fn purse(
        &self,
        core: &Core,
        fence: Fence,
        turn: TurnId,
        budget: Option<Ceiling>,
    ) -> Option<Arc<Purse>> {
        let of_turn = self.of_turn.lower(budget.unwrap_or_default());
        let mut accounts = self.accounts.clone();
        if of_turn != Ceiling::NONE {
            accounts.push((Account::turn(turn), of_turn));
        }
        let ledger = core.store.ledger.clone();
        (!accounts.is_empty()).then(|| Arc::new(Purse { ledger, fence, accounts }))
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

/// The id of a session's account.
pub(crate) fn of_session(session: SessionId) -> Digest {
    Digest::of([b"agent-shell/session-account/1\0", &session.to_bytes()[..]].concat())
}

/// What the attempts of a turn are charged to.
pub(crate) struct Purse {
    ledger: Arc<dyn Ledger>,
    fence: Fence,
    accounts: Vec<(Account, Ceiling)>,
}

impl Purse {
    /// Sets aside what an attempt may spend.
    ///
    /// # Errors
    /// How the attempt ends, which so does not begin.
    pub(crate) async fn reserve(
        &self,
        attempt: AttemptId,
        amounts: Amounts,
    ) -> std::result::Result<(), AttemptEnd> {
        let (fence, accounts) = (self.fence, self.accounts.clone());
        let reserved = self.ledger.reserve(Reserve { attempt, fence, amounts, accounts }).await;
        reserved.map(drop).map_err(|error| {
            let reason = error.to_string();
            match error {
                ReserveError::Exceeded { .. } | ReserveError::Closed { .. } => AttemptEnd::Refused { reason },
                ReserveError::Fenced { .. } => AttemptEnd::Unleased,
                // It is tried again, under another number: what was set aside under this one is settled with the turn.
                _ => AttemptEnd::NotBegun { reason: format!("its budget could not be set aside: {reason}") },
            }
        })
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
        let tokens = bound.map_or(0, |bound| bound.tokens);
        Ok(Amounts {
            nano_usd: nano_usd.unwrap_or(0),
            tokens,
            tool_calls: 0,
            steps: 1,
            time_ms: millis(time),
        })
    }

    /// What is left for the turn: in each dimension the least of all accounts.
    pub(crate) async fn left(&self) -> Option<Ceiling> {
        let mut left = Ceiling::NONE;
        for (account, ceiling) in &self.accounts {
            let balance = self.ledger.balance(*account).await.ok()?.unwrap_or_default();
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
        Some(left)
    }
}

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

/// What a question has spent. What had no bound, because nothing counts it, is not charged: else it would be an overrun of
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
            (tokens.unwrap_or(most.tokens), usage.cost_nano_usd.unwrap_or(most.nano_usd))
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
}
