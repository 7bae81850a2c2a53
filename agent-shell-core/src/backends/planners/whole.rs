//! A model that plans a whole graph: it writes the plan down, and the plan runs as one.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::asking::{
    AROUND_A_PART, Asking, LastAnswer, asking_setters, is_taken, json_bytes, last_answer, text_bytes,
};
use super::draft::{Draft, Drafted, schema};
use crate::data::chat::reason;
use crate::data::{
    Answer, AnswerFormat, CallResult, Plan, Prompt, ResultOf, Say, Step, Template, ToolContract,
};
use crate::ports::{PlanView, Planned, Planner, PlannerError, StepReport};
use crate::words::StepId;

/// What the model is told of plans.
const HOW: &str = r#"Answer with a plan as JSON, and with nothing else: {"steps": [...], "answer": ...}. Each step calls one tool: {"id": "a name of its own", "tool": "the tool", "input": {...}}. Steps run as soon as what they refer to is there, and beside each other where they can. In an input and in the answer, {"$from": "id of a step", "pointer": "/member/of/its/output"} stands for what that step returned, and {"$input": "/member"} for a part of what was asked; an empty pointer means the whole. All else is taken as it is written. "after": ["id"] waits for a step without using what it returned. A step that fails ends everything, unless it says "may_fail": true; do not refer to one that may fail."#;
/// What it is told when its answer is made once all steps have succeeded.
const THEN_ANSWERED: &str = r#""answer" is what the user is told when all steps have succeeded. When no tool is needed, answer with {"answer": ...} alone."#;
/// What it is told when it sees what its steps led to.
const THEN_REVIEWED: &str = r#"Give either "steps" or "answer". When the steps have ended you are told what they led to; then answer with {"answer": ...}, which is what the user is told, or plan further steps, which may refer to earlier ones."#;

/// A small template can name a large output many times: so many bytes it makes at most. The turn's limits are less.
const MOST_ANSWER_BYTES: u64 = 64 << 20;

/// Plans a turn by asking a model for a whole plan: a graph of calls of tools, whose inputs refer to the turn's input and to
/// each other's outputs, and what is answered at its end. The turn's input is what the user says.
///
/// - The plan runs whole, without the model: one question for a turn, however many tools are called. A model that needs no
///   tool answers at once.
/// - A step that fails fails the turn, unless the model says of it that it may fail.
/// - What is no plan goes back to the model with the reason before anything runs: unreadable JSON, unknown tools, arguments that
///   a tool does not take (where they are known before), cycles, references to nothing, to what failed, or to what is held back. So
///   does an answer without the form that the turn [wants](crate::runtime::Submit::wants); with one, the answer is looked at when
///   the steps have ended. After [`corrections`](Self::corrections) in a row the turn fails with
///   [`FailureCode::Stuck`](crate::FailureCode::Stuck).
/// - With [`reviews`](Self::reviews) the model is told what the steps led to, round by round, and plans on or answers. Without,
///   it never sees an output, in later turns neither. When it was told [`repeats`](Self::repeats) times of the same failing
///   call (the same tool, input and error), it may answer, and no more plan.
///
/// What comes while the turn runs ([`Submit::steer`](crate::runtime::Submit::steer)) is told to the model before a plan begins, or
/// with what the steps led to where the model is asked again; it then plans anew or answers. A plan that runs whole, without
/// reviews and without a form to look at, asks nobody again: there it waits for the next turn, unless it interrupts.
///
/// In the session's conversation stand the user's input and the model's plans. The tools are told in the instructions, so that
/// a model does not call them by itself.
///
/// ```
/// use agent_shell_core::{PlanByModel, Shell};
///
/// let planner = PlanByModel::new().instructions("You look after orders.").reviews(true);
/// let builder = Shell::volatile().planner(planner); // and `.model(..)`
/// ```
#[derive(Default)]
pub struct PlanByModel {
    asking: Asking,
    reviews: bool,
}

