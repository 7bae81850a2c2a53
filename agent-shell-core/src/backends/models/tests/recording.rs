use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};

use super::{answer, call, heard, refusal, request, user};
use crate::backends::models::{Recorded, Recorder, RecordingError, Reply, Scripted};
use crate::data::{Answer, Opaque, Said};
use crate::ports::{Chunk, Model, ModelError, ModelErrorKind, ModelRequest, Spawn};

fn recorder(path: &Path, script: impl IntoIterator<Item = Reply>) -> Recorder {
    Recorder::open(path, Arc::new(Scripted::new(script)) as Arc<dyn Model>).unwrap() // an `Arc` is a model, too
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn go() -> ModelRequest {
    request(vec![user("Go to my-secret")])
}

#[tokio::test]
async fn what_was_recorded_is_said_again_in_its_turn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let opaque = Some(Opaque::new("some.wire", json!({ "signature": "abc" })));
    let mut thought = Answer::new(vec![Said::Thinking { text: "Hm.".into(), opaque }, Said::text("First")]);
    thought.usage.input_tokens = Some(7);
    thought.request_id = Some("req-1".into());
    let wait =
        ModelError::new(ModelErrorKind::RateLimited, "slow down").retry_after(Duration::from_millis(1500));
    let other = request(vec![user("Other")]);
    {
        let model = recorder(&path, [thought.clone().into(), wait.clone().into(), "Second".into()]);
        answer(&model, &go()).await.unwrap();
        refusal(&model, &go()).await;
        answer(&model, &other).await.unwrap();
        assert_eq!(model.lost(), 0);
    }
    {
        let again = recorder(&path, [Reply::calls([("a", json!({})), ("b", json!({ "n": 1 }))])]);
        answer(&again, &go()).await.unwrap();
    }
    let model = Recorded::open(&path).unwrap();
    assert_eq!(answer(&model, &other).await.unwrap().text(), "Second");
    assert_eq!(answer(&model, &go()).await.unwrap(), thought);
    assert_eq!(refusal(&model, &go()).await, wait);
    for _ in 0..2 {
        let last = answer(&model, &go()).await.unwrap();
        assert_eq!(last.calls().map(|call| &*call.tool).collect::<Vec<_>>(), ["a", "b"]);
    }
    assert_eq!(
        answer(&Recorded::open(&path).unwrap(), &go()).await.unwrap(),
        thought,
        "a new process begins again"
    );
}

#[tokio::test]
async fn what_breaks_in_the_stream_is_recorded_as_it_broke() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let model = recorder(
        &path,
        [Reply::cut_off("Half"), Reply::error(ModelErrorKind::Unavailable, "gone").saying("Ha")],
    );
    assert_eq!(heard(&model, &go()).await.unwrap(), [Ok(Chunk::Text("Half".into()))]);
    assert_eq!(heard(&model, &go()).await.unwrap().len(), 2);
    let model = Recorded::open(&path).unwrap();
    assert_eq!(refusal(&model, &go()).await.kind, ModelErrorKind::CutOff);
    assert_eq!(refusal(&model, &go()).await.kind, ModelErrorKind::Unavailable);
}

#[tokio::test]
async fn a_request_is_written_only_where_it_is_wished_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    answer(&recorder(&path, ["a".into()]), &go()).await.unwrap();
    assert!(!fs::read_to_string(&path).unwrap().contains("my-secret"));
    assert_eq!(lines(&path)[0]["request"], json!(go().digest().unwrap()));
    answer(&recorder(&path, ["a".into()]).with_requests(), &go()).await.unwrap();
    assert_eq!(lines(&path)[1]["asked"], json!(go()));
}

