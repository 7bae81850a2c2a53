//! Answers as they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent_shell_core::data::{Answer, Body, Prompt, Said};
use agent_shell_core::ports::{
    AnswerStream, Chunk, ModelBound, ModelCapabilities, ModelError, ModelErrorKind, ModelRequest,
};
use agent_shell_core::runtime::Followed;
use agent_shell_core::{Call, Plan, Reply, Retry, Scripted, Shell, Step};
use futures::StreamExt;

use super::super::support::limits;

#[tokio::test]
async fn the_text_of_an_answer_comes_before_its_record_and_is_taken_back_when_it_breaks_off() {
    let pause = Duration::from_millis(100);
    let model = Scripted::new([
        Reply::text("never heard of").after(pause),
        Reply::text("half an answer").after(pause),
        Reply::text("a whole answer").after(pause),
    ]);
    let model = CutOnce(model);
    let shell = Shell::volatile().limits(limits()).model(model).open().await.unwrap();
    let turn = shell.session("ada").unwrap().submit("Speak").await.unwrap();
    let mut follow = turn.follow();
    let (mut said, mut retracted, mut answered) = (String::new(), 0, None);
    while let Some(followed) = follow.next().await.unwrap() {
        match followed {
            Followed::Token { offset, text, attempt, .. } => {
                assert_eq!((offset as usize, answered), (said.len(), None), "attempt {attempt}");
                said.push_str(&text);
            }
            Followed::Retracted { .. } => {
                retracted += 1;
                assert!(!said.is_empty());
                said.clear();
            }
            Followed::Durable { seq, entry } => {
                if matches!(entry.body, Body::ModelAnswered { .. }) {
                    answered = Some(seq);
                }
            }
            _ => {}
        }
    }
    assert_eq!((said.as_str(), retracted), ("half an answer", 1));
    assert!(answered.is_some());
    shell.shutdown().await.unwrap();
}

/// A model that speaks slowly, and whose first answer is cut off before its end.
struct CutOnce(Scripted);

#[async_trait::async_trait]
impl agent_shell_core::Model for CutOnce {
    fn capabilities(&self) -> ModelCapabilities {
        self.0.capabilities()
    }

    fn bound(&self, request: &ModelRequest) -> Option<ModelBound> {
        self.0.bound(request)
    }

    async fn ask(&self, request: Arc<ModelRequest>, call: Call) -> Result<AnswerStream, ModelError> {
        let is_first = self.0.asked() == 0;
        let parts = self.0.ask(request, call).await?.then(|part| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            part
        });
        if !is_first {
            return Ok(parts.boxed());
        }
        let cut = parts.map(|part| match part {
            Ok(Chunk::Answer(_)) => Err(ModelError::new(ModelErrorKind::CutOff, "the line went dead")),
            part => part,
        });
        Ok(cut.boxed())
    }
}

/// A model whose first answer breaks off at once, and whose second takes its time between two words.
struct BreaksThenSpeaks(AtomicU32);

#[async_trait::async_trait]
impl agent_shell_core::Model for BreaksThenSpeaks {
    fn capabilities(&self) -> ModelCapabilities {
        ModelCapabilities::default()
    }

    fn bound(&self, _: &ModelRequest) -> Option<ModelBound> {
        None
    }

    async fn ask(&self, _: Arc<ModelRequest>, _: Call) -> Result<AnswerStream, ModelError> {
        let said = |text: &str| Ok(Chunk::Text(text.into()));
        let parts = if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            vec![said("wrong"), Err(ModelError::new(ModelErrorKind::CutOff, "the line went dead"))]
        } else {
            let answer = Answer::new(vec![Said::text("one two three")]);
            vec![said("one "), said("two "), said("three"), Ok(Chunk::Answer(Box::new(answer)))]
        };
        let paced = futures::stream::iter(parts).enumerate().then(|(nth, part)| async move {
            let pause_ms = if nth == 0 { 20 } else { 150 };
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            part
        });
        Ok(paced.boxed())
    }
}

#[tokio::test]
async fn the_end_of_an_attempt_takes_nothing_back_of_the_next_one() {
    let mut slow = limits();
    // The record of the first attempt's end waits so long, while the second is asked.
    slow.riding_ms = 250;
    let model = BreaksThenSpeaks(AtomicU32::new(0));
    let shell = Shell::volatile().limits(slow).model(model).open().await.unwrap();
    let twice = Retry { attempts: 2, base_ms: 1, max_ms: 1 };
    let steps = [Step::ask("ask", "default", Prompt::default(), "Speak").retry(twice)];
    let turn = shell.session("ada").unwrap().submit(Plan::new(steps).unwrap()).await.unwrap();
    let mut follow = turn.follow();
    let (mut told, mut said) = (Vec::new(), String::new());
    while let Some(followed) = follow.next().await.unwrap() {
        match followed {
            Followed::Token { attempt: 2, offset, text, .. } => {
                assert_eq!(offset as usize, said.len(), "after {told:?}");
                said.push_str(&text);
                told.push("second".to_owned());
            }
            Followed::Token { attempt, text, .. } => told.push(format!("{attempt}: {text}")),
            Followed::Retracted { attempt, .. } => told.push(format!("{attempt} retracted")),
            Followed::Durable { entry, .. } => told.push(entry.body.kind().to_owned()),
            _ => {}
        }
    }
    assert!(!told.contains(&"2 retracted".to_owned()), "{told:?}");
    assert_eq!(said, "one two three", "{told:?}");
    let at =
        |what: &str| told.iter().position(|told| told == what).unwrap_or_else(|| panic!("{what}: {told:?}"));
    assert!(at("1: wrong") < at("1 retracted") && at("1 retracted") < at("second"), "{told:?}");
    assert!(at("second") < at("attempt.failed"), "the record came late, or this shows nothing: {told:?}");
    shell.shutdown().await.unwrap();
}