impl PlanByModel {
    /// Plans by the shell's default model with all of its tools, a [`Window`](super::Window) of 256 KiB or what the model takes, if
    /// that is less, three corrections in a row and three repeats, without reviews.
    pub fn new() -> Self {
        Self::default()
    }

    asking_setters!();

    /// Whether the model is told what its steps led to, and plans on or answers then. Else its plan says what is answered.
    ///
    /// Default: false.
    #[must_use]
    pub fn reviews(mut self, reviews: bool) -> Self {
        self.reviews = reviews;
        self
    }

    fn prompt(&self, view: &PlanView) -> Prompt {
        let tools: Vec<&ToolContract> = self.asking.shown(view).collect();
        let told = tools.iter().map(|tool| {
            json!({ "tool": tool.name, "does": tool.description, "input": tool.input_schema }).to_string()
        });
        let told: Vec<String> = told.collect();
        let then = if self.reviews { THEN_REVIEWED } else { THEN_ANSWERED };
        let mut parts = vec![self.asking.instructions.clone(), format!("{HOW} {then}")];
        parts.push(match told.is_empty() {
            true => "There are no tools.".into(),
            false => format!("The tools, each with the JSON Schema of its input:\n{}", told.join("\n")),
        });
        parts.extend(view.wants.as_ref().map(|form| {
            format!(
                "With its references filled in, \"answer\" must have the form of this JSON Schema:\n{}",
                form.schema
            )
        }));
        parts.retain(|part| !part.is_empty());
        let mut prompt = Prompt::new(parts.join("\n\n"));
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
        prompt.answer = Some(AnswerFormat { name: "plan".into(), schema: schema(&names) });
        prompt
    }

    /// What follows from an answer of the model; a problem with it, for the model.
    fn follow(&self, view: &PlanView, answer: &Answer) -> Result<Planned, String> {
        if answer.calls().next().is_some() {
            return Err("no tool can be called so: answer with a plan as JSON".into());
        }
        let draft = Draft::read(&answer.json()?)?;
        match &draft.answer {
            Some(answer) if draft.steps.is_empty() => final_answer(view, answer),
            Some(_) if self.reviews => {
                Err("give either steps or an answer: you are told first what the steps led to".into())
            }
            None if view.wants.is_some() && !self.reviews => {
                Err("the plan has no member `answer`: say what is answered, in the form that is wanted"
                    .into())
            }
            answer => {
                let later = self.reviews || view.wants.is_some();
                let plan = self.plan_of(view, &draft, answer.as_ref().filter(|_| later))?;
                Ok(if later { Planned::Next(plan) } else { Planned::Whole(plan) })
            }
        }
    }

    /// The plan of a draft. `before` is the answer, when it is made before what is held back has run.
    fn plan_of(&self, view: &PlanView, draft: &Draft, before: Option<&Template>) -> Result<Plan, String> {
        let (count, allowed) = (draft.steps.len(), view.headroom.steps);
        if count > allowed {
            return Err(format!("the plan has {count} steps: at most {allowed} are allowed"));
        }
        let steps = draft.steps.iter().map(|step| self.step_of(view, step)).collect::<Result<Vec<_>, _>>()?;
        let may_fail: BTreeSet<&StepId> =
            steps.iter().filter(|step| step.may_fail).map(|step| &step.id).collect();
        let usable = |needed: &StepId, who: &str| match may_fail.contains(needed) {
            true => {
                Err(format!("`{who}` refers to step `{needed}`, which may fail: nothing may depend on that"))
            }
            false => usable(view, needed, who),
        };
        for step in &steps {
            step.needs().into_iter().try_for_each(|needed| usable(needed, step.id.as_str()))?;
        }
        let answer = draft.answer.iter().flat_map(Template::steps);
        answer.into_iter().try_for_each(|needed| usable(needed, "answer"))?;
        let is_held =
            |tool: &str| self.asking.shown(view).any(|known| known.held && known.name.as_str() == tool);
        let held: BTreeSet<&StepId> =
            draft.steps.iter().filter(|step| is_held(&step.tool)).map(|step| &step.id).collect();
        let taken =
            steps.iter().flat_map(|step| step.needs().into_iter().map(|needed| (step.id.as_str(), needed)));
        let taken =
            taken.chain(before.iter().flat_map(|answer| answer.steps()).map(|needed| ("answer", needed)));
        if let Some((who, needed)) = taken.into_iter().find(|(_, needed)| held.contains(needed)) {
            return Err(held_back(who, needed));
        }
        let mut plan = view.next_plan().steps(steps);
        if let Some(answer) = &draft.answer {
            plan = plan.answer(answer.clone());
        }
        plan.build().map_err(|error| error.to_string())
    }

