//! The tool-calling loop: a model is asked, the tools that it calls are called, and it is told what became of them, until
//! it has an answer.

use async_trait::async_trait;
use serde_json::Value;

use super::asking::{AROUND_A_PART, Asking, LastAnswer, asking_setters, json_bytes, last_answer, text_bytes};
use crate::data::chat::reason;
use crate::data::{
    Answer, AnswerFormat, Arguments, CallResult, Plan, Prompt, ResultOf, Say, Step, ToolCall, ToolContract,
    ToolSpec,
};
use crate::ports::{PlanView, Planned, Planner, PlannerError, StepReport};
use crate::words::StepId;

/// Plans a turn by asking a model, round by round. The turn's input is what the user says; what the model answers without
/// calling a tool is the turn's answer.
///
/// - Several calls of one answer run beside each other, each a step of its own with the promises of its effect class. A
///   call that fails, or is denied, does not end the turn: the model is told. But for a call of a tool that is
///   [held back](crate::Tool::held): it is made when the model has answered, so its failure fails the turn. Later turns are told
///   what became of it.
/// - A call of an unknown tool, arguments that the tool does not take, and an answer that does not have the form that the
///   turn [wants](crate::runtime::Submit::wants) go back to the model with the reason, [`corrections`](Self::corrections) times in
///   a row; then the turn fails with [`FailureCode::Stuck`](crate::FailureCode::Stuck).
/// - When the model was told [`repeats`](Self::repeats) times of the same failing call (the same tool, arguments and error),
///   the turn fails with [`FailureCode::Stuck`](crate::FailureCode::Stuck). Calls beside each other count once.
/// - What comes while the turn runs ([`Submit::steer`](crate::runtime::Submit::steer)) is said with the next question: behind the
///   results of calls, or as a question of its own before an answer becomes the turn's. After what interrupts, calls that were not
///   made are closed, and the model is told so.
/// - Of more calls than a plan or the turn may have, those that are too many are not made, and the model is told.
/// - A model that does not answer fails the turn with [`FailureCode::Model`](crate::FailureCode::Model).
///
/// ```
/// use agent_shell_core::{Shell, ToolLoop, Window};
///
/// let planner = ToolLoop::new().instructions("You answer questions about orders.").history(Window::bytes(100_000));
/// let builder = Shell::volatile().planner(planner); // and `.model(..)`
/// ```
#[derive(Default)]
pub struct ToolLoop {
    asking: Asking,
}

impl ToolLoop {
    /// A loop over the shell's default model with all of its tools, a [`Window`](super::Window) of 256 KiB or what the model takes, if
    /// that is less, three corrections in a row, and three repeats.
    pub fn new() -> Self {
        Self::default()
    }

    asking_setters!();

    fn prompt(&self, view: &PlanView) -> Prompt {
        let spec = |tool: &ToolContract| ToolSpec {
            name: tool.name.clone(),
            description: tool.description.clone(),
            input_schema: tool.input_schema.clone(),
        };
        let mut prompt = Prompt::new(self.asking.instructions.clone());
        prompt.tools = self.asking.shown(view).map(spec).collect();
        prompt.answer = view.wants.clone();
        prompt
    }

    /// What follows from an answer: calls, a correction, or the end.
    fn follow(&self, view: &PlanView, asked: u32, answer: &Answer) -> Result<Planned, PlannerError> {
        let untold = view.untold();
        if untold.iter().any(|steered| steered.interrupts) && answer.calls().next().is_some() {
            return self.tell(view, asked, answer);
        }
        if answer.calls().next().is_none() && !untold.is_empty() {
            return self.asking.steer(view, self.prompt(view));
        }
        if answer.calls().next().is_none() {
            return match wanted(answer, view.wants.as_ref()) {
                Ok(answer) => Ok(Planned::Answer(answer)),
                Err(problem) => self.asking.correct(view, self.prompt(view), problem),
            };
        }
        self.asking.gets_on(view)?;
        let calls: Vec<_> =
            answer.calls().enumerate().map(|(place, call)| self.step_of(view, call, asked, place)).collect();
        if let Some(Err(problem)) = calls.iter().find(|call| call.is_err()) {
            self.asking.may_correct(view, problem)?;
        }
        let steps: Vec<Step> = calls.into_iter().filter_map(Result::ok).collect();
        if steps.is_empty() {
            return self.tell(view, asked, answer);
        }
        Ok(Planned::Next(view.next_plan().steps(steps).build()?))
    }

