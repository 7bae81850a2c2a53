//! An evaluation: every case through every variant, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{self, Either, FutureExt};
use futures::stream::{self, StreamExt};
use serde::Serialize;

use super::comparison::{Comparison, VariantRuns};
use super::data_set::{Case, DataSet};
use super::past::{PastCall, PastTurn, Spent};
use super::score::{Scored, Scorer, Seen};
use super::variant::Variant;
use crate::data::Outcome;
use crate::runtime::{Session, Shell, Turn};
use crate::words::{Error, ErrorKind, Result, TurnId};

/// Every case of a data set through every variant.
///
/// The first variant is the base that the others are compared with. Variants run one after another, so that none is in the way
/// of another's latency; cases of a variant run beside each other, as many as may. What fails is a result.
#[must_use = "nothing runs before `run`"]
pub struct Evaluation {
    cases: DataSet,
    variants: Vec<Variant>,
    scorers: Vec<Arc<dyn Scorer>>,
    parallel: usize,
    deadline: Duration,
}

/// How one case went with one variant.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CaseRun {
    /// The case's name.
    pub case: String,
    /// Its tags.
    pub tags: BTreeSet<String>,
    /// How its turn ended; none when it did not.
    pub outcome: Option<Outcome>,
    /// Why there is no outcome; none when there is one.
    pub problem: Option<String>,
    /// The calls that were made or denied, in plan order.
    pub calls: Vec<PastCall>,
    /// The questions that models were asked.
    pub questions: usize,
    /// What the answers used.
    pub spent: Spent,
    /// From the submit to the end, in milliseconds.
    pub latency_ms: u64,
    /// What each scorer says, by its name.
    pub scores: BTreeMap<String, Scored>,
}

impl CaseRun {
    /// How it ended, in a word or some: `answered`, `failed: ..`, `no outcome: ..`.
    pub fn how_it_ended(&self) -> String {
        match &self.outcome {
            Some(Outcome::Answered(_)) => "answered".into(),
            Some(Outcome::Failed(failure)) => format!("failed: {}", failure.message),
            Some(Outcome::Cancelled) => "cancelled".into(),
            Some(Outcome::Expired) => "expired".into(),
            Some(Outcome::Abandoned { .. }) => "abandoned".into(),
            Some(Outcome::Purged) => "purged".into(),
            None => format!("no outcome: {}", self.problem.as_deref().unwrap_or("nobody knows why")),
        }
    }

    /// Whether the turn was answered.
    pub fn is_answered(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Answered(_)))
    }
}

impl Evaluation {
    /// An evaluation of these cases: four at once, a minute for each.
    pub fn new(cases: DataSet) -> Self {
        let (variants, scorers) = (Vec::new(), Vec::new());
        Self { cases, variants, scorers, parallel: 4, deadline: Duration::from_secs(60) }
    }

    /// Adds a variant. The first one is the base.
    pub fn variant(mut self, variant: Variant) -> Self {
        self.variants.push(variant);
        self
    }

    /// Adds a scorer.
    pub fn scorer(mut self, scorer: impl Scorer) -> Self {
        self.scorers.push(Arc::new(scorer));
        self
    }

    /// So many cases run beside each other, at least one.
    pub fn parallel(mut self, cases: usize) -> Self {
        self.parallel = cases.max(1);
        self
    }

    /// How long a turn of a case may take. It is the turn's own deadline too, so that it spends nothing after.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs everything.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when there is no variant or no case, or when two variants or two scorers have one name. What a
    /// variant says when it is opened: its error names it. What fails in a case is no error.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the shell of a variant open, and its turns go on until their deadline.
    pub async fn run(self) -> Result<Comparison> {
        self.check()?;
        let Self { cases, variants, scorers, parallel, deadline } = self;
        let mut runs = Vec::new();
        for variant in variants {
            let named = |error: Error| {
                let message = format!("variant `{}` can't be opened: {error}", variant.name);
                Error::new(error.kind(), message)
            };
            let shell = (variant.open)().await.map_err(named)?;
            let run = |case| one(&shell, &*variant.ask, case, &scorers, deadline);
            let of_variant = stream::iter(cases.cases()).map(run).buffered(parallel).collect().await;
            // What a shell says when it leaves says nothing of its cases.
            if let Err(error) = shell.shutdown().await {
                tracing::warn!(variant = variant.name, %error, "the shell of a variant did not shut down well");
            }
            runs.push(VariantRuns { name: variant.name, runs: of_variant });
        }
        let scorers = scorers.iter().map(|scorer| scorer.name().to_owned()).collect();
        Ok(Comparison { variants: runs, scorers })
    }