    fn step_of(&self, view: &PlanView, drafted: &Drafted) -> Result<Step, String> {
        let (id, tool) = (&drafted.id, &drafted.tool);
        if is_taken(id.as_str()) {
            return Err(format!("no step may be called `{id}`: do not begin with `ask-` or `summary-`"));
        }
        if view.steps.contains_key(id) {
            return Err(format!(
                "step `{id}` is in an earlier plan of this turn already: give it another id"
            ));
        }
        if let Some(problem) = self.asking.unknown_tool(view, tool) {
            return Err(format!("step `{id}`: {problem}"));
        }
        if let Template::Value(arguments) = &drafted.input
            && let Some(problem) = view.problem_with(tool, arguments)
        {
            return Err(format!("step `{id}`: the tool does not take this input: {problem}"));
        }
        let step = Step::tool(id, tool, drafted.input.clone()).after(&drafted.after);
        Ok(if drafted.may_fail { step.may_fail() } else { step })
    }

    /// What follows when the steps of a plan have ended and the turn goes on.
    fn ended(&self, view: &PlanView, answer: &Answer) -> Result<Planned, PlannerError> {
        let draft = match answer.json().and_then(|draft| Draft::read(&draft)) {
            Ok(draft) => draft,
            // What was to correct it was given up for what the user says now, or has taken back.
            Err(problem) => return self.correct(view, answer, problem),
        };
        if !view.untold().is_empty() {
            return self.tell(view, &draft);
        }
        // An answer without steps was given before the turn was interrupted, and that was taken back.
        let is_last = !self.reviews || draft.steps.is_empty();
        match draft.answer.as_ref().filter(|_| is_last).map(|answer| final_answer(view, answer)) {
            Some(Ok(planned)) => Ok(planned),
            Some(Err(problem)) => self.correct(view, answer, problem),
            None => self.tell(view, &draft),
        }
    }

    /// Tells the model what its steps led to, unless it was told of the same failure too often.
    fn tell(&self, view: &PlanView, draft: &Draft) -> Result<Planned, PlannerError> {
        // What is told is JSON within a text: every quotation mark of it is escaped once more.
        let bytes_of = |step: &Drafted| match view.steps.get(&step.id) {
            Some(StepReport::Succeeded(output)) => 2 * self.asking.output_bytes(view, output),
            Some(StepReport::Failed(failure)) => 2 * json_bytes(&reason(&failure.message)),
            _ => 0,
        };
        let bytes =
            draft.steps.iter().map(|step| bytes_of(step) + text_bytes(step.id.as_str()) + AROUND_A_PART);
        let bytes = bytes.sum::<u64>() + AROUND_A_PART;
        let steps = draft.steps.iter().map(|step| step.id.clone()).collect();
        self.asking.ask(view, self.prompt(view), Say::Steps(steps), bytes)
    }

    /// Tells the model what is wrong with its answer. Of calls it must be told as of calls, or no vendor goes on.
    fn correct(&self, view: &PlanView, answer: &Answer, problem: String) -> Result<Planned, PlannerError> {
        let rejected = answer.calls().map(|call| CallResult {
            call: call.id.clone(),
            tool: call.tool.clone(),
            of: ResultOf::Rejected(problem.clone()),
        });
        let rejected: Vec<CallResult> = rejected.collect();
        if rejected.is_empty() {
            return self.asking.correct(view, self.prompt(view), problem);
        }
        self.asking.may_correct(view, &problem)?;
        let of =
            |result: &CallResult| text_bytes(&problem) + text_bytes(&result.call) + text_bytes(&result.tool);
        let bytes = rejected.iter().map(|result| of(result) + AROUND_A_PART).sum::<u64>() + AROUND_A_PART;
        self.asking.ask(view, self.prompt(view), Say::Results(rejected), bytes)
    }
}

