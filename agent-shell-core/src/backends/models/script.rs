//! Which reply comes next.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::reply::{Reply, answers};
use crate::ports::{ModelError, ModelErrorKind, ModelRequest};

pub(super) enum Script {
    /// One after another, whoever asks.
    InOrder { replies: Vec<Reply>, asked: AtomicUsize },
    /// By the number of answers that the conversation holds.
    ByAnswers(Vec<Scene>),
    /// Computed from the request.
    With(Box<dyn Fn(&ModelRequest) -> Reply + Send + Sync>),
}

/// What is said at one place of a conversation.
#[derive(Default)]
pub(super) struct Scene {
    /// What fails before, each once in this process.
    failures: Vec<Reply>,
    asked: AtomicUsize,
    /// None where the script ends with failures.
    answer: Option<Reply>,
}

impl Script {
    pub(super) fn in_order(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::InOrder { replies: spoken(replies), asked: AtomicUsize::new(0) }
    }

    pub(super) fn by_answers(replies: impl IntoIterator<Item = Reply>) -> Self {
        let mut scenes = Vec::new();
        let mut scene = Scene::default();
        for reply in spoken(replies) {
            if reply.is_answer() {
                scene.answer = Some(reply);
                scenes.push(std::mem::take(&mut scene));
            } else {
                scene.failures.push(reply);
            }
        }
        if !scene.failures.is_empty() {
            scenes.push(scene);
        }
        Self::ByAnswers(scenes)
    }

    /// The reply to a request. It counts as asked for, whatever becomes of it.
    pub(super) fn reply(&self, request: &ModelRequest) -> Result<Reply, ModelError> {
        match self {
            Self::With(reply) => Ok(reply(request)),
            Self::InOrder { replies, asked } => {
                let asked = asked.fetch_add(1, Ordering::Relaxed);
                replies.get(asked).cloned().ok_or_else(|| ended(asked + 1, replies.len()))
            }
            Self::ByAnswers(scenes) => {
                let answers = answers(request);
                let there = scenes.iter().filter(|scene| scene.answer.is_some()).count();
                let ended = || ended(answers + 1, there);
                let scene = scenes.get(answers).ok_or_else(ended)?;
                let failure = scene.failures.get(scene.asked.fetch_add(1, Ordering::Relaxed));
                failure.or(scene.answer.as_ref()).cloned().ok_or_else(ended)
            }
        }
    }
}

/// The replies with the pauses between them, each as part of the reply that follows.
fn spoken(replies: impl IntoIterator<Item = Reply>) -> Vec<Reply> {
    let mut spoken = Vec::new();
    let mut pause = Duration::ZERO;
    for reply in replies {
        if reply.is_pause() {
            pause = pause.saturating_add(reply.pause_before());
        } else {
            spoken.push(reply.after(std::mem::take(&mut pause)));
        }
    }
    spoken
}

fn ended(asked: usize, there: usize) -> ModelError {
    let replies = if there == 1 { "1 reply" } else { &format!("{there} replies") };
    let message = format!("the script of the model has {replies}, and reply {asked} is asked for");
    ModelError::new(ModelErrorKind::InvalidRequest, message)
}
