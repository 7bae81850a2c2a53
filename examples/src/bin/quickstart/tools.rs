//! The tools. The constructor of each says what may happen when it is called twice, and `compensated_by` what undoes it
//! should the run fail.

mod tickets;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::{Call, Tool, ToolError, Undo};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::briefing::digest;
use crate::changes::{Changes, Draft, Remembered};
use crate::crash::Stage;
use crate::desk::Desk;
use crate::findings::Known;
use crate::ledger::{Found, LedgerError, Ticket};
use crate::progress::State;
use crate::scan::{self, Folder, FolderError, History, Review};
use crate::state::Prepared;

use tickets::About;

/// The names by which plans call the tools.
pub(crate) mod names {
    pub(crate) const FILES: &str = "scan_files";
    pub(crate) const LANGUAGES: &str = "scan_languages";
    pub(crate) const HEADINGS: &str = "scan_headings";
    pub(crate) const NOTES: &str = "scan_notes";
    pub(crate) const HISTORY: &str = "scan_history";
    pub(crate) const OPEN_TICKET: &str = "open_ticket";
    pub(crate) const CLOSE_TICKET: &str = "close_ticket";
    pub(crate) const WITHDRAW_TICKET: &str = "withdraw_ticket";
    pub(crate) const REOPEN_TICKET: &str = "reopen_ticket";
    pub(crate) const WRITE: &str = "write_briefing";
    pub(crate) const PUBLISH: &str = "publish";

    /// What plans may call. What undoes a call is called by the runtime alone.
    pub(crate) const FOR_PLANS: [&str; 9] =
        [FILES, LANGUAGES, HEADINGS, NOTES, HISTORY, OPEN_TICKET, CLOSE_TICKET, WRITE, PUBLISH];
}

/// A folder with a million files takes its time.
const SCAN_DEADLINE: Duration = Duration::from_secs(600);
/// After a crash an operator has to wait so long, and a little longer, before a publication that the ledger does not
/// know may be made again.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(3);

/// All tools.
pub(crate) fn all(desk: &Arc<Desk>) -> Vec<Tool> {
    vec![
        scan(desk, names::FILES, "files", scan::files, |found| format!("{} files", found.files)),
        scan(desk, names::LANGUAGES, "languages", scan::languages, |found| {
            format!("{} languages", found.languages.len())
        }),
        scan(desk, names::HEADINGS, "headings", scan::headings, |found| {
            format!("{} documents", found.documents.items.len())
        }),
        scan(desk, names::NOTES, "notes", scan::notes, |found| format!("{} notes", found.notes.items.len())),
        scan(
            desk,
            names::HISTORY,
            "history",
            |folder| Ok(scan::history(folder)),
            |found| match found {
                History::Commits(commits) => format!("{} commits", commits.len()),
                History::Absent { reason } => reason.clone(),
            },
        ),
        tickets::open(desk),
        tickets::close(desk),
        tickets::withdraw(desk),
        tickets::reopen(desk),
        write_briefing(desk),
        publish(desk),
    ]
}

#[derive(Deserialize, JsonSchema)]
struct Scan {
    folder: String,
}

/// Pure: it reads, and can be run again at will.
fn scan<T: Serialize + Send + 'static>(
    desk: &Arc<Desk>,
    name: &str,
    step: &'static str,
    run: fn(&Folder) -> Result<T, FolderError>,
    found: fn(&T) -> String,
) -> Tool {
    let desk = Arc::clone(desk);
    let tool = Tool::pure(
        name,
        format!("Reviews the {step} of a folder"),
        move |Scan { folder }: Scan, call: Call| {
            let desk = Arc::clone(&desk);
            async move {
                desk.fuse.passes(Stage::Scanning);
                desk.show(&folder, step, State::Running(String::new()));
                let (opener, path) = (Arc::clone(&desk), folder.clone());
                let result = blocking(move || run(&*opener.open(call.turn, &path)?)).await?;
                desk.show(
                    &folder,
                    step,
                    match &result {
                        Ok(result) => State::Done(found(result)),
                        Err(error) => State::Failed(error.to_string()),
                    },
                );
                desk.fuse.passes(Stage::Scanning);
                result.map_err(|error| ToolError::refused(error.to_string()))
            }
        },
    );
    tool.attempt_deadline(SCAN_DEADLINE)
}

#[derive(Deserialize, JsonSchema)]
struct Material {
    #[schemars(with = "Value")]
    review: Review,
    #[schemars(with = "Value")]
    past: Remembered,
    #[schemars(with = "Vec<Value>")]
    opened: Vec<Known>,
}