/// Whether something can be taken from an earlier step; of a step of the same plan the plan itself says it.
fn usable(view: &PlanView, needed: &StepId, who: &str) -> Result<(), String> {
    match view.steps.get(needed) {
        None | Some(StepReport::Succeeded(_)) => Ok(()),
        Some(StepReport::Answered { .. }) => {
            Err(format!("`{who}` refers to `{needed}`, and there is no such step"))
        }
        Some(StepReport::Held) => Err(held_back(who, needed)),
        Some(StepReport::Failed(_)) => {
            Err(format!("`{who}` refers to step `{needed}`, which failed: nothing can be taken from it"))
        }
    }
}

fn held_back(who: &str, held: &StepId) -> String {
    format!("`{who}` depends on `{held}`, which is held back until all else has succeeded")
}

/// The turn's answer, made of what is known, when it has the form that the turn wants.
fn final_answer(view: &PlanView, answer: &Template) -> Result<Planned, String> {
    let value = filled(view, answer, &mut { MOST_ANSWER_BYTES })?;
    match view.wants.as_ref().and_then(|form| form.problem_with(&value)) {
        Some(problem) => Err(format!("the answer does not have the form that is wanted: {problem}")),
        None => Ok(Planned::Answer(value)),
    }
}

/// A template of an answer, filled in with at most so many bytes more.
fn filled(view: &PlanView, template: &Template, room: &mut u64) -> Result<Value, String> {
    let value = match template {
        Template::Object(members) => {
            return members
                .iter()
                .map(|(name, member)| Ok((name.clone(), filled(view, member, room)?)))
                .collect();
        }
        Template::List(items) => return items.iter().map(|item| filled(view, item, room)).collect(),
        Template::Value(value) => value,
        Template::Input { pointer } => pointed(&view.input, pointer, "what was asked")?,
        Template::Output { step, pointer } => {
            usable(view, step, "answer")?;
            let output = view.output(step.as_str());
            let output =
                output.ok_or_else(|| format!("`answer` refers to `{step}`, and there is no such step"))?;
            pointed(output, pointer, &format!("the output of step `{step}`"))?
        }
        Template::Context { .. } | Template::Invalid(_) => return Err("the answer can't be made".into()),
    };
    *room = room.checked_sub(json_bytes(value)).ok_or("the answer is too large")?;
    Ok(value.clone())
}

/// What a pointer names in a value; else what there is instead, so that a model finds it.
fn pointed<'a>(value: &'a Value, pointer: &str, what: &str) -> Result<&'a Value, String> {
    value.pointer(pointer).ok_or_else(|| match value.as_object() {
        Some(members) => {
            let names: Vec<&str> = members.keys().take(20).map(String::as_str).collect();
            format!("{what} has nothing at `{pointer}`: it is an object with {}", names.join(", "))
        }
        None => format!("{what} has nothing at `{pointer}`: it is no object"),
    })
}

#[async_trait]
impl Planner for PlanByModel {
    async fn plan(&self, view: PlanView) -> Result<Planned, PlannerError> {
        let Some(LastAnswer { answer, is_new, .. }) = last_answer(&view) else {
            return self.asking.begin(&view, self.prompt(&view));
        };
        // The round after an answer adopts its plan; the one after that comes when the plan's steps have ended.
        if !is_new {
            return self.ended(&view, &answer);
        }
        if !view.untold().is_empty() && answer.calls().next().is_none() {
            return self.asking.steer(&view, self.prompt(&view));
        }
        match self.follow(&view, &answer) {
            Ok(planned @ Planned::Answer(_)) => Ok(planned),
            Ok(planned) => self.asking.gets_on(&view).map(|()| planned),
            Err(problem) => self.correct(&view, &answer, problem),
        }
    }
}
