//! Answering what a turn asks: whether to publish, and what became of a call that was cut off.

use std::time::Duration;

use agent_shell_core::backends::SystemClock;
use agent_shell_core::runtime::Needs;
use agent_shell_core::words::{Clock, StepId};
use agent_shell_core::{ErrorKind, Failure, Outcome, Resolution, Rest, Turn};

use crate::Trouble;
use crate::ask::{Answer, Operator, Question};
use crate::desk::Desk;
use crate::progress::State;
use crate::tools::{self, Publication};

/// How long an answer that was posted is given to arrive.
const PAUSE: Duration = Duration::from_millis(20);

/// What is said to a turn until it ends.
pub(crate) struct Conversation<'a> {
    pub(crate) turn: &'a Turn,
    pub(crate) operator: &'a Operator,
    pub(crate) desk: &'a Desk,
}

impl Conversation<'_> {
    /// Answers what the turn asks. None when it rests, and nobody is there to answer.
    pub(crate) async fn until_end(&self) -> Result<Option<Outcome>, Trouble> {
        let mut answered = Vec::new();
        loop {
            match self.turn.outcome().await {
                Ok(outcome) => return Ok(Some(outcome)),
                Err(error) if error.kind() == ErrorKind::AtRest => {}
                Err(error) => return Err(error.into()),
            }
            for rest in self.turn.rests().await? {
                // An answer takes a moment to arrive; until then the rest is still listed.
                if answered.contains(&rest) {
                    continue;
                }
                let is_again = answered.iter().any(|earlier: &Rest| earlier.step == rest.step);
                if self.answer(&rest, is_again).await? == Answer::Nobody {
                    return Ok(None);
                }
                answered.push(rest);
            }
            SystemClock::new().sleep(PAUSE).await;
        }
    }

    async fn answer(&self, rest: &Rest, is_again: bool) -> Result<Answer, Trouble> {
        match &rest.needs {
            Needs::Approval { .. } => self.approve().await,
            Needs::Resolution { .. } => self.resolve(rest).await,
            Needs::Undo { undoes, failure, .. } => self.undo(rest, undoes, failure, is_again).await,
            _ => Err(Trouble::Unknown(format!("step `{}` waits for something new", rest.step))),
        }
    }

    async fn approve(&self) -> Result<Answer, Trouble> {
        let Some(approval) = self.turn.approval().await? else { return Ok(Answer::Yes) };
        let Publication { path, digest, tickets, text } =
            serde_json::from_value((*approval.shown).clone())
                .map_err(|error| Trouble::Unknown(error.to_string()))?;
        self.desk.progress.step(approval.step.as_str(), State::Held("waits for an approval".to_owned()));
        let lines = text.lines().count();
        let about = vec![
            format!("The briefing is ready: {tickets} new tickets, {lines} lines."),
            format!("  to      {path}"),
            format!("  SHA-256 {digest}"),
        ];
        let answer = self.ask("Publish it?", about, Some(text)).await;
        match answer {
            Answer::Yes => approval.approve(self.operator.actor()).await?,
            Answer::No => approval.deny("it was not approved", self.operator.actor()).await?,
            Answer::Nobody => {}
        }
        Ok(answer)
    }

    /// A call was cut off, and nobody knows what became of it: the ledger does. If the call is not there it may still
    /// be on its way, until the time that the runtime names.
    async fn resolve(&self, rest: &Rest) -> Result<Answer, Trouble> {
        let Needs::Resolution { tool: Some(tool), input, key, not_applied_from, .. } = &rest.needs else {
            return Err(Trouble::Unknown(format!("step `{}` is in doubt, and calls no tool", rest.step)));
        };
        let clock = SystemClock::new();
        let done = loop {
            let is_late = clock.now() >= *not_applied_from;
            let found = self.desk.ledger.lookup(key).await?;
            match tools::carried_out(tool.as_str(), input, &found) {
                None if !is_late => {
                    let note =
                        format!("`{}` was cut off, and may still arrive: waiting to look again", rest.step);
                    self.desk.progress.note(&note);
                    clock.sleep(not_applied_from.since(clock.now())).await;
                }
                done => break done,
            }
        };
        let (found, question, resolution) = match done {
            Some(output) => ("was carried out", "Take it as done?", Resolution::Applied(output)),
            None => ("was not carried out", "Do it again?", Resolution::Retry),
        };
        let about = vec![format!("`{}` was cut off. The ledger says that it {found}.", rest.step)];
        let answer = self.ask(question, about, None).await;
        let resolution = match (answer, resolution) {
            (Answer::Nobody, _) => return Ok(answer),
            (Answer::No, Resolution::Applied(_)) => return Ok(Answer::Nobody),
            (Answer::No, _) => Resolution::GiveUp,
            (Answer::Yes, resolution) => resolution,
        };
        if let Resolution::Applied(_) = resolution {
            let finished = tools::finish(tool.as_str(), input).await;
            finished.map_err(|error| Trouble::Unknown(format!("`{}`: {error}", rest.step)))?;
        }
        self.turn.resolve(&rest.step, resolution, self.operator.actor()).await?;
        Ok(answer)
    }

    /// What undoes a step keeps failing. --yes tries it again, and not for ever.
    async fn undo(
        &self,
        rest: &Rest,
        undoes: &StepId,
        failure: &Failure,
        is_again: bool,
    ) -> Result<Answer, Trouble> {
        let about = format!("`{undoes}` is not undone: {}", failure.message);
        if is_again && self.operator.is_yes() {
            self.desk.progress.note(&about);
            return Ok(Answer::Nobody);
        }
        let answer = self.ask("Try again to undo it? No leaves it as it is.", vec![about], None).await;
        let resolution = match answer {
            Answer::Yes => Resolution::Retry,
            Answer::No => Resolution::GiveUp,
            Answer::Nobody => return Ok(answer),
        };
        self.turn.resolve(&rest.step, resolution, self.operator.actor()).await?;
        Ok(answer)
    }

    async fn ask(&self, ask: &'static str, about: Vec<String>, text: Option<String>) -> Answer {
        if self.operator.is_yes() {
            about.iter().for_each(|line| self.desk.progress.note(line));
            self.desk.progress.note(&format!("{ask} Yes, as --yes says."));
            return Answer::Yes;
        }
        self.desk.progress.rest();
        self.operator.answer(Question { ask, about, text }).await
    }
}
