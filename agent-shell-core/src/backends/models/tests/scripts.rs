use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use serde_json::json;

use super::{Slept, answer, call, heard, refusal, request, user};
use crate::backends::models::{Reply, Scripted};
use crate::data::{Answer, Finish, Message, Said, Usage};
use crate::ports::{Chunk, Model, ModelError, ModelErrorKind};

fn text(text: &str) -> Chunk {
    Chunk::Text(text.into())
}

#[tokio::test]
async fn a_reply_comes_word_by_word_with_its_thoughts_first() {
    let model =
        Scripted::new([Reply::text("One two\nthree ").thinking("Let me count.").calling("note", json!({}))]);
    let parts = heard(&model, &request(vec![user("Count")])).await.unwrap();
    let mut parts: Vec<_> = parts.into_iter().map(Result::unwrap).collect();
    let Some(Chunk::Answer(answer)) = parts.pop() else { panic!("no answer: {parts:?}") };
    let thought = ["Let ", "me ", "count."].map(|word| Chunk::Thinking(word.into()));
    assert_eq!(parts, [&thought[..], &[text("One "), text("two\n"), text("three ")]].concat());
    assert_eq!(answer.text(), "One two\nthree ");
    assert_eq!(answer.finish, Finish::Calls);
    assert!(matches!(answer.said[..], [Said::Thinking { .. }, Said::Text { .. }, Said::Call(_)]));
}

#[tokio::test]
async fn a_script_is_said_in_order_and_its_end_says_so() {
    let model = Scripted::new([Reply::text("a"), Reply::json(json!({ "b": 1 }))]);
    let keeper = model.clone();
    let asked = request(vec![user("Go")]);
    assert_eq!(answer(&model, &asked).await.unwrap().text(), "a");
    assert_eq!(answer(&model, &asked).await.unwrap().json(), Ok(json!({ "b": 1 })));
    for number in [3, 4] {
        let error = refusal(&model, &asked).await;
        assert_eq!(error.kind, ModelErrorKind::InvalidRequest);
        assert_eq!(
            error.message,
            format!("the script of the model has 2 replies, and reply {number} is asked for")
        );
    }
    assert_eq!(keeper.asked(), 4, "a clone keeps the log");
    assert_eq!(*keeper.requests()[0], asked);
}

#[tokio::test]
async fn the_log_keeps_the_last_requests() {
    let model = Scripted::with(|_| Reply::text("yes"));
    for number in 0..Scripted::REQUESTS + 3 {
        answer(&model, &request(vec![user(&number.to_string())])).await.unwrap();
    }
    let (asked, kept) = (model.asked(), model.requests());
    assert_eq!((asked, kept.len()), (259, 256));
    assert_eq!(kept[0].messages, [user("3")]);
    assert_eq!(kept[255].messages, [user("258")]);
}

#[tokio::test]
async fn a_script_by_answers_goes_on_where_the_conversation_is() {
    let script = || {
        let fails = Reply::error(ModelErrorKind::Unavailable, "down");
        Scripted::by_answers([
            Reply::call("look", json!({})),
            fails,
            Reply::cut_off("Fou"),
            Reply::text("Found"),
        ])
    };
    let model = script();
    let begun = request(vec![user("Look")]);
    let first = answer(&model, &begun).await.unwrap();
    assert_eq!(answer(&model, &begun).await.unwrap(), first, "the same request, the same answer");
    assert_eq!(first.calls().next().unwrap().id, "call-0-0");

    let went_on = request(vec![user("Look"), Arc::new(Message::Model(first.said)), user("And?")]);
    // A new process knows nothing but the conversation.
    for model in [model, script()] {
        assert_eq!(refusal(&model, &went_on).await.kind, ModelErrorKind::Unavailable);
        assert_eq!(heard(&model, &went_on).await.unwrap(), [Ok(text("Fou"))]);
        for _ in 0..2 {
            assert_eq!(answer(&model, &went_on).await.unwrap().text(), "Found");
        }
    }
    let further = [went_on.messages.clone(), vec![Arc::new(Message::Model(vec![])), user("More")]].concat();
    let error = refusal(&script(), &request(further)).await;
    assert_eq!(error.message, "the script of the model has 2 replies, and reply 3 is asked for");
}

#[tokio::test]
async fn a_script_by_answers_may_end_with_what_fails() {
    let model = Scripted::by_answers([Reply::error(ModelErrorKind::Denied, "no key")]);
    let asked = request(vec![user("Go")]);
    assert_eq!(refusal(&model, &asked).await.kind, ModelErrorKind::Denied);
    let error = refusal(&model, &asked).await;
    assert_eq!(error.message, "the script of the model has 0 replies, and reply 1 is asked for");
}

#[tokio::test]
async fn a_reply_is_computed_from_the_request() {
    let model = Scripted::with(|request| Reply::text(format!("{} messages", request.messages.len())));
    assert_eq!(answer(&model, &request(vec![user("a")])).await.unwrap().text(), "1 messages");
}

