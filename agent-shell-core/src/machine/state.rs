//! The folded state of a session: what its records say, and nothing else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::children::Child;
use super::context::Context;
use super::forked::Forked;
use super::latency::Latency;
use super::talk::Talk;
use crate::data::{
    Action, Answer, AnswerFormat, Ceiling, ChildOf, EffectClass, Failure, Message, OpenAct, PlannerRef, Step,
    Template, ToolTerms, TurnRequest, WaitFor,
};
use crate::words::{
    ContextKey, Digest, Epoch, PlannerName, Pseudonym, Seq, SessionId, SessionName, SignalName, StepId,
    Subject, Timestamp, ToolName, TurnId,
};

/// What the records of a session add up to. Equal records give equal states, whoever folds them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Folded {
    /// The session.
    pub session: SessionId,
    /// The place of the last record folded.
    pub seq: Seq,
    /// The epoch of the latest record of a turn.
    #[serde(default)]
    pub epoch: Epoch,
    /// Its name and subject, once its first record is folded.
    pub opened: Option<(SessionName, Subject)>,
    /// Whose child it is; none for a session that a host opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child_of: Option<Box<ChildOf>>,
    /// Who plans turns that name no planner, once the session was handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handed_to: Option<PlannerName>,
    /// How many turns have started.
    pub turns: u64,
    /// Signals that no step has taken yet, in the order in which they came.
    pub signals: VecDeque<(SignalName, Arc<Value>)>,
    /// What was said to models and by them.
    #[serde(default)]
    pub talk: Talk,
    /// Where it comes from, when it is a fork.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked: Option<Box<Forked>>,
    /// What came while a turn ran, and no plan of it took up: the next turns, before any in the mailbox.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub next: VecDeque<Steer>,
    /// Whether its subject was erased: nothing follows.
    #[serde(default)]
    pub purged: bool,
    /// The turn that runs or rests. A snapshot is taken only between turns.
    #[serde(skip)]
    pub turn: Option<TurnState>,
}

impl Folded {
    /// The state of a session without records.
    pub fn new(session: SessionId) -> Self {
        Self {
            session,
            seq: Seq::ZERO,
            epoch: Epoch::ZERO,
            opened: None,
            child_of: None,
            handed_to: None,
            turns: 0,
            signals: VecDeque::new(),
            talk: Talk::default(),
            forked: None,
            next: VecDeque::new(),
            purged: false,
            turn: None,
        }
    }
}

/// What came while a turn ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Steer {
    /// What was said, and the turn that it becomes when no plan takes it up.
    pub request: Arc<TurnRequest>,
    /// Who said it.
    pub actor: Pseudonym,
    /// When it was posted.
    pub posted: Timestamp,
    /// Whether it gives up what had not begun.
    pub at_once: bool,
    /// How many rounds of planning were done when it came.
    pub round: u32,
}

