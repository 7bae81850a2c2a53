//! What a question is taken to have used, however it ends.

use std::time::Duration;

use futures::{FutureExt, StreamExt};

use super::*;
use crate::data::{Prompt, Said};
use crate::ports::{AnswerStream, ModelBound, ModelCapabilities};
use crate::words::{Deadline, Epoch, Monotonic, SessionId, StepId, Timestamp, TurnId};

/// A model that says these parts.
struct Says(Vec<Result<Chunk, ModelError>>);

#[async_trait::async_trait]
impl Model for Says {
    fn capabilities(&self) -> ModelCapabilities {
        ModelCapabilities::default()
    }

    fn bound(&self, _: &ModelRequest) -> Option<ModelBound> {
        None
    }

    async fn ask(&self, _: Arc<ModelRequest>, _: Call) -> Result<AnswerStream, ModelError> {
        Ok(futures::stream::iter(self.0.clone()).boxed())
    }
}

/// What is used by a question that is answered with these parts, of which 10 bytes are read.
fn used(parts: impl IntoIterator<Item = Result<Chunk, ModelError>>) -> Used {
    let model = Says(parts.into_iter().collect());
    let request = Arc::new(ModelRequest { prompt: Arc::new(Prompt::default()), messages: Vec::new() });
    let of = (SessionId::from_bytes([1; 16]), TurnId::from_bytes([2; 16]), StepId::new("a").unwrap());
    let deadline = Deadline { wall: Timestamp::from_millis(0), monotonic: Monotonic::default() };
    let call = Call::new("key".into(), of, Epoch::new(1), 1, deadline);
    let asked = ask(&model, (request, false, None), call, 10, |_| ());
    asked.now_or_never().expect("nothing waits").1
}

fn text(text: &str) -> Result<Chunk, ModelError> {
    Ok(Chunk::Text(text.into()))
}

#[test]
fn an_answer_that_is_given_up_for_its_length_is_not_free() {
    assert_eq!(used([text("0123456789a")]), Used::Known(Usage::default()));
    assert_eq!(used([Ok(Chunk::Thinking("0123456789a".into()))]), Used::Known(Usage::default()));
}

#[test]
fn an_answer_that_breaks_off_is_not_free_whatever_the_model_says_of_it() {
    use ModelErrorKind::{CutOff, Denied, InvalidRequest, RateLimited, TooLong, Unavailable, Unsupported};
    for kind in [InvalidRequest, Denied, TooLong, Unsupported, RateLimited, Unavailable, CutOff] {
        let broken = || Err(ModelError::new(kind, "no more").retry_after(Duration::from_secs(1)));
        assert_eq!(used([text("a"), broken()]), Used::Known(Usage::default()), "{kind:?}");
        assert_eq!(
            used([Ok(Chunk::Thinking("a".into())), broken()]),
            Used::Known(Usage::default()),
            "{kind:?}"
        );
        let refused =
            if matches!(kind, Unavailable | CutOff) { Used::Known(Usage::default()) } else { Used::Nothing };
        assert_eq!(used([broken()]), refused, "{kind:?}");
    }
    // What has not reached the vendor costs nothing, if the model says so.
    let none = ModelError::new(Unavailable, "no connection").unused();
    assert_eq!((none.usage.input_tokens, none.usage.cost_nano_usd), (Some(0), Some(0)));
    assert_eq!(used([Err(none.clone())]), Used::Known(*none.usage));
    // Who says what was used is believed.
    let mut error = ModelError::new(Denied, "no more");
    error.usage.output_tokens = Some(7);
    let said = Used::Known(*error.usage);
    assert_eq!(used([Err(error.clone())]), said);
    assert_eq!(used([text("a"), Err(error)]), said);
    let mut answer = Answer::new(vec![Said::text("a")]);
    answer.usage.output_tokens = Some(7);
    assert_eq!(used([text("a"), Ok(Chunk::Answer(Box::new(answer)))]), said);
}
