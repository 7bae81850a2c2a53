//! What planners that ask a model have in common: whom they ask, with what before every message, and how much of the
//! conversation is shown.

use std::sync::Arc;

use serde_json::Value;

use super::window::Window;
use crate::data::{Answer, Ask, FailureCode, Prompt, Say, Settings, Step, ToolContract};
use crate::ports::{HistoryPolicy, PlanView, Planned, PlannerError, StepReport};
use crate::words::{InvalidName, ModelName};

/// What stands around a part of a message in JSON, in bytes, at most.
pub(super) const AROUND_A_PART: u64 = 80;

/// The settings of such a planner.
pub(super) struct Asking {
    pub(super) model: Result<ModelName, InvalidName>,
    pub(super) instructions: String,
    pub(super) settings: Settings,
    pub(super) history: Arc<dyn HistoryPolicy>,
    /// All of the shell's, if none are named.
    pub(super) tools: Option<Vec<String>>,
    pub(super) corrections: u32,
    pub(super) handles_above: Option<u64>,
}

impl Default for Asking {
    fn default() -> Self {
        Self {
            model: ModelName::new("default"),
            instructions: String::new(),
            settings: Settings::default(),
            history: Arc::new(Window::default()),
            tools: None,
            corrections: 3,
            handles_above: None,
        }
    }
}

/// The setters of a planner with a member `asking`.
macro_rules! asking_setters {
    () => {
        /// The model to ask, by the name that the shell was given it under.
        #[must_use]
        pub fn model(mut self, name: impl AsRef<str>) -> Self {
            self.asking.model = $crate::words::ModelName::new(name);
            self
        }

        /// What the model is told to be and to do.
        #[must_use]
        pub fn instructions(mut self, instructions: impl Into<String>) -> Self {
            self.asking.instructions = instructions.into();
            self
        }

        /// How the model answers.
        #[must_use]
        pub fn settings(mut self, settings: $crate::data::Settings) -> Self {
            self.asking.settings = settings;
            self
        }

        /// How much of the conversation the model is shown.
        #[must_use]
        pub fn history(mut self, policy: impl $crate::ports::HistoryPolicy) -> Self {
            self.asking.history = std::sync::Arc::new(policy);
            self
        }

        /// Only the tools with these names, of those that the shell has.
        #[must_use]
        pub fn tools<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
            self.asking.tools = Some(names.into_iter().map(Into::into).collect());
            self
        }

        /// How many answers in a row the model may have to correct; 0 for none.
        #[must_use]
        pub fn corrections(mut self, most: u32) -> Self {
            self.asking.corrections = most;
            self
        }
    };
}
pub(super) use asking_setters;

impl Asking {
    /// The tools that the model is shown, in the order of their names.
    pub(super) fn shown<'a>(&'a self, view: &'a PlanView) -> impl Iterator<Item = &'a ToolContract> {
        let is_shown =
            |name: &str| self.tools.as_ref().is_none_or(|shown| shown.iter().any(|tool| tool == name));
        view.tools.iter().filter(move |tool| is_shown(tool.name.as_str()))
    }

    /// What is wrong with a name of a tool, if there is none of that name.
    pub(super) fn unknown_tool(&self, view: &PlanView, tool: &str) -> Option<String> {
        let known: Vec<&str> = self.shown(view).map(|tool| tool.name.as_str()).collect();
        if known.contains(&tool) {
            return None;
        }
        Some(match known.is_empty() {
            true => format!("there is no tool `{tool}`, nor any other"),
            false => format!("there is no tool `{tool}`: there are {}", known.join(", ")),
        })
    }

    /// The next question of the conversation, behind the summary that has to come before it, if any. `bytes` is the length of
    /// what it says in JSON, at most.
    pub(super) fn ask(
        &self,
        view: &PlanView,
        mut prompt: Prompt,
        say: Say,
        bytes: u64,
    ) -> Result<Planned, PlannerError> {
        let model = self.model.clone().map_err(|error| PlannerError::new(error.to_string()))?;
        let mut conversation = view.conversation.clone();
        conversation.next_bytes = bytes;
        let history = self.history.history(&conversation)?;
        let id = ask_name(view.round);
        prompt.settings = self.settings.clone();
        let ask = Ask::new(model.clone(), prompt, say)
            .in_conversation(history.first)
            .handles_above(self.handles_above);
        let Some(summary) = history.summary else {
            return Ok(Planned::Next(view.next_plan().step(Step::model(id, ask)).build()?));
        };
        let mut prompt = Prompt::new(self.instructions.clone());
        prompt.settings = self.settings.clone();
        let say = Say::Summary { through: summary.through, words: summary.words };
        let before = summary_name(view.round);
        let summarise = Ask::new(model, prompt, say).in_conversation(history.first);
        let plan =
            view.next_plan().step(Step::model(&before, summarise)).step(Step::model(id, ask).after([before]));
        Ok(Planned::Next(plan.build()?))
    }

    /// The first question of a turn: what the user says.
    pub(super) fn begin(&self, view: &PlanView, prompt: Prompt) -> Result<Planned, PlannerError> {
        let bytes = json_bytes(&view.input) + AROUND_A_PART;
        self.ask(view, prompt, Say::User(crate::data::input("")), bytes)
    }

    /// Tells the model what was wrong with its answer, if it may be told once more.
    pub(super) fn correct(
        &self,
        view: &PlanView,
        prompt: Prompt,
        problem: String,
    ) -> Result<Planned, PlannerError> {
        self.may_correct(view, &problem)?;
        let bytes = text_bytes(&problem) + AROUND_A_PART;
        self.ask(view, prompt, Say::Correction(problem), bytes)
    }

    /// Whether the model may have to correct one more answer in a row.
    pub(super) fn may_correct(&self, view: &PlanView, problem: &str) -> Result<(), PlannerError> {
        if view.corrections < self.corrections {
            return Ok(());
        }
        let times = view.corrections;
        let problem =
            format!("the model's answer could not be used, after {times} corrections in a row: {problem}");
        Err(PlannerError::new(problem).with_code(FailureCode::Stuck))
    }
}

fn ask_name(round: u32) -> String {
    format!("ask-{round}")
}

fn summary_name(round: u32) -> String {
    format!("summary-{round}")
}

/// Whether a step may be called so only by the planner itself.
pub(super) fn is_taken(step: &str) -> bool {
    step.starts_with("ask-") || step.starts_with("summary-")
}

/// The last answer of the turn, and the round in which it was asked for.
pub(super) fn last_answer(view: &PlanView) -> Option<(u32, Arc<Answer>)> {
    (1..view.round).rev().find_map(|round| match view.steps.get(ask_name(round).as_str()) {
        Some(StepReport::Answered { answer, .. }) => Some((round, answer.clone())),
        _ => None,
    })
}

pub(super) fn json_bytes(value: &Value) -> u64 {
    value.to_string().len() as u64
}

pub(super) fn text_bytes(text: &str) -> u64 {
    Value::from(text).to_string().len() as u64
}
