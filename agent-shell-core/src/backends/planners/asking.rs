//! What planners that ask a model have in common: whom they ask, with what before every message, and how much of the
//! conversation is shown.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::window::Window;
use crate::data::{Answer, Ask, FailureCode, Prompt, Retry, Say, Settings, Step, ToolContract};
use crate::ports::{HistoryPolicy, PlanView, Planned, PlannerError, StepReport};
use crate::words::{InvalidName, ModelName};

/// The tool by which a model reads what it was shown as a handle.
const READ_OUTPUT: &str = "read_output";

/// Where outputs can be read, a larger one is shown as a handle, in bytes of JSON.
const HANDLES_ABOVE: u64 = 16 << 10;

/// What a handle has at most, in bytes of JSON, escapes included.
const OF_A_HANDLE: u64 = 6 * 512 + 80;

/// What stands around a part of a message in JSON, in bytes, at most.
pub(super) const AROUND_A_PART: u64 = 80;

/// The settings of such a planner.
pub(super) struct Asking {
    pub(super) model: Result<ModelName, InvalidName>,
    pub(super) instructions: String,
    pub(super) settings: Settings,
    /// A [`Window`] as large as the model takes, if none is given.
    pub(super) history: Option<Arc<dyn HistoryPolicy>>,
    /// All of the shell's, if none are named.
    pub(super) tools: Option<Vec<String>>,
    pub(super) corrections: u32,
    pub(super) repeats: u32,
    /// As [`Asking::handles`] says, if none is given.
    pub(super) handles_above: Option<u64>,
    /// As of every question, if none is given.
    pub(super) retry: Option<Retry>,
    pub(super) answer_within: Option<Duration>,
}

impl Default for Asking {
    fn default() -> Self {
        Self {
            model: ModelName::new("default"),
            instructions: String::new(),
            settings: Settings::default(),
            history: None,
            tools: None,
            corrections: 3,
            repeats: 3,
            handles_above: None,
            retry: None,
            answer_within: None,
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
            self.asking.history = Some(std::sync::Arc::new(policy));
            self
        }

        /// Shows a larger output, in bytes of JSON, as a handle: its beginning, its length and the number of its record. The tool
        /// that reads it is the shell's, [`ShellBuilder::reads_outputs`](crate::ShellBuilder::reads_outputs), or the host's own.
        ///
        /// Default: 16,384 when the shell reads outputs; else every output is shown whole.
        #[must_use]
        pub fn handles_above(mut self, bytes: u64) -> Self {
            self.asking.handles_above = Some(bytes);
            self
        }

        /// How often and how fast a question is asked again that was not answered. A model's own wish to wait longer counts.
        ///
        /// Default: [`Retry::QUESTIONS`](crate::data::Retry::QUESTIONS).
        #[must_use]
        pub fn retry(mut self, retry: $crate::data::Retry) -> Self {
            self.asking.retry = Some(retry);
            self
        }

        /// Gives up one try of a question that takes longer, where [`Limits::model_ms`](crate::Limits) does not before.
        #[must_use]
        pub fn answer_within(mut self, most: std::time::Duration) -> Self {
            self.asking.answer_within = Some(most);
            self
        }

        /// Only the tools with these names, of those that the shell has. The tool that reads handles is always among them.
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

        /// How often the model may be told of the same failing call, at least 1.
        #[must_use]
        pub fn repeats(mut self, most: u32) -> Self {
            self.asking.repeats = most.max(1);
            self
        }
    };
}
pub(super) use asking_setters;