/// Pure: the text is made of the input alone.
fn write_briefing(desk: &Arc<Desk>) -> Tool {
    let desk = Arc::clone(desk);
    Tool::pure(names::WRITE, "Writes the briefing", move |material: Material, _: Call| {
        let desk = Arc::clone(&desk);
        async move {
            let Material { review, past, opened } = material;
            if !opened.is_empty() {
                desk.show(&review.folder, "tickets", State::Done(format!("{} filed", opened.len())));
            }
            desk.fuse.passes(Stage::Publishing);
            Ok::<Draft, ToolError>(Changes::between(&review, &past).draft(&review, &past, &opened))
        }
    })
}

/// What is published, in full: it is what an approval is about.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Publication {
    pub(crate) path: String,
    /// The SHA-256 of the text.
    pub(crate) digest: String,
    /// Tickets that were opened for it.
    pub(crate) tickets: u64,
    pub(crate) text: String,
}

/// Irreversible: what is out is out, and whoever reads it does not know our keys. It is held until all else is done,
/// and asks first.
///
/// The briefing counts as published when the ledger says so, and only then stands where people read it: refused, it
/// leaves nothing. Should this be cut off between the two, whoever learns from the ledger that it is published puts it there.
fn publish(desk: &Arc<Desk>) -> Tool {
    let desk = Arc::clone(desk);
    let tool =
        Tool::irreversible(names::PUBLISH, "Publishes the briefing", move |what: Publication, call: Call| {
            let desk = Arc::clone(&desk);
            async move {
                desk.fuse.passes(Stage::Publishing);
                if digest(&what.text) != what.digest {
                    return Err(ToolError::refused("the text is not the one that the digest names"));
                }
                let (path, text) = (what.path.clone(), what.text);
                let draft = blocking(move || Prepared::write(Path::new(&path), &text)).await?;
                let draft = draft.map_err(|error| {
                    let path = &what.path;
                    ToolError::refused(format!("{path} can't be written ({error}); nothing was published"))
                })?;
                desk.fuse.passes(Stage::Publishing);
                let published = desk.ledger.publish(call.key(), &what.path, &what.digest).await;
                let published = published.map_err(|error| {
                    desk.progress.step("publish", State::Failed(error.to_string()));
                    what_is_known(error)
                })?;
                blocking(move || draft.put_in_place()).await??;
                desk.progress.step("publish", State::Done(what.path));
                desk.fuse.passes(Stage::Publishing);
                Ok(json!({ "times": published.times }))
            }
        });
    tool.ask_first().held().attempt_deadline(PUBLISH_DEADLINE)
}

/// The output of a call that was cut off, from what the ledger has under its key; none when the call was not carried
/// out.
pub(crate) fn carried_out(tool: &str, input: &Value, found: &Found) -> Option<Value> {
    let known =
        |about: About, number| serde_json::to_value(about.known(Ticket { number, repeated: true })).ok();
    match (tool, found) {
        (names::OPEN_TICKET | names::CLOSE_TICKET, Found { ticket: Some(number), .. }) => {
            known(About::deserialize(input).ok()?, *number)
        }
        (names::WITHDRAW_TICKET | names::REOPEN_TICKET, Found { ticket: Some(number), .. }) => {
            known(Undo::<About>::deserialize(input).ok()?.input, *number)
        }
        (names::PUBLISH, Found { published: Some(_), .. }) => Some(json!({ "times": found.calls })),
        _ => None,
    }
}

/// Does what is left of a call that was cut off after the ledger had carried it out: a published briefing may not
/// stand where people read it yet.
pub(crate) async fn finish(tool: &str, input: &Value) -> Result<(), ToolError> {
    if tool != names::PUBLISH {
        return Ok(());
    }
    let what = Publication::deserialize(input)?;
    Ok(blocking(move || Prepared::write(Path::new(&what.path), &what.text)?.put_in_place()).await??)
}

/// What a failed call to the ledger means for the step.
fn what_is_known(error: LedgerError) -> ToolError {
    match error {
        LedgerError::NotSent { .. } => ToolError::retry(error.to_string()),
        LedgerError::NoAnswer { .. } => ToolError::ambiguous(error.to_string()),
        LedgerError::Refused { .. } => ToolError::refused(error.to_string()),
    }
}

/// Runs what blocks on a thread that may. Dropped, it is not waited for any more, and goes on to its end.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ToolError> {
    // The Spawn port takes futures, and this is none.
    #[allow(clippy::disallowed_methods)]
    Ok(tokio::task::spawn_blocking(work).await?)
}
