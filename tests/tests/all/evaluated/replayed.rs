//! Recorded turns against a changed agent: the first thing that differs is named, and the world is not touched.

use std::sync::Arc;

use agent_shell_core::data::Prompt;
use agent_shell_core::evaluation::{Differs, Divergence, Replay, ReplayReport, Tape};
use agent_shell_core::ports::{Model, PlanView, Planned, Planner, PlannerError};
use agent_shell_core::{
    Actor, Call, Plan, Recorder, Reply, Scripted, Settings, Shell, ShellBuilder, Step, Subject, Tenant, Tool,
    ToolError, ToolLoop,
};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{World, agent, model};

const TURNS: [&str; 3] = ["hello", "refund A-17", "refund B-0"];

/// What three turns of the agent recorded.
async fn recorded() -> Tape {
    let shell = agent(Shell::volatile(), "Be kind.", &World::default()).open().await.unwrap();
    let session = shell.session("customer-42").unwrap();
    for input in TURNS {
        session.submit(input).await.unwrap().outcome().await.unwrap();
    }
    let tape = Tape::of_session(&shell, session.id().await.unwrap()).await.unwrap();
    shell.shutdown().await.unwrap();
    assert_eq!(tape.turns(), 3);
    tape
}

async fn replayed(changed: impl Fn(ShellBuilder) -> ShellBuilder) -> ReplayReport {
    Replay::new(recorded().await).run(changed).await.unwrap()
}

fn first(report: &ReplayReport) -> (usize, &str, &Differs, Vec<&str>) {
    let Divergence { number, step, what, differences, .. } =
        report.divergence().unwrap_or_else(|| panic!("nothing differs: {report}"));
    let pointers = differences.iter().map(|difference| difference.pointer.as_str()).collect();
    (*number, step.as_ref().map_or("", |step| step.as_str()), what, pointers)
}

#[tokio::test]
async fn the_same_agent_does_the_same_and_touches_nothing() {
    let (world, asked) = (World::default(), model());
    let of_host = asked.clone();
    let folder = tempfile::tempdir().unwrap();
    let report = Replay::new(recorded().await).run(|_| {
        // Also a builder on a file, with approvals: the file is not opened, and nobody is waited for.
        let planner = ToolLoop::new().instructions("Be kind.");
        let tool = world.refund().ask_first();
        Shell::at(folder.path().join("shell.db")).model(of_host.clone()).tool(tool).planner(planner)
    });
    let report = report.await.unwrap();
    assert!(report.is_same(), "{report}");
    let of_session = &report.sessions[0];
    assert_eq!((of_session.turns, of_session.questions, of_session.calls), (3, 5, 2));
    assert_eq!((of_session.unchecked, &of_session.left_out), (0, &None));
    assert_eq!((world.refunds(), asked.asked()), (0, 0), "nothing was called or asked");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "no file was made");
    assert_eq!(format!("{:?}", report.exit_code()), "ExitCode(unix_exit_status(0))");
}

#[tokio::test]
async fn a_changed_prompt_is_named_at_its_first_question() {
    let world = World::default();
    let report = replayed(|shell| agent(shell, "Be kinder.", &world)).await;
    assert_eq!(first(&report), (1, "ask-1", &Differs::Instructions, vec!["/prompt/instructions"]));
    assert!(report.to_string().contains("step `ask-1`: the instructions differ"), "{report}");
    assert!(
        report.to_string().contains("\n    /prompt/instructions: \"Be kind.\" -> \"Be kinder.\""),
        "{report}"
    );
    assert!(!report.is_same());
    assert_eq!(format!("{:?}", report.exit_code()), "ExitCode(unix_exit_status(1))");

    let report = replayed(|shell| {
        let mut settings = Settings::default();
        settings.output_tokens = 7;
        let planner = ToolLoop::new().instructions("Be kind.").settings(settings);
        shell.model(model()).tool(world.refund()).planner(planner)
    });
    let report = report.await;
    assert_eq!(first(&report), (1, "ask-1", &Differs::Settings, vec!["/prompt/settings/output_tokens"]));
}