/// A turn that runs or rests.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnState {
    /// Its id.
    pub id: TurnId,
    /// Its input.
    pub input: Arc<Value>,
    /// Who plans it.
    pub planner: PlannerRef,
    /// Who submitted it.
    pub actor: Pseudonym,
    /// When it must have ended.
    pub deadline: Option<Timestamp>,
    /// The form that its answer must have.
    pub wants: Option<AnswerFormat>,
    /// What it may spend.
    pub budget: Option<Ceiling>,
    /// How long its stages may take, and what is told of that; none where nothing bounds them.
    pub latency: Option<Box<Latency>>,
    /// Whether its input is made of untrusted content.
    pub untrusted_input: bool,
    /// What it answered its parent's turn, when it is a child's and can be undone.
    pub answered: Option<Arc<Value>>,
    /// The number of the first message of the conversation that belongs to it.
    pub talk_from: u64,
    /// How many answers in a row a model was told it could not use.
    pub corrections: u32,
    /// How often each call was told to have failed in the same way: the same tool, arguments and error.
    pub failing: BTreeMap<Digest, u32>,
    /// Rounds of planning that are done.
    pub round: u32,
    /// Whether the planner is asked again when all steps are done.
    pub more: bool,
    /// What the planner answered instead of a further plan.
    pub answer: Option<Arc<Value>>,
    /// The answer of the latest plan, when it gives one.
    pub answer_template: Option<Template>,
    /// Where the steps of the latest plan begin.
    pub latest: usize,
    /// The steps of all rounds, in plan order. A step is known by its place here.
    pub steps: Vec<StepState>,
    /// The place of each step.
    pub index: BTreeMap<StepId, usize>,
    /// For each step, the steps that depend on it.
    pub dependents: Vec<Vec<usize>>,
    /// For each step, how many of its dependencies have not succeeded yet.
    pub missing: Vec<usize>,
    /// Steps that are `Pending`, not held, and have all that they depend on.
    pub ready: BTreeSet<usize>,
    /// Steps that need the output of one that failed, so that they can only fail.
    pub skipped: BTreeSet<usize>,
    /// Held steps that have not ended, in plan order.
    pub held: BTreeSet<usize>,
    /// Steps that are neither `Pending` nor ended.
    pub active: BTreeSet<usize>,
    /// How many steps have ended.
    pub ended: usize,
    /// Steps that took effect, that have a compensation, and of which nothing says yet that they are to be undone.
    pub to_undo: BTreeSet<usize>,
    /// The steps that were undone, in that order.
    pub undone: Vec<usize>,
    /// The terms of the tools that the plans use.
    pub terms: BTreeMap<ToolName, ToolTerms>,
    /// The context.
    pub context: Context,
    /// The keys of the context whose values are made of untrusted content.
    pub untrusted_keys: BTreeSet<ContextKey>,
    /// What came while it ran.
    pub steers: Vec<Steer>,
    /// How many of these plans have taken up.
    pub taken_up: usize,
    /// How many of these models were told.
    pub told: usize,
    /// How many of these have interrupted it.
    pub interrupted: u32,
    /// How often a planner that is at work looks at what is not so any more, and its answer counts for nothing: at each
    /// interruption, and when something is withdrawn that no plan has taken up.
    pub plans_dropped: u32,
    /// Rounds of planning up to this one are not pursued any more: what of them had begun may fail.
    pub given_up: u32,
    /// Steps that are given up, and of which no record says so yet.
    pub dropped: BTreeSet<usize>,
    /// Bytes of all outputs.
    pub bytes: usize,
    /// How many records in a row say that owners went away without progress.
    pub interruptions: u32,
    /// Nothing begins before the record at this place is durable: the latest of them, or the turn's first when owners
    /// had gone away before it.
    pub begins_after: Seq,
    /// Whether what touches the world is not done: the session is a fork without effects.
    pub effects_off: bool,
    /// What is added to the place of a record where a handle names it: a fork goes on with the numbers of its parent.
    pub handles_from: u64,
    /// Set once the turn can only end: nothing new starts.
    pub ending: Option<Ending>,
}

/// Why a turn can only end.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// A step or the planner failed.
    Failed(Failure),
    /// Its deadline passed.
    Expired,
    /// Somebody cancelled it.
    Cancelled,
}

