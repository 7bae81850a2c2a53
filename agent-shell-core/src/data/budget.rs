//! Budgets: amounts, ceilings, and the only place where they are added and compared.
//!
//! A reservation whose sum would pass the largest number does not fit, a bill is refused, and more is not settled: so what
//! an account holds is always the exact sum of what its attempts have. Only how much was ever overrun saturates.

use serde::{Deserialize, Serialize};

use crate::words::{Digest, Epoch, SessionId, StepId, TurnId};

/// How much of everything that a budget bounds. Default is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Amounts {
    /// Money, in thousand-millionths of a US dollar.
    pub nano_usd: u64,
    /// Tokens of models, in and out.
    pub tokens: u64,
    /// Calls of tools.
    pub tool_calls: u64,
    /// Attempts at steps: a step that is tried three times counts as three.
    pub steps: u64,
    /// Time, in milliseconds.
    pub time_ms: u64,
}

/// What [`Amounts`] are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Dimension {
    /// [`Amounts::nano_usd`].
    NanoUsd,
    /// [`Amounts::tokens`].
    Tokens,
    /// [`Amounts::tool_calls`].
    ToolCalls,
    /// [`Amounts::steps`].
    Steps,
    /// [`Amounts::time_ms`].
    TimeMs,
}

impl Dimension {
    /// Every one, in the order in which ceilings are judged.
    pub const ALL: [Self; 5] = [Self::NanoUsd, Self::Tokens, Self::ToolCalls, Self::Steps, Self::TimeMs];

    /// Its name: that of the member of [`Amounts`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::NanoUsd => "nano_usd",
            Self::Tokens => "tokens",
            Self::ToolCalls => "tool_calls",
            Self::Steps => "steps",
            Self::TimeMs => "time_ms",
        }
    }
}

impl std::fmt::Display for Dimension {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Amounts {
    /// Nothing.
    pub const ZERO: Self = Self { nano_usd: 0, tokens: 0, tool_calls: 0, steps: 0, time_ms: 0 };

    /// As much as there can be.
    pub const MOST: Self = Self {
        nano_usd: u64::MAX,
        tokens: u64::MAX,
        tool_calls: u64::MAX,
        steps: u64::MAX,
        time_ms: u64::MAX,
    };

    /// How much there is in one dimension.
    pub const fn of(&self, dimension: Dimension) -> u64 {
        match dimension {
            Dimension::NanoUsd => self.nano_usd,
            Dimension::Tokens => self.tokens,
            Dimension::ToolCalls => self.tool_calls,
            Dimension::Steps => self.steps,
            Dimension::TimeMs => self.time_ms,
        }
    }

    /// Whether there is nothing in any dimension.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// Both together, in each dimension.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        self.each(other, Rule::Plus)
    }

    /// What is left without the other, in each dimension; nothing where the other is larger.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        self.each(other, Rule::Less)
    }

    /// The larger, in each dimension.
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        self.less(other).plus(other)
    }

    /// The smaller, in each dimension.
    #[must_use]
    pub const fn min(self, other: Self) -> Self {
        self.less(self.less(other))
    }

    const fn each(self, other: Self, rule: Rule) -> Self {
        Self {
            nano_usd: rule.apply(self.nano_usd, other.nano_usd),
            tokens: rule.apply(self.tokens, other.tokens),
            tool_calls: rule.apply(self.tool_calls, other.tool_calls),
            steps: rule.apply(self.steps, other.steps),
            time_ms: rule.apply(self.time_ms, other.time_ms),
        }
    }
}

#[derive(Clone, Copy)]
enum Rule {
    Plus,
    Less,
}

impl Rule {
    const fn apply(self, one: u64, other: u64) -> u64 {
        match self {
            Self::Plus => one.saturating_add(other),
            Self::Less => one.saturating_sub(other),
        }
    }
}

/// What an account may hold at most, reserved and settled together. Default bounds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ceiling {
    /// Money, in thousand-millionths of a US dollar; none is not bounded.
    pub nano_usd: Option<u64>,
    /// Tokens of models; none is not bounded.
    pub tokens: Option<u64>,
    /// Calls of tools; none is not bounded.
    pub tool_calls: Option<u64>,
    /// Attempts at steps; none is not bounded.
    pub steps: Option<u64>,
    /// Time, in milliseconds; none is not bounded.
    pub time_ms: Option<u64>,
}

impl Ceiling {
    /// A ceiling that bounds nothing.
    pub const NONE: Self =
        Self { nano_usd: None, tokens: None, tool_calls: None, steps: None, time_ms: None };

