//! Sagas: what a turn applied that does not succeed is undone, in the right order, once, and nothing else.

mod cancelled;
mod graphs;
mod parked;

use std::sync::{Arc, Mutex};

use agent_shell_core::testing::{BoxError, Host, Life, TestKit, World};
use agent_shell_core::{
    Call, ErrorKind, FailureCode, Outcome, Plan, Shell, Step, Tool, ToolError, Undo, Undone, output,
};
use serde_json::{Value, json};

use crate::support::limits;

/// Everything that took effect, in order: a tool and the step that it was called for.
#[derive(Default)]
pub(super) struct Log(Mutex<Vec<(String, String, String)>>);

impl Log {
    /// Something takes effect under a key, once.
    pub(super) fn apply(&self, tool: &str, step: &str, key: &str) {
        let mut log = self.0.lock().unwrap();
        if !log.iter().any(|(_, _, known)| known == key) {
            log.push((tool.into(), step.into(), key.into()));
        }
    }

    pub(super) fn knows(&self, key: &str) -> bool {
        self.0.lock().unwrap().iter().any(|(_, _, known)| known == key)
    }

    /// The tools and steps, in order.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap().iter().map(|(tool, step, _)| (tool.clone(), step.clone())).collect()
    }

    /// The steps for which a tool took effect, in order.
    pub(super) fn of(&self, tool: &str) -> Vec<String> {
        self.all().into_iter().filter(|(called, _)| called == tool).map(|(_, step)| step).collect()
    }
}

impl World for Log {
    fn effects(&self) -> Value {
        json!(self.all())
    }
}

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub(super) struct For {
    pub(super) step: String,
}

/// A call for a step, which may name others that it depends on.
pub(super) fn call(step: &str, tool: &str) -> Step {
    Step::tool(step, tool, json!({ "step": step }))
}

/// `book` (idempotent) is undone by `unbook`; `fail` has the same compensation and never takes effect.
pub(super) fn tools(world: &Arc<Log>) -> Vec<Tool> {
    let (book, unbook) = (world.clone(), world.clone());
    vec![
        Tool::idempotent("book", "", move |of: For, call: Call| {
            book.apply("book", &of.step, call.key());
            async move { Ok::<_, ToolError>(format!("booked {}", of.step)) }
        })
        .compensated_by("unbook"),
        Tool::idempotent("unbook", "", move |undo: Undo<For, String>, call: Call| {
            assert_ne!(undo.key, call.key());
            assert_eq!(undo.output, Some(format!("booked {}", undo.input.step)));
            assert!(unbook.knows(&undo.key), "it knows the key of what it undoes");
            unbook.apply("unbook", &undo.input.step, call.key());
            async { Ok::<_, ToolError>(()) }
        }),
        Tool::idempotent("fail", "", |_: For, _: Call| async {
            Err::<(), _>(ToolError::refused("it fails on purpose"))
        })
        .compensated_by("unbook"),
        // Of this one it is known after a crash that nothing happened.
        Tool::pure("refuse", "", |_: For, _: Call| async {
            Err::<(), _>(ToolError::refused("it refuses on purpose"))
        }),
    ]
}

fn kit() -> TestKit<Log> {
    TestKit::on(Log::default, |life: &Life<Log>| {
        tools(&life.world()).into_iter().fold(life.shell(), |shell, tool| shell.tool(tool))
    })
}

fn a_chain_that_fails() -> Plan {
    let with = |step, needs, tool| {
        let input = agent_shell_core::Template::object([
            ("step", agent_shell_core::Template::from(step)),
            ("after", output(needs)),
        ]);
        Step::tool(step, tool, input)
    };
    Plan::new([call("a", "book"), with("b", "a", "book"), with("c", "b", "refuse")]).unwrap()
}

async fn fails(host: Host<Log>) -> Result<(Outcome, Undone), BoxError> {
    let turn = host.session("ada")?.submit(a_chain_that_fails()).dedupe("1").await?;
    let outcome = turn.outcome().await?;
    Ok((outcome, turn.undone().await?))
}

#[test]
fn what_was_applied_is_undone_in_reverse_order_whatever_crashes() {
    let sweep = kit().each_crash(fails).unwrap();
    assert!(sweep.crashes() >= 10, "{}", sweep.crashes());
    for run in sweep.runs() {
        let expected = [("book", "a"), ("book", "b"), ("unbook", "b"), ("unbook", "a")];
        assert_eq!(run.world.all(), expected.map(|(tool, step)| (tool.to_owned(), step.to_owned())));
        let (outcome, undone) = &run.outcome;
        let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
        assert_eq!(failure.step.as_ref().map(AsRef::as_ref), Some("c"));
        assert_eq!(failure.code, FailureCode::NotApplied);
        let names: Vec<&str> = undone.undone.iter().map(AsRef::as_ref).collect();
        assert_eq!((&*names, &*undone.left), (&["b", "a"][..], &[][..]));
        run.journal.assert_ended();
        run.journal.assert_order([
            "step.failed c",
            "undo.planned",
            "step.started undo:b",
            "step.succeeded undo:b",
            "undo.planned",
            "step.started undo:a",
            "step.succeeded undo:a",
            "turn.ended",
        ]);
    }
}

#[tokio::test]
async fn a_compensation_that_the_shell_does_not_have_is_said_when_it_opens() {
    let book = || Tool::idempotent("book", "", |_: For, _: Call| async { Ok::<_, ToolError>(()) });
    let look = Tool::pure("look", "", |_: For, _: Call| async { Ok::<_, ToolError>(()) });
    let unbook = Tool::idempotent("unbook", "", |_: Undo<For>, _: Call| async { Ok::<_, ToolError>(()) });
    for (shell, what) in [
        (Shell::volatile().tool(book().compensated_by("unbook")), "the shell has no tool `unbook`"),
        (Shell::volatile().tool(look.compensated_by("book")).tool(book()), "nothing to undo"),
        (Shell::volatile().tool(book().compensated_by("unbook")).tool(unbook.held()), "held back"),
    ] {
        let error = shell.limits(limits()).open().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn no_step_may_bear_the_name_of_one_that_undoes() {
    let error = Plan::new([call("undo:a", "book")]).unwrap_err();
    assert!(error.to_string().contains("undo:a"), "{error}");
}