#[tokio::test]
async fn an_unknown_request_is_told_from_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    fs::write(&path, "").unwrap();
    let long = request(vec![user("a"), user("b"), user("c")]);
    let message = refusal(&Recorded::open(&path).unwrap(), &go()).await.message;
    assert!(message.ends_with(": the recording is empty"), "{message}");

    answer(&recorder(&path, ["a".into()]), &long).await.unwrap();
    let error = refusal(&Recorded::open(&path).unwrap(), &go()).await;
    assert_eq!(error.kind, ModelErrorKind::InvalidRequest);
    assert!(error.message.contains(&go().digest().unwrap().to_string()), "{error}");
    assert!(error.message.contains("with_requests"), "{error}");

    let model = recorder(&path, ["a".into(), "a".into()]).with_requests();
    answer(&model, &long).await.unwrap();
    answer(&model, &go()).await.unwrap();
    let model = Recorded::open(&path).unwrap();
    let mut other_prompt = long.clone();
    Arc::make_mut(&mut other_prompt.prompt).settings.output_tokens = 1;
    let cases = [
        (request(vec![user("a"), user("b"), user("my-secret")]), "differs in message 3 of 3"),
        (request(vec![user("a"), user("b")]), "differs in its length: it has 3 messages, and this one 2"),
        (other_prompt, "differs in the settings"),
    ];
    for (asked, difference) in cases {
        let message = refusal(&model, &asked).await.message;
        assert!(message.ends_with(difference), "{message}");
        assert!(message.contains(&long.digest().unwrap().to_string()), "{message}");
        assert!(!message.contains("my-secret"), "{message}");
    }
}

#[tokio::test]
async fn a_last_line_that_was_cut_off_is_passed_over_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let model = recorder(&path, ["First".into(), "Second".into(), "Third".into()]);
    for _ in 0..3 {
        answer(&model, &go()).await.unwrap();
    }
    let whole = fs::read(&path).unwrap();
    let ends: Vec<_> =
        whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    let second = "Second".to_owned();
    for cut in ends[1] + 1..whole.len() - 1 {
        fs::write(&path, &whole[..cut]).unwrap();
        let model = Recorded::open(&path).unwrap();
        answer(&model, &go()).await.unwrap();
        assert_eq!(answer(&model, &go()).await.unwrap().text(), second, "cut at {cut}");
        assert_eq!(answer(&model, &go()).await.unwrap().text(), second, "cut at {cut}");
        // Who records on leaves no damage in the middle.
        answer(&recorder(&path, ["Fourth".into()]), &go()).await.unwrap();
        assert_eq!(lines(&path).len(), 3, "cut at {cut}");
    }
    // Only the end of the line is missing.
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(Recorded::open(&path).is_ok());
    answer(&recorder(&path, ["Fourth".into()]), &go()).await.unwrap();
    assert_eq!(lines(&path).len(), 4);

    let damaged = |at: usize| {
        let mut damaged = whole.clone();
        damaged[at] = b'#';
        fs::write(&path, damaged).unwrap();
        Recorded::open(&path).expect_err("it is damaged").to_string()
    };
    assert!(damaged(ends[0]).starts_with("line 2 of the recording is damaged: "));
    assert!(damaged(ends[1]).starts_with("line 3 of the recording is damaged: "));
    fs::write(&path, format!("{{\"request\":\"{}\"}}\n", go().digest().unwrap())).unwrap();
    assert!(matches!(Recorded::open(&path), Err(RecordingError::Damaged { line: 1, .. })));
    assert!(matches!(Recorded::open(folder.path().join("none")), Err(RecordingError::Io(_))));
}

/// Keeps the work that it is given, until somebody does it.
#[derive(Default)]
struct Desk(Mutex<Vec<Box<dyn FnOnce() + Send>>>);

impl Spawn for Desk {
    fn spawn(&self, _: BoxFuture<'static, ()>) {
        panic!("nothing here is a task");
    }
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.0.lock().unwrap().push(work);
    }
}

#[tokio::test]
async fn a_line_is_written_beside_the_tasks_before_the_answer_is_handed_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let desk = Arc::new(Desk::default());
    let model = recorder(&path, ["Done".into()]).spawn(desk.clone());
    let mut stream = model.ask(Arc::new(go()), call()).await.unwrap();
    assert_eq!(stream.next().await, Some(Ok(Chunk::Text("Done".into()))));
    let mut end = stream.next();
    assert_eq!((&mut end).now_or_never(), None, "the line is not written yet");
    assert_eq!(fs::read(&path).unwrap(), b"");
    let work = desk.0.lock().unwrap().pop().expect("the line waits to be written");
    work();
    assert_eq!(lines(&path).len(), 1);
    assert!(matches!(end.now_or_never(), Some(Some(Ok(Chunk::Answer(_))))));
}

#[test]
fn an_answer_is_handed_on_where_it_cannot_be_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let model = recorder(&path, ["Done".into()]);
    // Here is no Tokio runtime.
    assert_eq!(answer(&model, &go()).now_or_never().unwrap().unwrap().text(), "Done");
    assert_eq!((model.lost(), lines(&path).len()), (1, 0));
}
