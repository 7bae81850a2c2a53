//! The tool-calling loop: a model is asked, the tools that it calls are called, and it is told what became of them, until
//! it has an answer.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::window::Window;
use crate::data::{
    Answer, AnswerFormat, Arguments, Ask, CallResult, FailureCode, Prompt, ResultOf, Say, Settings, Step,
    ToolCall, ToolContract, ToolSpec, input,
};
use crate::ports::{HistoryPolicy, PlanView, Planned, Planner, PlannerError, StepReport};
use crate::words::{InvalidName, ModelName, StepId};

/// What stands around a part of a message in JSON, in bytes, at most.
const AROUND_A_PART: u64 = 80;
/// What a handle has at most, in bytes of JSON, escapes included.
const OF_A_HANDLE: u64 = 6 * 512 + 80;

/// Plans a turn by asking a model, round by round. The turn's input is what the user says; what the model answers without
/// calling a tool is the turn's answer.
///
/// - Several calls of one answer run beside each other, each a step of its own with the promises of its effect class. A
///   call that fails, or is denied, does not end the turn: the model is told.
/// - A call of an unknown tool, arguments that the tool does not take, and an answer that does not have the form that the
///   turn [wants](crate::runtime::Submit::wants) go back to the model with the reason, [`corrections`](Self::corrections) times in
///   a row; then the turn fails with [`FailureCode::Stuck`].
/// - When the model was told [`repeats`](Self::repeats) times of the same failing call (the same tool, arguments and error),
///   the turn fails with [`FailureCode::Stuck`].
/// - A model that does not answer fails the turn with [`FailureCode::Model`].
///
/// ```
/// use agent_shell_core::{Shell, ToolLoop, Window};
///
/// let planner = ToolLoop::new().instructions("You answer questions about orders.").history(Window::bytes(100_000));
/// let builder = Shell::volatile().planner(planner); // and `.model(..)`
/// ```
pub struct ToolLoop {
    model: Result<ModelName, InvalidName>,
    instructions: String,
    settings: Settings,
    history: Arc<dyn HistoryPolicy>,
    tools: Option<Vec<String>>,
    corrections: u32,
    repeats: u32,
    handles_above: Option<u64>,
}

impl Default for ToolLoop {
    fn default() -> Self {
        Self::new()
    }
}

impl ToolLoop {
    /// A loop over the shell's default model with all of its tools, a [`Window`] of 256 KiB, three corrections in a row, and
    /// three repeats.
    pub fn new() -> Self {
        Self {
            model: ModelName::new("default"),
            instructions: String::new(),
            settings: Settings::default(),
            history: Arc::new(Window::default()),
            tools: None,
            corrections: 3,
            repeats: 3,
            handles_above: None,
        }
    }

    /// The model to ask, by the name that the shell was given it under.
    #[must_use]
    pub fn model(mut self, name: impl AsRef<str>) -> Self {
        self.model = ModelName::new(name);
        self
    }

    /// What the model is told to be and to do.
    #[must_use]
    pub fn instructions(mut self, instructions: impl Into<String>) -> Self {
        self.instructions = instructions.into();
        self
    }

    /// How the model answers.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// How much of the conversation the model is shown.
    #[must_use]
    pub fn history(mut self, policy: impl HistoryPolicy) -> Self {
        self.history = Arc::new(policy);
        self
    }

    /// Only the tools with these names, of those that the shell has.
    #[must_use]
    pub fn tools<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.tools = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// How many answers in a row the model may have to correct; 0 for none.
    #[must_use]
    pub fn corrections(mut self, most: u32) -> Self {
        self.corrections = most;
        self
    }

    /// How often the model may be told of the same failing call, at least 1.
    #[must_use]
    pub fn repeats(mut self, most: u32) -> Self {
        self.repeats = most.max(1);
        self
    }

    /// Shows a larger output, in bytes of JSON, as a handle: its beginning, its length and the number of its record.
    #[must_use]
    pub fn handles_above(mut self, bytes: u64) -> Self {
        self.handles_above = Some(bytes);
        self
    }

