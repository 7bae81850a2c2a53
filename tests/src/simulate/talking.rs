//! Turns that a model plans: what the user says in them, which loop plans them, and how much of the conversation it shows.

use std::time::Duration;

use agent_shell_core::ports::{Conversation, History, HistoryPolicy, PlannerError};
use agent_shell_core::{Compaction, ToolLoop, Window};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::crash::scenario::TurnKey;
use crate::random::Random;

/// How many answers in a row a model may have to correct.
pub(super) const CORRECTIONS: u32 = 3;
/// How often it may be told of the same failing call.
pub(super) const REPEATS: u32 = 3;
/// The first words of what a model is told when it is to summarise.
pub(super) const SUMMARISE: &str = "Summarise what was said";
/// Each session has so many loops that differ in their instructions, so that it has several prompts.
pub(super) const VARIANTS: u64 = 3;

/// A turn that a model plans: only the promises are known.
#[derive(Clone, Debug)]
pub(super) struct Talk {
    key: TurnKey,
    variant: u64,
    words: String,
    /// Whether it wants a typed answer.
    pub(super) wants: bool,
    /// When it must have ended.
    pub(super) deadline: Option<Duration>,
    /// Whether an operator gives it up when it rests, if it does.
    pub(super) abandoned: bool,
}

/// The form of a typed answer.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
pub(super) struct Number {
    pub(super) n: u64,
}

impl Talk {
    /// Whether turns of this session are planned by models.
    pub(super) fn is_in(seed: u64, session: u64) -> bool {
        Random::of(&[seed, session, 0x7a1c]).percent(45)
    }

    pub(super) fn draw(random: &mut Random, key: TurnKey) -> Self {
        let length = [0, 40, 120, 300][random.below(4) as usize];
        let words = "Say \"ä\" and\n".chars().cycle().take(length).collect();
        let deadline = random.percent(20).then(|| Duration::from_millis(200 + random.below(3_000)));
        Self {
            key,
            variant: random.below(VARIANTS),
            words,
            wants: random.percent(30),
            deadline,
            abandoned: random.percent(20),
        }
    }

    /// What the user says.
    pub(super) fn input(&self) -> Value {
        let TurnKey { session, number } = self.key;
        json!({ "session": session, "number": number, "words": self.words })
    }

    pub(super) fn planner(&self) -> String {
        planner_name(self.key.session, self.variant)
    }
}

/// The name of a loop.
pub(super) fn planner_name(session: u64, variant: u64) -> String {
    format!("loop-{session}-{variant}")
}

/// How a session's conversation is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoopSpec {
    /// Whether its beginning is summarised, and not let go.
    summarises: bool,
    /// The most bytes of JSON that a question shows.
    pub(super) bytes: u64,
    pub(super) handles_above: Option<u64>,
}

impl LoopSpec {
    pub(super) fn draw(seed: u64, session: u64) -> Self {
        let mut random = Random::of(&[seed, session, 0x100b]);
        Self {
            summarises: random.percent(55),
            bytes: [1_400, 2_000, 2_800, 4_000, 262_144][random.below(5) as usize],
            handles_above: [None, Some(60), Some(300)][random.below(3) as usize],
        }
    }

    /// The loop that plans by it.
    pub(super) fn planner(self, variant: u64, wrapped: impl FnOnce(Policy) -> Policy) -> ToolLoop {
        let policy = if self.summarises {
            Policy::Compaction(Compaction::bytes(self.bytes).words(SUMMARISE))
        } else {
            Policy::Window(Window::bytes(self.bytes))
        };
        let made = ToolLoop::new()
            .instructions(format!("You are of kind {variant}."))
            .history(wrapped(policy))
            .corrections(CORRECTIONS)
            .repeats(REPEATS);
        match self.handles_above {
            Some(bytes) => made.handles_above(bytes),
            None => made,
        }
    }
}

/// Any policy.
pub(super) enum Policy {
    Window(Window),
    Compaction(Compaction),
    /// A deliberate fault.
    Other(Box<dyn HistoryPolicy>),
}

impl HistoryPolicy for Policy {
    fn history(&self, conversation: &Conversation) -> Result<History, PlannerError> {
        match self {
            Self::Window(policy) => policy.history(conversation),
            Self::Compaction(policy) => policy.history(conversation),
            Self::Other(policy) => policy.history(conversation),
        }
    }
}
