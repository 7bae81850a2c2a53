//! A journal with a deliberate fault in what it posts to parents and children.

use std::time::Duration;

use agent_shell_core::data::{BodyKind, MailKind};
use agent_shell_core::ports::Append;
use agent_shell_core::words::MailId;

use super::bugs::{Bug, Faulty};

/// For how long a child may run before its parent's record of it is durable.
const EARLY: Duration = Duration::from_millis(80);

impl Faulty {
    /// What an append becomes.
    pub(super) async fn of_children(&self, mut append: Append) -> Append {
        let is_to_child = |kind: MailKind| kind == MailKind::Child;
        match self.bug {
            Bug::ChildEarly => {
                let early: Vec<_> =
                    append.post_mail.iter().filter(|post| post.kind == MailKind::Submit).collect();
                for post in &early {
                    // Whether it was taken, the append says.
                    drop(self.inner.mailbox.post((*post).clone()).await);
                }
                if !early.is_empty() {
                    self.time.sleep(EARLY).await;
                }
            }
            Bug::ChildTwice => {
                let again = append.post_mail.iter().filter(|post| is_to_child(post.kind)).cloned();
                let again: Vec<_> = again
                    .map(|mut post| {
                        post.id = another(post.id);
                        post
                    })
                    .collect();
                append.post_mail.extend(again);
            }
            Bug::ChildCancelLost => {
                let cancelled = BodyKind::ChildCancelled.name();
                if append.records.iter().any(|record| record.header.kind.as_str() == cancelled) {
                    append.post_mail.retain(|post| !is_to_child(post.kind));
                }
            }
            _ => {}
        }
        append
    }
}

fn another(id: MailId) -> MailId {
    let mut bytes = id.to_bytes();
    bytes[15] ^= 1;
    MailId::from_bytes(bytes)
}