    fn check(&self) -> Result<()> {
        let twice = |what: &str, names: Vec<&str>| {
            let mut seen = BTreeSet::new();
            let twice = names.into_iter().find(|name| !seen.insert(*name));
            twice.map(|name| format!("two {what}s are called `{name}`: give each its own name"))
        };
        let problem = if self.variants.is_empty() {
            Some("there is no variant: add one with `Evaluation::variant`".to_owned())
        } else if self.cases.cases().is_empty() {
            Some("there is no case: an evaluation of nothing would pass".to_owned())
        } else {
            let variants = self.variants.iter().map(|variant| variant.name.as_str()).collect();
            let scorers = self.scorers.iter().map(|scorer| scorer.name()).collect();
            twice("variant", variants).or_else(|| twice("scorer", scorers))
        };
        problem.map_or(Ok(()), |problem| Err(Error::new(ErrorKind::InvalidInput, problem)))
    }
}

/// One case, with its scores.
async fn one(
    shell: &Shell,
    ask: &(dyn Fn(&Case) -> crate::runtime::Request + Send + Sync),
    case: &Case,
    scorers: &[Arc<dyn Scorer>],
    deadline: Duration,
) -> CaseRun {
    let nothing = Spent { input_tokens: None, output_tokens: None, cost_nano_usd: None };
    let mut run = CaseRun {
        case: case.name.clone(),
        tags: case.tags.clone(),
        outcome: None,
        problem: None,
        calls: Vec::new(),
        questions: 0,
        spent: nothing,
        latency_ms: 0,
        scores: BTreeMap::new(),
    };
    if let Err(error) = measure(shell, ask, case, deadline, &mut run).await {
        run.problem = Some(error.to_string());
    }
    for scorer in scorers {
        let scored = AssertUnwindSafe(scorer.score(Seen::new(case, &run))).catch_unwind().await;
        let scored = scored.unwrap_or_else(|_| Scored::unknown("the scorer panicked"));
        run.scores.insert(scorer.name().to_owned(), scored);
    }
    run
}

async fn measure(
    shell: &Shell,
    ask: &(dyn Fn(&Case) -> crate::runtime::Request + Send + Sync),
    case: &Case,
    deadline: Duration,
    run: &mut CaseRun,
) -> Result<()> {
    // A name that no other run has, so that a shell on a file may be evaluated again.
    let name = shell.core.ids.make::<TurnId>();
    let session = shell.session(format!("evaluation-{name}"))?;
    for input in &case.before {
        let turn = session.submit(input.clone()).deadline(deadline).await?;
        within(shell, deadline, &turn).await?;
    }
    let clock = &shell.core.clock;
    let begun = clock.monotonic();
    let turn = session.submit(ask(case)).deadline(deadline).await?;
    let ended = within(shell, deadline, &turn).await;
    run.latency_ms = u64::try_from(clock.monotonic().since(begun).as_millis()).unwrap_or(u64::MAX);
    tell(shell, &session, &turn, run).await?;
    run.outcome = Some(ended?);
    Ok(())
}

/// Waits for the outcome, and not much longer than the turn may take.
pub(super) async fn within(shell: &Shell, deadline: Duration, turn: &Turn) -> Result<Outcome> {
    let grace = Duration::from_secs(1);
    let late = shell.core.clock.sleep(deadline.saturating_add(grace));
    match future::select(Box::pin(turn.outcome()), late).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(_) => {
            let message = format!("the turn did not end within its {} ms", deadline.as_millis());
            Err(Error::new(ErrorKind::Unavailable, message))
        }
    }
}

/// Tells what the journal says of the turn.
async fn tell(shell: &Shell, session: &Session, turn: &Turn, run: &mut CaseRun) -> Result<()> {
    let turns = PastTurn::of_session(shell, session.id().await?).await?;
    if let Some(past) = turns.into_iter().find(|past| past.turn == turn.id()) {
        (run.questions, run.spent, run.calls) = (past.questions.len(), past.spent(), past.calls);
    }
    Ok(())
}