    /// Tells the model what became of its calls.
    fn tell(&self, view: &PlanView, asked: u32, answer: &Answer) -> Result<Planned, PlannerError> {
        let is_interrupted = view.untold().iter().any(|steered| steered.interrupts);
        let result = |(place, call): (usize, &ToolCall)| {
            let step = StepId::new(call_name(asked, place)).ok().filter(|step| view.steps.contains_key(step));
            let of = match step {
                Some(step) => ResultOf::Step(step),
                None if is_interrupted => ResultOf::Interrupted,
                None => ResultOf::Rejected(match self.step_of(view, call, asked, place) {
                    Err(problem) => problem,
                    Ok(_) => "it was not called: call it again".into(),
                }),
            };
            CallResult { call: call.id.clone(), tool: call.tool.clone(), of }
        };
        let results: Vec<_> = answer.calls().enumerate().map(result).collect();
        let bytes = results.iter().map(|result| self.bytes_of(view, result)).sum::<u64>() + AROUND_A_PART;
        self.asking.ask(view, self.prompt(view), Say::Results(results), bytes)
    }

    /// The bytes of JSON that a model is going to be told of a call, at most.
    fn bytes_of(&self, view: &PlanView, result: &CallResult) -> u64 {
        let told = match &result.of {
            ResultOf::Rejected(problem) => json_bytes(&reason(problem)),
            // A sentence says that it was not made.
            ResultOf::Interrupted => 2 * AROUND_A_PART,
            ResultOf::Step(step) => match view.steps.get(step) {
                Some(StepReport::Succeeded(output)) => self.asking.output_bytes(view, output),
                Some(StepReport::Failed(failure)) => json_bytes(&reason(&failure.message)),
                // A sentence says that it is held back.
                _ => AROUND_A_PART,
            },
        };
        told + text_bytes(&result.call) + text_bytes(&result.tool) + AROUND_A_PART
    }

    /// The step that makes a call, or what is wrong with the call.
    fn step_of(&self, view: &PlanView, call: &ToolCall, asked: u32, place: usize) -> Result<Step, String> {
        let arguments = match &call.arguments {
            Arguments::Value(arguments) => arguments,
            Arguments::Unreadable(_) => {
                return Err(
                    "the arguments can't be read: write them as one JSON object, and nest it less deep \
                            if it is one"
                        .into(),
                );
            }
        };
        if let Some(problem) = self.asking.unknown_tool(view, &call.tool) {
            return Err(problem);
        }
        if let Some(problem) = view.problem_with(&call.tool, arguments) {
            return Err(format!("the tool does not take these arguments: {problem}"));
        }
        let most = Plan::MAX_STEPS.min(view.headroom.steps.saturating_sub(1));
        if place >= most {
            return Err(format!("these are too many calls at once: {most} could be made"));
        }
        let step = Step::tool(call_name(asked, place), &call.tool, arguments.clone()).for_call(&call.id);
        let is_held = self.asking.shown(view).any(|tool| tool.held && tool.name.as_str() == call.tool);
        Ok(if is_held { step } else { step.may_fail() })
    }
}

/// The answer in the form that the turn wants.
fn wanted(answer: &Answer, form: Option<&AnswerFormat>) -> Result<Value, String> {
    match form {
        None => Ok(Value::String(answer.text())),
        Some(form) => form.read(answer),
    }
}

/// The step of a call: the round in which the model was asked, and the call's place in its answer, from 1.
fn call_name(asked: u32, place: usize) -> String {
    format!("call-{asked}-{}", place + 1)
}

#[async_trait]
impl Planner for ToolLoop {
    async fn plan(&self, view: PlanView) -> Result<Planned, PlannerError> {
        let Some(LastAnswer { asked, answer, is_new }) = last_answer(&view) else {
            return self.asking.begin(&view, self.prompt(&view));
        };
        // The round after an answer makes its calls; the one after that tells of them. An answer without calls was followed
        // before only if the turn was interrupted behind it, which may have been taken back.
        if is_new || answer.calls().next().is_none() {
            self.follow(&view, asked, &answer)
        } else {
            self.tell(&view, asked, &answer)
        }
    }
}
