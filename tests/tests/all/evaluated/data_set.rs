//! Cases from files and from sessions.

use agent_shell_core::evaluation::{BadLine, Case, DataSet, DataSetError};
use agent_shell_core::ports::SessionFilter;
use agent_shell_core::{Shell, Subject, Tenant};
use serde_json::json;

use super::{World, agent};

#[test]
fn cases_are_read_from_lines_and_written_back() {
    let text = concat!(
        r#"{"name":"refund","input":"refund A-17","expected":{"cents":1250},"tags":["money","de"]}"#,
        "\n\n",
        r#"{"name":"bare","input":{"n":1},"before":["hello"]}"#,
        "\n"
    );
    let set = DataSet::read(text).unwrap();
    let first = Case::new("refund", "refund A-17").expected(json!({ "cents": 1250 })).tag("money").tag("de");
    let second = Case::new("bare", json!({ "n": 1 })).after("hello");
    assert_eq!(set.cases(), [first, second]);
    assert_eq!(DataSet::read(&set.to_lines()).unwrap(), set);
    assert_eq!(set.clone().tagged("de").cases(), &set.cases()[..1]);
    let names: Vec<String> = set.repeated(2).cases().iter().map(|case| case.name.clone()).collect();
    assert_eq!(names, ["refund", "refund (2)", "bare", "bare (2)"]);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cases.jsonl");
    std::fs::write(&path, text).unwrap();
    assert_eq!(DataSet::open(&path).unwrap(), set);
    assert!(matches!(DataSet::open(folder.path().join("none")), Err(DataSetError::Io(_))));
}

#[test]
fn every_bad_line_is_told_with_its_number_and_what_to_do() {
    let text = concat!(
        r#"{"name":"a","input":1}"#,
        "\n",
        r#"{"name":"b"}"#,
        "\n",
        "\n",
        r#"{"name":"c","input":1"#,
        "\n",
        r#"{"name":"a","input":2}"#,
        "\n",
        r#"{"name":"d","input":1,"expect":"secret"}"#,
    );
    let error = DataSet::read(text).unwrap_err();
    let DataSetError::Lines(lines) = &error else { panic!("{error}") };
    let told: Vec<(usize, &str)> =
        lines.iter().map(|BadLine { line, problem, .. }| (*line, problem.as_str())).collect();
    let write = "write an object with `name`, `input`, and if need be `expected`, `tags` and `before`";
    let missing = format!("missing field `input`: {write}");
    assert_eq!(told[0], (2, missing.as_str()));
    assert_eq!(told[1].0, 4);
    assert!(told[1].1.ends_with("write one whole object on one line"), "{}", told[1].1);
    assert_eq!(told[2], (5, "another case is called `a`: give each its own name"));
    assert_eq!(told[3].0, 6);
    assert!(told[3].1.contains("`expect`") && !told[3].1.contains("secret"), "{}", told[3].1);
    assert!(error.to_string().starts_with("4 lines of the data set are no cases\nline 2: "), "{error}");
}

#[tokio::test]
async fn cases_are_made_of_recorded_turns_that_are_chosen() {
    let shell = agent(Shell::volatile(), "", &World::default()).open().await.unwrap();
    let session = shell.session("customer-42").unwrap();
    for input in ["hello", "refund A-17", "bye"] {
        session.submit(input).await.unwrap().outcome().await.unwrap();
    }
    let other = shell.session_of(Tenant::new("acme").unwrap(), "other", Subject::None).unwrap();
    other.submit("refund B-0").await.unwrap().outcome().await.unwrap();

    let called = |turn: &agent_shell_core::evaluation::PastTurn| {
        turn.calls.iter().any(|call| call.tool.as_str() == "refund")
    };
    let all = DataSet::of_sessions(&shell, SessionFilter::default(), |turn| turn.case()).await.unwrap();
    assert_eq!(all.cases().len(), 4);
    let chosen = DataSet::of_sessions(&shell, SessionFilter::default(), |turn| {
        turn.case().filter(|_| called(turn) && turn.calls[0].end.is_some())
    });
    let chosen = chosen.await.unwrap();
    let [refund, failed] = chosen.cases() else { panic!("{chosen:?}") };
    assert_eq!((&refund.before, &refund.input), (&vec![json!("hello")], &json!("refund A-17")));
    assert_eq!(refund.expected, Some(json!("refund A-17")));
    assert!(refund.tags.contains("recorded"));
    assert_eq!(failed.input, json!("refund B-0"));

    let filter = SessionFilter { tenant: Some(Tenant::new("acme").unwrap()), ..SessionFilter::default() };
    let of_tenant = DataSet::of_sessions(&shell, filter, |turn| turn.case()).await.unwrap();
    assert_eq!(of_tenant.cases(), std::slice::from_ref(failed));
    shell.shutdown().await.unwrap();
}
