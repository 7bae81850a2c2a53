mod recording;
mod scripts;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;

use crate::data::{Answer, Content, Message, Prompt};
use crate::ports::{Call, Chunk, Model, ModelError, ModelRequest};
use crate::words::{Clock, Deadline, Epoch, Monotonic, SessionId, StepId, Timestamp, TurnId};

/// Where every sleep ends at once, and is noted.
#[derive(Default)]
struct Slept(Mutex<Vec<Duration>>);

#[async_trait]
impl Clock for Slept {
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }
    fn monotonic(&self) -> Monotonic {
        Monotonic::default()
    }
    async fn sleep(&self, duration: Duration) {
        self.0.lock().unwrap().push(duration);
    }
}

fn call() -> Call {
    let ids = (SessionId::from_bytes([1; 16]), TurnId::from_bytes([2; 16]), StepId::new("ask").unwrap());
    let deadline = Deadline::after(&Slept::default(), Duration::from_secs(60));
    Call::new("key".into(), ids, Epoch::ZERO.next(), 1, deadline)
}

fn user(text: &str) -> Arc<Message> {
    Arc::new(Message::User(vec![Content::Text(text.into())]))
}

fn request(messages: Vec<Arc<Message>>) -> ModelRequest {
    ModelRequest { prompt: Arc::new(Prompt::new("Be brief.")), messages }
}

/// Everything that comes, up to the end of the stream.
async fn heard(
    model: &dyn Model,
    request: &ModelRequest,
) -> Result<Vec<Result<Chunk, ModelError>>, ModelError> {
    Ok(model.ask(Arc::new(request.clone()), call()).await?.collect().await)
}

/// The answer, after a look at whether the parts before it are its text.
async fn answer(model: &dyn Model, request: &ModelRequest) -> Result<Answer, ModelError> {
    let mut text = String::new();
    let mut parts = heard(model, request).await?.into_iter();
    while let Some(part) = parts.next() {
        match part? {
            Chunk::Text(more) => text.push_str(&more),
            Chunk::Thinking(_) => {}
            Chunk::Answer(answer) => {
                assert_eq!(answer.text(), text);
                assert!(parts.next().is_none(), "nothing follows the answer");
                return Ok(*answer);
            }
        }
    }
    panic!("the answer was cut off");
}

/// The error of a request that must fail.
async fn refusal(model: &dyn Model, request: &ModelRequest) -> ModelError {
    answer(model, request).await.expect_err("it fails")
}