#[tokio::test]
async fn pauses_pass_on_the_clock_that_was_given() {
    let clock = Arc::new(Slept::default());
    let second = Duration::from_secs(1);
    let script = [
        Reply::pause(second),
        Reply::pause(second),
        Reply::text("a").after(second),
        "b".into(),
        Reply::pause(second),
    ];
    let model = Scripted::new(script).clock(clock.clone());
    let asked = request(vec![user("Go")]);
    assert_eq!(answer(&model, &asked).await.unwrap().text(), "a");
    assert_eq!(answer(&model, &asked).await.unwrap().text(), "b");
    assert_eq!(*clock.0.lock().unwrap(), [3 * second]);
    refusal(&model, &asked).await;

    let model = Scripted::with(|_| Reply::pause(Duration::from_secs(2))).clock(clock.clone());
    assert_eq!(answer(&model, &asked).await.unwrap().text(), "");
    assert_eq!(*clock.0.lock().unwrap(), [3 * second, 2 * second]);
}

#[tokio::test]
async fn what_fails_does_so_before_or_within_the_stream() {
    let wait = ModelError::new(ModelErrorKind::RateLimited, "slow down").retry_after(Duration::from_secs(7));
    let late = Reply::from(wait.clone()).saying("I was");
    let model =
        Scripted::new([wait.clone().into(), late, Reply::cut_off("Half of"), Reply::hang().saying("Well")]);
    let asked = request(vec![user("Go")]);
    assert_eq!(model.ask(Arc::new(asked.clone()), call()).await.err(), Some(wait.clone()));
    assert_eq!(heard(&model, &asked).await.unwrap(), [Ok(text("I ")), Ok(text("was")), Err(wait)]);
    assert_eq!(heard(&model, &asked).await.unwrap(), [Ok(text("Half ")), Ok(text("of"))]);
    let mut hung = model.ask(Arc::new(asked), call()).await.unwrap();
    assert_eq!(hung.next().await, Some(Ok(text("Well"))));
    assert_eq!(hung.next().now_or_never(), None);
}

#[tokio::test]
async fn usage_is_counted_given_or_left_as_it_is() {
    let whole = Answer::new(vec![Said::text("whole")]);
    let counted = Reply::text("12345").calling("note", json!({ "a": 1 }));
    let model = Scripted::new([counted, Reply::text("x").usage(1_000_001, 3), whole.clone().into()])
        .price(3, 500_000);
    let asked = request(vec![user("Go")]);
    let bytes = serde_json::to_vec(&asked).unwrap().len() as u64;

    let usage = answer(&model, &asked).await.unwrap().usage;
    // "12345", "note" and {"a":1} are 16 bytes.
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(bytes.div_ceil(4)), Some(4)));
    assert_eq!(usage.cost_nano_usd, Some(3), "4 tokens cost 2, and the rest is rounded up");
    assert_eq!(usage.cached_tokens, None);

    let usage = answer(&model, &asked).await.unwrap().usage;
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(1_000_001), Some(3)));
    assert_eq!(usage.cost_nano_usd, Some(5), "3 and a bit, and 1.5");

    assert_eq!(answer(&model, &asked).await.unwrap(), whole);
    assert_eq!(whole.usage, Usage::default());
}

#[tokio::test]
async fn a_request_is_bounded_by_its_bytes() {
    let asked = request(vec![user("Go")]);
    let bytes = serde_json::to_vec(&asked).unwrap().len() as u64;
    let model = Scripted::new([Reply::text("a")]);
    let bound = model.bound(&asked).unwrap();
    assert_eq!((bound.tokens, bound.cost_nano_usd), (bytes + 4096, None));
    let model = model.price(1_000_000, 2_000_000);
    assert_eq!(model.bound(&asked).unwrap().cost_nano_usd, Some(bytes + 2 * 4096));
    assert_eq!(model.capabilities().output_nano_usd_per_million, Some(2_000_000));
    let dear = Scripted::new([Reply::text("a").usage(u64::MAX, 0)]).price(1_000_001, 1);
    assert_eq!(answer(&dear, &asked).await.unwrap().usage.cost_nano_usd, Some(u64::MAX));
}

#[test]
fn equal_requests_have_equal_digests_and_others_have_others() {
    let asked = request(vec![user("Go")]);
    let prompt = r#"{"instructions":"Be brief.","settings":{"output_tokens":4096}}"#;
    let message = r#"{"user":[{"text":"Go"}]}"#;
    let parts = [prompt, message].map(|part| *crate::words::Digest::of(part).as_bytes());
    assert_eq!(asked.digest().unwrap(), crate::words::Digest::of(parts.concat()));
    // Written down, so that no later version recognises another request by it.
    assert_eq!(
        asked.digest().unwrap().to_string(),
        "71ed53ea788e65a20f10f2ba08e26d8c72456a038c5f0a6fbbff1b4365399c12"
    );
    assert_ne!(asked.digest(), request(vec![user("Go"), user("on")]).digest());
    let written = format!(r#"{{"messages":[{message}],"prompt":{prompt}}}"#);
    let read: crate::ports::ModelRequest = serde_json::from_str(&written).unwrap();
    assert_eq!(read, asked);
}