/// A step and how far it is.
#[derive(Debug, Clone, PartialEq)]
pub struct StepState {
    /// What the plan says.
    pub step: Step,
    /// How far it is.
    pub phase: Phase,
    /// Its input, once fixed.
    pub input: Option<Arc<Value>>,
    /// Its idempotency key, once fixed.
    pub key: Option<Arc<str>>,
    /// The latest attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// Attempts that failed and count against the retries.
    pub failures: u32,
    /// Attempts that ended with their process.
    pub interruptions: u32,
    /// When the first attempt was recorded: from then on the target may know the key.
    pub first: Option<Timestamp>,
    /// The deadline of the latest attempt.
    pub deadline: Timestamp,
    /// Whether an attempt may have taken effect although no answer says so.
    pub unknown: bool,
    /// What the model said, once it answered.
    pub answer: Option<Arc<Answer>>,
    /// The number by which a handle names what it brought: the place of the record that ended it, counted on from the
    /// parent's in a fork.
    pub ended: Seq,
    /// Whether all that was done for it was done by the session from which this one is forked.
    pub of_parent: bool,
    /// The round of planning that brought it; 0 for a step that undoes another.
    pub round: u32,
    /// The place of the step that it undoes.
    pub undoes: Option<usize>,
    /// Whether it took effect and is not undone.
    pub applied: bool,
    /// The place of the record by which it waits or rests: it may do so more than once.
    pub rested: Seq,
    /// The child that does it, or that it undoes.
    pub child: Option<Box<Child>>,
    /// What guards ruled on its question or its call.
    pub before: Option<Arc<RuledOn>>,
    /// What guards ruled on its result or its answer.
    pub after: Option<Arc<RuledOn>>,
    /// What guards put in the place of what its question says.
    pub said: Option<Arc<Vec<Message>>>,
    /// The digest of what its question asked, when it was answered and guards have not ruled on the answer yet.
    pub view: Option<Box<Digest>>,
    /// Whether what it brought is untrusted: it comes from outside, or is made of what does.
    pub untrusted: bool,
    /// Of an optimistic step whose input is fixed, or which brought something: the version of the context as of which what it
    /// has read was so.
    pub read: u64,
}

/// What guards ruled, as the records say.
#[derive(Debug, Clone, PartialEq)]
pub struct RuledOn {
    /// The digest of what they were shown.
    pub digest: Digest,
    /// Why nothing may follow, if so.
    pub denied: Option<String>,
    /// Why a person must approve, if so.
    pub asked: Option<String>,
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// Not begun, as far as the records say. A `Pure` step stays here while it runs.
    Pending,
    /// Waits for an approval, a signal or an instant.
    Waiting(WaitFor),
    /// Its call was approved.
    Approved,
    /// The intent of an attempt is recorded.
    Started {
        /// By the owner of this epoch.
        epoch: Epoch,
        /// At this place: the act begins once it is durable.
        seq: Seq,
    },
    /// A child does it.
    Delegated,
    /// Between two attempts.
    Paused {
        /// When the next may begin.
        until: Timestamp,
    },
    /// It is being asked what became of an attempt.
    Probing {
        /// Not before.
        from: Timestamp,
        /// How often it was asked in vain.
        tries: u32,
    },
    /// An operator must say what became of it.
    InDoubt {
        /// What is known.
        reason: String,
        /// From when on it may be resolved as not applied.
        not_applied_from: Timestamp,
    },
    /// It brought this, on which guards have not ruled yet: the output of a tool, or the JSON of an answer.
    Returned(Arc<Value>),
    /// It undoes another step and keeps failing: a person must say how it goes on.
    Parked {
        /// Why it failed last.
        failure: Failure,
    },
    /// It succeeded, with this output.
    Succeeded(Arc<Value>),
    /// It failed.
    Failed(Failure),
}

impl Phase {
    /// Whether the step has ended.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Succeeded(_) | Self::Failed(_))
    }
}

impl StepState {
    /// A step that has not begun.
    pub fn new(step: Step) -> Self {
        Self {
            step,
            phase: Phase::Pending,
            input: None,
            key: None,
            attempt: 0,
            failures: 0,
            interruptions: 0,
            first: None,
            deadline: Timestamp::default(),
            unknown: false,
            answer: None,
            ended: Seq::ZERO,
            of_parent: false,
            child: None,
            before: None,
            after: None,
            said: None,
            view: None,
            untrusted: false,
            read: 0,
            round: 0,
            undoes: None,
            applied: false,
            rested: Seq::ZERO,
        }
    }
}

impl TurnState {
    /// Whether a step does not go on because the turn can only end. What undoes others does.
    pub fn stops(&self, place: usize) -> bool {
        self.ending.is_some() && self.steps[place].undoes.is_none()
    }

