//! Answers as they come.

use agent_shell_core::data::Body;
use agent_shell_core::ports::ModelErrorKind;
use agent_shell_core::runtime::Followed;
use agent_shell_core::{Reply, Scripted, Shell};
use std::time::Duration;

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
    fn capabilities(&self) -> agent_shell_core::ports::ModelCapabilities {
        self.0.capabilities()
    }

    fn bound(
        &self,
        request: &agent_shell_core::ports::ModelRequest,
    ) -> Option<agent_shell_core::ports::ModelBound> {
        self.0.bound(request)
    }

    async fn ask(
        &self,
        request: std::sync::Arc<agent_shell_core::ports::ModelRequest>,
        call: agent_shell_core::Call,
    ) -> Result<agent_shell_core::ports::AnswerStream, agent_shell_core::ports::ModelError> {
        use agent_shell_core::ports::{Chunk, ModelError};
        use futures::StreamExt;
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