    fn shows(&self, tool: &ToolContract) -> bool {
        self.tools.as_ref().is_none_or(|shown| shown.iter().any(|name| name == tool.name.as_str()))
    }

    fn prompt(&self, view: &PlanView) -> Prompt {
        let spec = |tool: &ToolContract| ToolSpec {
            name: tool.name.clone(),
            description: tool.description.clone(),
            input_schema: tool.input_schema.clone(),
        };
        let mut prompt = Prompt::new(self.instructions.clone());
        prompt.tools = view.tools.iter().filter(|tool| self.shows(tool)).map(spec).collect();
        prompt.answer = view.wants.clone();
        prompt.settings = self.settings.clone();
        prompt
    }

    /// The next question of the conversation, behind the summary that has to come before it, if any.
    fn ask(&self, view: &PlanView, say: Say, bytes: u64) -> Result<Planned, PlannerError> {
        let model = self.model.clone().map_err(|error| PlannerError::new(error.to_string()))?;
        let mut conversation = view.conversation.clone();
        conversation.next_bytes = bytes;
        let history = self.history.history(&conversation)?;
        let id = name("ask", view.round);
        let ask = Ask::new(model.clone(), self.prompt(view), say)
            .in_conversation(history.first)
            .handles_above(self.handles_above);
        let Some(summary) = history.summary else {
            return Ok(Planned::Next(view.next_plan().step(Step::model(id, ask)).build()?));
        };
        let mut prompt = Prompt::new(self.instructions.clone());
        prompt.settings = self.settings.clone();
        let say = Say::Summary { through: summary.through, words: summary.words };
        let before = name("summary", view.round);
        let summarise = Ask::new(model, prompt, say).in_conversation(history.first);
        let plan =
            view.next_plan().step(Step::model(&before, summarise)).step(Step::model(id, ask).after([before]));
        Ok(Planned::Next(plan.build()?))
    }

    /// What follows from an answer: calls, a correction, or the end.
    fn follow(&self, view: &PlanView, asked: u32, answer: &Answer) -> Result<Planned, PlannerError> {
        if answer.calls().next().is_none() {
            return match wanted(answer, view.wants.as_ref()) {
                Ok(answer) => Ok(Planned::Answer(answer)),
                Err(problem) => {
                    self.may_correct(view, &problem)?;
                    let bytes = text_bytes(&problem) + AROUND_A_PART;
                    self.ask(view, Say::Correction(problem), bytes)
                }
            };
        }
        // What it was told so often it may answer to, but not with further calls.
        if view.repeats >= self.repeats {
            let times = view.repeats;
            let problem =
                format!("the model made the same call {times} times, and it failed in the same way");
            return Err(PlannerError::new(problem).with_code(FailureCode::Stuck));
        }
        let calls: Vec<_> =
            answer.calls().enumerate().map(|(place, call)| self.step_of(view, call, asked, place)).collect();
        if let Some(Err(problem)) = calls.iter().find(|call| call.is_err()) {
            self.may_correct(view, problem)?;
        }
        let steps: Vec<Step> = calls.into_iter().filter_map(Result::ok).collect();
        if steps.is_empty() {
            return self.tell(view, asked, answer);
        }
        Ok(Planned::Next(view.next_plan().steps(steps).build()?))
    }

    /// Tells the model what became of its calls.
    fn tell(&self, view: &PlanView, asked: u32, answer: &Answer) -> Result<Planned, PlannerError> {
        let result = |(place, call): (usize, &ToolCall)| {
            let step = StepId::new(call_name(asked, place)).ok().filter(|step| view.steps.contains_key(step));
            let of = match step {
                Some(step) => ResultOf::Step(step),
                None => ResultOf::Rejected(match self.step_of(view, call, asked, place) {
                    Err(problem) => problem,
                    Ok(_) => "it was not called: call it again".into(),
                }),
            };
            CallResult { call: call.id.clone(), tool: call.tool.clone(), of }
        };
        let results: Vec<_> = answer.calls().enumerate().map(result).collect();
        let bytes = results.iter().map(|result| self.bytes_of(view, result)).sum::<u64>() + AROUND_A_PART;
        self.ask(view, Say::Results(results), bytes)
    }

