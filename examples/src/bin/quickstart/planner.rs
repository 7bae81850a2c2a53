//! The planner: first the scans, then, from what they found, the acts.

use agent_shell_core::data::PlanError;
use agent_shell_core::{Plan, PlanView, Planned, Planner, PlannerError, Step, Template, from, input, output};
use async_trait::async_trait;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::changes::{Changes, Remembered};
use crate::scan::Review;
use crate::state::briefing_of;
use crate::tools::names;

/// What the ids of steps that open a ticket begin with; the finding's id follows.
const OPEN: &str = "open-";
/// What the ids of steps that close a ticket begin with.
const CLOSE: &str = "close-";

/// The steps that scan, each with its tool.
const SCANS: [(&str, &str); 5] = [
    ("files", names::FILES),
    ("languages", names::LANGUAGES),
    ("headings", names::HEADINGS),
    ("notes", names::NOTES),
    ("history", names::HISTORY),
];

/// Plans a review in two rounds; in three, when there are tickets to open and tickets to close.
pub(crate) struct Reviewer {
    /// The state folder, in which briefings are published.
    pub(crate) state: String,
}

/// A turn's input.
#[derive(Debug, serde::Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) folder: String,
    pub(crate) past: Remembered,
}

#[async_trait]
impl Planner for Reviewer {
    async fn plan(&self, view: PlanView) -> Result<Planned, PlannerError> {
        match view.round {
            1 => Ok(Planned::Next(scans()?)),
            _ => self.acts(&view),
        }
    }
}

/// All scans at once: none depends on another.
fn scans() -> Result<Plan, PlanError> {
    let folder = || Template::object([("folder", input("/folder"))]);
    Plan::new(SCANS.map(|(step, tool)| Step::tool(step, tool, folder())))
}

impl Reviewer {
    /// Every ticket in parallel, then the briefing, which names them, then the held step that publishes it. Nothing is
    /// closed before all that is new is on file, and so nothing new is withdrawn before what was closed is open again.
    fn acts(&self, view: &PlanView) -> Result<Planned, PlannerError> {
        let Assignment { folder, past } = Assignment::deserialize(&*view.input)?;
        let review = Review {
            files: found(view, "files")?,
            languages: found(view, "languages")?,
            headings: found(view, "headings")?,
            notes: found(view, "notes")?,
            history: found(view, "history")?,
            folder,
        };
        let briefing = briefing_of(&self.state, &review.folder);
        let changes = Changes::between(&review, &past);
        let open = |finding: &crate::findings::Finding| {
            let input = [("finding", finding.id.as_str()), ("title", &finding.title)];
            Step::tool(format!("{OPEN}{}", finding.id), names::OPEN_TICKET, about(input))
        };
        let close = |known: &crate::findings::Known| {
            let input = [("finding", known.id.as_str()), ("title", &known.title)];
            Step::tool(format!("{CLOSE}{}", known.id), names::CLOSE_TICKET, about(input))
        };
        let opened: Vec<Step> = changes.to_open.iter().map(open).collect();
        let closed: Vec<Step> = changes.to_close.iter().map(close).collect();
        if view.round == 2 && !opened.is_empty() && !closed.is_empty() {
            return Ok(Planned::Next(view.next_plan().steps(opened).build()?));
        }
        let tickets = Template::list(opened.iter().map(|step| output(step.id.as_str())));
        let review = SCANS.map(|(step, _)| (step, output(step)));
        let review = Template::object(review.into_iter().chain([("folder", input("/folder"))]));
        let draft = Template::object([("review", review), ("past", input("/past")), ("opened", tickets)]);
        let write =
            Step::tool("briefing", names::WRITE, draft).after(closed.iter().map(|step| step.id.as_str()));
        let publish = Template::object([
            ("path", Template::from(briefing)),
            ("digest", from("briefing", "/digest")),
            ("tickets", from("briefing", "/told/opened")),
            ("text", from("briefing", "/text")),
        ]);
        let publish = Step::tool("publish", names::PUBLISH, publish);
        let answer = ["digest", "told", "reported"].map(|part| (part, from("briefing", format!("/{part}"))));
        let opened = opened.into_iter().filter(|_| view.round == 2);
        let steps = opened.chain(closed).chain([write, publish]);
        Ok(Planned::Whole(view.next_plan().steps(steps).answer(Template::object(answer)).build()?))
    }
}

fn about<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Template {
    let texts = texts.into_iter().map(|(name, text)| (name, Template::from(text)));
    Template::object(texts.chain([("folder", input("/folder"))]))
}

/// What a scan found.
fn found<T: DeserializeOwned>(view: &PlanView, step: &str) -> Result<T, PlannerError> {
    Ok(T::deserialize(view.output(step).unwrap_or(&Value::Null))?)
}