    /// The bound in one dimension; none is not bounded.
    pub const fn of(&self, dimension: Dimension) -> Option<u64> {
        match dimension {
            Dimension::NanoUsd => self.nano_usd,
            Dimension::Tokens => self.tokens,
            Dimension::ToolCalls => self.tool_calls,
            Dimension::Steps => self.steps,
            Dimension::TimeMs => self.time_ms,
        }
    }

    /// The lower bound of both, in each dimension.
    #[must_use]
    pub fn lower(self, other: Self) -> Self {
        let lower = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            nano_usd: lower(self.nano_usd, other.nano_usd),
            tokens: lower(self.tokens, other.tokens),
            tool_calls: lower(self.tool_calls, other.tool_calls),
            steps: lower(self.steps, other.steps),
            time_ms: lower(self.time_ms, other.time_ms),
        }
    }
}

/// Names one attempt of a step for the ledger. A repeat under another epoch is another attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The session.
    pub session: SessionId,
    /// The turn.
    pub turn: TurnId,
    /// The step.
    pub step: StepId,
    /// The epoch of the owner that makes the attempt.
    pub epoch: Epoch,
    /// Which attempt of the step, as the records count.
    pub attempt: u32,
}

impl AttemptId {
    /// What a ledger stores of it: the SHA-256 of its parts, each of fixed length or with its length before it. So no
    /// ledger holds the name of a step. Who knows the session's id and the turn's, and guesses the name, can tell
    /// that the guess is right.
    pub fn digest(&self) -> Digest {
        let step = self.step.as_str().as_bytes();
        let mut bytes = Vec::with_capacity(96 + step.len());
        bytes.extend_from_slice(b"agent-shell/attempt/1\0");
        bytes.extend_from_slice(&self.session.to_bytes());
        bytes.extend_from_slice(&self.turn.to_bytes());
        bytes.extend_from_slice(&(step.len() as u64).to_be_bytes());
        bytes.extend_from_slice(step);
        bytes.extend_from_slice(&self.epoch.number().to_be_bytes());
        bytes.extend_from_slice(&self.attempt.to_be_bytes());
        Digest::of(bytes)
    }
}

/// Whose account it is. Accounts are judged in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AccountKind {
    /// A tenant's.
    Tenant,
    /// A user's.
    User,
    /// A session's. It lives as long as the store lists the session.
    Session,
    /// A turn's. It lives as long as the turn does.
    Turn,
}

impl AccountKind {
    /// The kind as stored.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tenant => 0,
            Self::User => 1,
            Self::Session => 2,
            Self::Turn => 3,
        }
    }

    /// The kind that is stored as `number`.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Tenant),
            1 => Some(Self::User),
            2 => Some(Self::Session),
            3 => Some(Self::Turn),
            _ => None,
        }
    }
}

/// What a ceiling is on.
///
/// The id says nothing of whose it is: whoever makes one for a user takes a keyed digest, for it outlives a purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Account {
    /// Whose.
    pub kind: AccountKind,
    /// Which, within the kind.
    pub id: Digest,
}

impl Account {
    /// A turn's own account: it follows from the turn's id, so that a backend finds it when the turn ends.
    pub fn turn(turn: TurnId) -> Self {
        let mut bytes = b"agent-shell/turn-account/1\0".to_vec();
        bytes.extend_from_slice(&turn.to_bytes());
        Self { kind: AccountKind::Turn, id: Digest::of(bytes) }
    }

    /// A session's own account: it follows from the session's id, so that a backend finds it when the session is removed.
    pub fn session(session: SessionId) -> Self {
        let mut bytes = b"agent-shell/session-account/1\0".to_vec();
        bytes.extend_from_slice(&session.to_bytes());
        Self { kind: AccountKind::Session, id: Digest::of(bytes) }
    }
}

/// Accounts as a ledger takes them: in their order, each once, under the lowest of its ceilings.
pub fn in_order(accounts: &[(Account, Ceiling)]) -> Vec<(Account, Ceiling)> {
    let mut ordered: Vec<(Account, Ceiling)> = Vec::with_capacity(accounts.len());
    for &(account, ceiling) in accounts {
        match ordered.binary_search_by_key(&account, |(account, _)| *account) {
            Ok(place) => ordered[place].1 = ordered[place].1.lower(ceiling),
            Err(place) => ordered.insert(place, (account, ceiling)),
        }
    }
    ordered
}