impl Asking {
    /// The tools that the model is shown, in the order of their names.
    pub(super) fn shown<'a>(&'a self, view: &'a PlanView) -> impl Iterator<Item = &'a ToolContract> {
        let is_shown = |name: &str| {
            name == READ_OUTPUT
                || self.tools.as_ref().is_none_or(|shown| shown.iter().any(|tool| tool == name))
        };
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
        let capabilities = view.headroom.model(&model).map(|model| &model.capabilities);
        if capabilities.is_some_and(|can| !can.tools && !prompt.tools.is_empty()) {
            let problem =
                format!("model `{model}` calls no tools: use another, or `PlanByModel`, which asks for none");
            return Err(PlannerError::new(problem));
        }
        let mut conversation = view.conversation.clone();
        let untold = view.untold().iter().map(|steered| json_bytes(&steered.input) + AROUND_A_PART);
        conversation.next_bytes = bytes + untold.sum::<u64>();
        conversation.summary_failed =
            summaries(view).any(|(_, summary)| matches!(summary, StepReport::Failed(_)));
        let history = match &self.history {
            Some(policy) => policy.history(&conversation)?,
            None => window(capabilities.and_then(|can| can.context_tokens), &self.settings)
                .history(&conversation)?,
        };
        prompt.settings = self.settings.clone();
        let step = match history.summary {
            None => {
                let steers = u32::try_from(view.steers.len()).unwrap_or(u32::MAX);
                let ask = Ask::new(model, prompt, say).in_conversation(history.first).steers(steers);
                Step::model(ask_name(view.round), ask.handles_above(self.handles(view)))
            }
            Some(_) if conversation.summary_failed => {
                let problem = "the history's policy wants a summary, and none could be made: see `Conversation::summary_failed`";
                return Err(PlannerError::new(problem));
            }
            // A round of its own: the next one sees whether there is a summary, and asks what was to be asked.
            Some(summary) => {
                prompt.answer = None;
                let say = Say::Summary { through: summary.through, words: summary.words };
                let ask = Ask::new(model, prompt, say).in_conversation(history.first);
                Step::model(summary_name(view.round), ask).may_fail()
            }
        };
        let step = self.retry.into_iter().fold(step, Step::retry);
        let step = self.answer_within.into_iter().fold(step, Step::attempt_deadline);
        Ok(Planned::Next(view.next_plan().step(step).build()?))
    }

    /// From how many bytes of JSON on an output is shown as a handle.
    pub(super) fn handles(&self, view: &PlanView) -> Option<u64> {
        let can_read = || view.tools.iter().any(|tool| tool.name.as_str() == READ_OUTPUT);
        self.handles_above.or_else(|| can_read().then_some(HANDLES_ABOVE))
    }

    /// The bytes of JSON that a model is told of an output, at most.
    pub(super) fn output_bytes(&self, view: &PlanView, output: &Value) -> u64 {
        let bytes = json_bytes(output);
        match self.handles(view) {
            Some(above) if bytes > above => bytes.min(OF_A_HANDLE),
            _ => bytes,
        }
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

    /// Tells the model what came while the turn ran, and nothing else.
    pub(super) fn steer(&self, view: &PlanView, prompt: Prompt) -> Result<Planned, PlannerError> {
        self.ask(view, prompt, Say::Steers, 0)
    }

    /// Whether the model may make further calls: what it was told too often it may answer to, and no more.
    pub(super) fn gets_on(&self, view: &PlanView) -> Result<(), PlannerError> {
        if view.repeats < self.repeats {
            return Ok(());
        }
        let times = view.repeats;
        let problem = format!("the model made the same call {times} times, and it failed in the same way");
        Err(PlannerError::new(problem).with_code(FailureCode::Stuck))
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

/// The summaries that were asked for in the turn, each with the round in which.
fn summaries(view: &PlanView) -> impl Iterator<Item = (u32, &StepReport)> {
    (1..view.round).rev().filter_map(|round| Some((round, view.steps.get(summary_name(round).as_str())?)))
}

/// The last answer of a turn.
pub(super) struct LastAnswer {
    /// The round in which it was asked for.
    pub(super) asked: u32,
    pub(super) answer: Arc<Answer>,
    /// Whether nothing has followed from it yet. Summaries do not count.
    pub(super) is_new: bool,
}

/// The last answer of the turn, if there is one.
pub(super) fn last_answer(view: &PlanView) -> Option<LastAnswer> {
    let (asked, answer) =
        (1..view.round).rev().find_map(|round| match view.steps.get(ask_name(round).as_str()) {
            Some(StepReport::Answered { answer, .. }) => Some((round, answer.clone())),
            _ => None,
        })?;
    let since = summaries(view).take_while(|(round, _)| *round > asked).count();
    Some(LastAnswer { asked, answer, is_new: (asked + 1) as usize + since == view.round as usize })
}

/// The window where none was given: as much as the model takes, with room for its answer.
fn window(context_tokens: Option<u64>, settings: &Settings) -> Window {
    // JSON of English text has about four bytes a token, of other text and of code about two.
    let of_model = context_tokens.map(|tokens| tokens.saturating_sub(settings.output_tokens) * 2);
    of_model.filter(|bytes| *bytes < Window::DEFAULT_BYTES).map_or_else(Window::default, Window::bytes)
}

pub(super) fn json_bytes(value: &Value) -> u64 {
    value.to_string().len() as u64
}

pub(super) fn text_bytes(text: &str) -> u64 {
    Value::from(text).to_string().len() as u64
}