    /// The bytes of JSON that a model is going to be told of a call, at most.
    fn bytes_of(&self, view: &PlanView, result: &CallResult) -> u64 {
        let told = match &result.of {
            ResultOf::Rejected(problem) => text_bytes(problem),
            ResultOf::Step(step) => match view.steps.get(step) {
                Some(StepReport::Succeeded(output)) => {
                    let bytes = json_bytes(output);
                    self.handles_above
                        .map_or(bytes, |above| if bytes > above { bytes.min(OF_A_HANDLE) } else { bytes })
                }
                Some(StepReport::Failed(failure)) => text_bytes(&failure.message),
                // A sentence says that it is held back.
                _ => AROUND_A_PART,
            },
        };
        told + text_bytes(&result.call) + text_bytes(&result.tool) + AROUND_A_PART
    }

    fn may_correct(&self, view: &PlanView, problem: &str) -> Result<(), PlannerError> {
        if view.corrections < self.corrections {
            return Ok(());
        }
        let times = view.corrections;
        let problem =
            format!("the model's answer could not be used, after {times} corrections in a row: {problem}");
        Err(PlannerError::new(problem).with_code(FailureCode::Stuck))
    }

    /// The step that makes a call, or what is wrong with the call.
    fn step_of(&self, view: &PlanView, call: &ToolCall, asked: u32, place: usize) -> Result<Step, String> {
        let arguments = match &call.arguments {
            Arguments::Value(arguments) => arguments,
            Arguments::Unreadable(_) => {
                return Err("the arguments are no JSON: write them as one JSON object".into());
            }
        };
        if !view.tools.iter().any(|tool| tool.name.as_str() == call.tool && self.shows(tool)) {
            let known: Vec<&str> =
                view.tools.iter().filter(|tool| self.shows(tool)).map(|tool| tool.name.as_str()).collect();
            return Err(format!("there is no tool `{}`: there are {}", call.tool, known.join(", ")));
        }
        if let Some(problem) = view.problem_with(&call.tool, arguments) {
            return Err(format!("the tool does not take these arguments: {problem}"));
        }
        let step = Step::tool(call_name(asked, place), &call.tool, arguments.clone());
        Ok(step.may_fail().for_call(&call.id))
    }
}

/// The answer in the form that the turn wants.
fn wanted(answer: &Answer, form: Option<&AnswerFormat>) -> Result<Value, String> {
    let text = answer.text();
    let Some(form) = form else { return Ok(Value::String(text)) };
    let value: Value = serde_json::from_str(text.trim()).map_err(|error| {
        format!("the answer is no JSON ({error}): answer with JSON of the form `{}` alone", form.name)
    })?;
    Ok(value)
}

fn name(of: &str, round: u32) -> String {
    format!("{of}-{round}")
}

/// The step of a call: the round in which the model was asked, and the call's place in its answer, from 1.
fn call_name(asked: u32, place: usize) -> String {
    format!("call-{asked}-{}", place + 1)
}

fn json_bytes(value: &Value) -> u64 {
    value.to_string().len() as u64
}

fn text_bytes(text: &str) -> u64 {
    Value::from(text).to_string().len() as u64
}

#[async_trait]
impl Planner for ToolLoop {
    async fn plan(&self, view: PlanView) -> Result<Planned, PlannerError> {
        let asked =
            (1..view.round).rev().find_map(|round| match view.steps.get(name("ask", round).as_str()) {
                Some(StepReport::Answered { answer, .. }) => Some((round, answer.clone())),
                _ => None,
            });
        let Some((asked, answer)) = asked else {
            return self.ask(&view, Say::User(input("")), json_bytes(&view.input) + AROUND_A_PART);
        };
        // The round after an answer makes its calls; the one after that tells of them.
        if asked + 1 == view.round {
            self.follow(&view, asked, &answer)
        } else {
            self.tell(&view, asked, &answer)
        }
    }
}