#[tokio::test]
async fn changed_tools_are_named_by_name() {
    let planner = || ToolLoop::new().instructions("Be kind.");
    let world = World::default();
    let other = |_: Value, _: Call| async { Ok(json!(null)) };
    let more = Tool::pure("about", "Tells of itself", other);
    let more = std::sync::Mutex::new(Some(more));
    let report = replayed(|shell| {
        let more = more.lock().unwrap().take().unwrap();
        shell.model(model()).tool(world.refund()).tool(more).planner(planner())
    });
    let expected = vec!["/prompt/order_of_tools", "/prompt/tools/about"];
    assert_eq!(first(&report.await), (1, "ask-1", &Differs::Tools, expected));

    #[derive(serde::Deserialize, schemars::JsonSchema)]
    #[schemars(rename = "Refund")]
    #[allow(dead_code, reason = "only its schema is looked at")]
    struct Changed {
        order: String,
        cents: String,
    }
    let report = replayed(|shell| {
        let refund =
            Tool::idempotent("refund", "Refunds an order", |_: Changed, _: Call| async { Ok(json!(null)) });
        shell.model(model()).tool(refund).planner(planner())
    });
    let report = report.await;
    let (turn, step, what, pointers) = first(&report);
    assert_eq!((turn, step, what), (1, "ask-1", &Differs::Tools));
    assert!(
        pointers.iter().all(|at| at.starts_with("/prompt/tools/refund/input_schema/properties/cents")),
        "{report}"
    );
}

#[tokio::test]
async fn what_a_model_is_told_otherwise_is_named_where_it_is_told() {
    let world = World::default();
    let report = replayed(|shell| {
        let planner = ToolLoop::new().instructions("Be kind.").handles_above(8);
        shell.model(model()).tool(world.refund()).planner(planner)
    });
    let report = report.await;
    let (turn, step, what, pointers) = first(&report);
    assert_eq!((turn, step, what), (2, "ask-3", &Differs::Messages));
    assert!(pointers.iter().all(|at| at.starts_with("/messages/4/results/0/output")), "{pointers:?}");
    let of_session = &report.sessions[0];
    assert_eq!(
        (of_session.turns, of_session.questions, of_session.calls),
        (1, 2, 1),
        "what was before is the same"
    );
    assert_eq!(world.refunds(), 0);
}

/// Changes its mind from the third turn on.
struct Later(ToolLoop, ToolLoop);

#[async_trait]
impl Planner for Later {
    async fn plan(&self, view: PlanView) -> Result<Planned, PlannerError> {
        let planner = if *view.input == json!(TURNS[2]) { &self.1 } else { &self.0 };
        planner.plan(view).await
    }
}

#[tokio::test]
async fn the_first_turn_that_differs_is_named() {
    let world = World::default();
    let report = replayed(|shell| {
        let (kind, grim) =
            (ToolLoop::new().instructions("Be kind."), ToolLoop::new().instructions("Be grim."));
        shell.model(model()).tool(world.refund()).planner(Later(kind, grim))
    });
    let report = report.await;
    assert_eq!(first(&report), (3, "ask-1", &Differs::Instructions, vec!["/prompt/instructions"]));
    assert_eq!(report.sessions[0].turns, 2);
    assert!(report.divergence().unwrap().turn.is_some());
}

/// Asks one question for each of these, alone, all at once.
struct Asks(&'static [&'static str]);

#[async_trait]
impl Planner for Asks {
    async fn plan(&self, _: PlanView) -> Result<Planned, PlannerError> {
        let ask =
            |question: &&'static str| Step::ask(question, "default", Prompt::default(), json!(question));
        Ok(Planned::Whole(Plan::new(self.0.iter().map(ask))?))
    }
}

#[tokio::test]
async fn a_question_more_or_less_is_named() {
    let build = |shell: ShellBuilder, asks: &'static [&'static str]| shell.model(model()).planner(Asks(asks));
    let shell = build(Shell::volatile(), &["a", "b"]).open().await.unwrap();
    let session = shell.session("s").unwrap();
    session.submit("go").await.unwrap().outcome().await.unwrap();
    let tape = Tape::of_session(&shell, session.id().await.unwrap()).await.unwrap();
    let of = async |asks: &'static [&'static str]| {
        let report = Replay::new(tape.clone()).run(|shell| build(shell, asks)).await.unwrap();
        report.divergence().map(|found| (found.step.as_ref().unwrap().to_string(), found.what.clone()))
    };
    assert_eq!(of(&["b", "a"]).await.map(|(_, what)| what), None);
    assert_eq!(of(&["a"]).await, Some(("b".into(), Differs::QuestionLess)));
    assert_eq!(of(&["a", "b", "c"]).await, Some(("c".into(), Differs::QuestionMore)));
    assert_eq!(of(&["a", "c"]).await, Some(("c".into(), Differs::Messages)), "it took the place of `b`");
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Typed {
    #[allow(dead_code, reason = "only its form counts")]
    n: u64,
}