    /// The terms of the tool that a step calls; none for a step that waits.
    pub fn terms_of(&self, place: usize) -> Option<&ToolTerms> {
        match &self.steps[place].step.action {
            Action::Tool { name, .. } => self.terms.get(name),
            _ => None,
        }
    }

    /// The class of a step. A wait changes nothing.
    pub fn class_of(&self, place: usize) -> EffectClass {
        self.terms_of(place).map_or(EffectClass::Pure, |terms| terms.class)
    }

    /// Whether a step is held until all else has succeeded.
    pub fn is_held(&self, place: usize) -> bool {
        self.steps[place].step.held || self.terms_of(place).is_some_and(|terms| terms.held)
    }

    /// Whether every step that is not held has ended, and no further round is due.
    pub fn all_else_done(&self) -> bool {
        !self.more && self.round > 0 && self.ended + self.held.len() == self.steps.len()
    }

    /// Whether the planner owes the next round.
    pub fn plan_is_due(&self) -> bool {
        let done = || self.more && self.ended + self.held.len() == self.steps.len();
        // What had begun when it was interrupted ends first, held back or not.
        let is_free = self.given_up < self.round || self.active.is_empty();
        self.ending.is_none()
            && self.answer.is_none()
            && self.answered.is_none()
            && is_free
            && (self.round == 0 || done())
    }

    /// The acts of which it is not known whether they took effect.
    pub fn open_acts(&self) -> Vec<OpenAct> {
        let open = self.active.iter().filter_map(|&place| {
            let step = &self.steps[place];
            let begun =
                matches!(step.phase, Phase::Started { .. } | Phase::Probing { .. } | Phase::InDoubt { .. });
            let Action::Tool { name, .. } = &step.step.action else { return None };
            // The parent tells of its own.
            if step.of_parent {
                return None;
            }
            let key = step.key.as_deref().filter(|_| begun || step.unknown)?.to_owned();
            Some(OpenAct::new(name.clone(), self.class_of(place), key, step.attempt, step.deadline))
        });
        open.collect()
    }

    /// The output of a step that succeeded.
    pub fn output(&self, step: &StepId) -> Option<&Arc<Value>> {
        match &self.steps[*self.index.get(step)?].phase {
            Phase::Succeeded(output) => Some(output),
            _ => None,
        }
    }

    /// What the turn answers once all its steps have succeeded.
    ///
    /// # Errors
    /// What the answer's template misses.
    pub(super) fn final_answer(&self, most_bytes: usize) -> Result<Arc<Value>, String> {
        if let Some(answer) = &self.answer {
            return Ok(answer.clone());
        }
        if let Some(template) = &self.answer_template {
            return super::resolve::resolve(template, self, most_bytes).map(Arc::new);
        }
        let mut taken = BTreeSet::new();
        for step in &self.steps[self.latest..] {
            taken.extend(step.step.dependencies());
        }
        let sinks: Vec<&StepState> =
            self.steps[self.latest..].iter().filter(|step| !taken.contains(&step.step.id)).collect();
        let outputs = sinks.iter().filter_map(|sink| Some((sink, self.output(&sink.step.id)?)));
        if let [only] = sinks[..] {
            return Ok(self.output(&only.step.id).cloned().unwrap_or_default());
        }
        let answer: Value =
            outputs.map(|(sink, output)| (sink.step.id.to_string(), (**output).clone())).collect();
        match super::resolve::too_large(&answer, most_bytes) {
            Some(problem) => Err(format!("the answer {problem}")),
            None => Ok(Arc::new(answer)),
        }
    }

    /// Whether a template of a later round may name this step.
    pub(super) fn knows(&self, step: &StepId) -> bool {
        self.index.contains_key(step)
    }

    /// The part of a step's input that is a template, with the default for a step without one.
    pub(super) fn template_of(&self, place: usize) -> Option<&Template> {
        self.steps[place].step.template()
    }
}