#[tokio::test]
async fn typed_turns_denied_calls_and_pure_calls_are_replayed_and_waits_are_not() {
    let world = World::default();
    let build = |shell: ShellBuilder, world: &World| {
        let reply = |request: &agent_shell_core::ports::ModelRequest| {
            let (user, told) = super::said(request);
            match user.as_str() {
                "look" if !told => Reply::call("look", json!({ "at": 1 })),
                "typed" if request.messages.len() == 5 => Reply::text("no number"),
                "typed" => Reply::text(r#"{"n":5}"#),
                "deny" if !told => Reply::call("refund", json!({ "order": "A", "cents": 1 })),
                other => Reply::text(other),
            }
        };
        let look = Tool::pure("look", "Looks", |at: Value, _: Call| async move { Ok::<_, ToolError>(at) });
        let model = Scripted::with(reply);
        shell.limits(crate::support::limits()).model(model).tool(look).tool(world.refund().ask_first())
    };
    let shell = build(Shell::volatile(), &world).open().await.unwrap();
    let session = shell.session_of(Tenant::default(), "s", Subject::None).unwrap();
    let denied = session.submit("deny").await.unwrap();
    denied
        .approval()
        .await
        .unwrap()
        .unwrap()
        .deny("not today", &Actor::named("olga").unwrap())
        .await
        .unwrap();
    denied.outcome().await.unwrap();
    _ = session.ask::<Typed>("typed").await.unwrap();
    session.submit("look").await.unwrap().outcome().await.unwrap();
    let plan = Plan::new([Step::signal("wait", "go")]).unwrap();
    let waits = session.submit(plan).await.unwrap();
    session.signal("go", json!(1), None, &Actor::Host).await.unwrap();
    waits.outcome().await.unwrap();
    session.submit("after").await.unwrap().outcome().await.unwrap();

    let tape = Tape::of_session(&shell, session.id().await.unwrap()).await.unwrap();
    let report = Replay::new(tape).run(|shell| build(shell, &world)).await.unwrap();
    let of_session = &report.sessions[0];
    assert!(report.is_same(), "{report}");
    assert_eq!((of_session.turns, of_session.calls, of_session.unchecked), (3, 2, 0), "{report}");
    assert_eq!(of_session.left_out.as_deref(), Some("turn 4: it waited for something from outside"));
    assert_eq!(of_session.turns_left_out, 2);
    assert_eq!(world.refunds(), 0);
}

#[tokio::test]
async fn nothing_replayed_is_not_the_same() {
    let shell = agent(Shell::volatile(), "", &World::default()).open().await.unwrap();
    let session = shell.session("empty").unwrap();
    let tape = Tape::of_session(&shell, session.id().await.unwrap()).await.unwrap();
    let report = Replay::new(tape).run(|shell| agent(shell, "", &World::default())).await.unwrap();
    assert!(report.divergence().is_none() && !report.is_same());
}

#[tokio::test]
async fn the_file_of_a_recorder_is_replayed_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let record = async |with_requests: bool| {
        let recorder = Recorder::open(&path, Arc::new(model()) as Arc<dyn Model>).unwrap();
        let recorder = if with_requests { recorder.with_requests() } else { recorder };
        let planner = ToolLoop::new().instructions("Be kind.");
        let shell = Shell::volatile()
            .model(recorder)
            .tool(World::default().refund())
            .planner(planner)
            .open()
            .await
            .unwrap();
        let (one, other) = (shell.session("one").unwrap(), shell.session("other").unwrap());
        // Two conversations whose lines stand mixed.
        let inputs = [
            (&one, "hello"),
            (&other, "refund A-17"),
            (&one, "refund B-0"),
            (&other, "bye"),
            (&one, "wrong"),
        ];
        for (session, input) in inputs {
            session.submit(input).await.unwrap().outcome().await.unwrap();
        }
        shell.shutdown().await.unwrap();
    };
    record(true).await;
    let tape = Tape::open(&path).unwrap();
    assert_eq!(tape.turns(), 5);
    let world = World::default();
    let report = Replay::new(tape.clone()).run(|shell| agent(shell, "Be kind.", &world)).await.unwrap();
    assert!(report.is_same(), "{report}");
    let counts: Vec<_> = report.sessions.iter().map(|of| (of.turns, of.questions, of.calls)).collect();
    assert_eq!(counts, [(3, 5, 1), (2, 3, 1)], "a call that was rejected was not made");
    assert_eq!(world.refunds(), 0);
    let report = Replay::new(tape).run(|shell| agent(shell, "Be grim.", &world)).await.unwrap();
    assert_eq!(first(&report), (1, "ask-1", &Differs::Instructions, vec!["/prompt/instructions"]));

    std::fs::remove_file(&path).unwrap();
    record(false).await;
    let error = Tape::open(&path).unwrap_err().to_string();
    assert_eq!(
        error,
        "line 1 of the recording is damaged: it holds no request: record with `Recorder::with_requests`"
    );
}
