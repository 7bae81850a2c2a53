//! Forking: a new session that goes on from a record of this one.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use super::keyring::SessionKeys;
use super::reader::{Blobs, check, is_archived, open_own};
use super::session::{Opened, Session, post};
use crate::data::{Body, Mail, MailKind};
use crate::ports::{Deed, SessionEntry};
use crate::words::{Actor, DedupeKey, Error, ErrorKind, Head, InvalidName, Result, Seq, SessionName, TurnId};

/// How often it is looked whether the fork is made.
const LOOK: Duration = Duration::from_millis(5);
/// How long that is awaited. A fork that takes longer is made all the same.
const PATIENCE: Duration = Duration::from_secs(30);
/// The dedupe key of the request: a session is forked once.
const KEY: &str = "fork";

/// Where a fork begins.
#[derive(Debug, Clone, Copy)]
enum Where {
    Head,
    Record(Seq),
    Before(TurnId),
}

/// A fork that is about to be made. Await it.
///
/// # Errors
/// [`ErrorKind::Forbidden`] when the actor may not. [`ErrorKind::InvalidInput`] for a name that is not valid, a session
/// without records, or a state that is too large to be carried over. [`ErrorKind::NotFound`] when the session has no such
/// record or turn. [`ErrorKind::Mismatch`] when a session of that name exists that is not this fork.
/// [`ErrorKind::Archived`] when the record stands in a file. [`ErrorKind::Unavailable`] when it is on disk, and no process
/// has made it yet: ask again. Else what the store says.
///
/// # Cancel safety
/// Dropping the future may leave a fork, which is whole. Ask again with the same name and place: it is the same fork.
#[must_use = "nothing is forked until it is awaited"]
#[derive(Debug)]
pub struct Fork {
    session: Session,
    name: std::result::Result<SessionName, InvalidName>,
    place: Where,
    effects: bool,
    actor: Actor,
}

impl Session {
    /// A new session of this name, of the same tenant and subject, that goes on from a record of this one: from its last, if
    /// not said. This session stays as it is, whatever becomes of the fork. Await the result to make it:
    ///
    /// ```
    /// # use agent_shell_core::{Reply, Scripted, Shell, ToolLoop};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let shell = Shell::volatile()
    ///     .model(Scripted::by_answers([Reply::text("Good morning.")]))
    ///     .named_model("other", Scripted::by_answers([Reply::text("Hello.")]))
    ///     .named_planner("by-other", ToolLoop::new().model("other"))
    ///     .open()
    ///     .await?;
    /// let session = shell.session("customer-42")?;
    /// let turn = session.submit("hello").await?;
    /// turn.outcome().await?;
    /// // The same turn once more, by another model.
    /// let fork = session.fork("what-if").before(turn.id()).await?;
    /// let again = fork.submit(agent_shell_core::Request::new("hello").planner("by-other")).await?;
    /// assert_eq!(again.outcome().await?.text(), "Hello.");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// **Effects are off** unless [`Fork::with_effects`] says otherwise. Then no tool is called that may change something or
    /// carry data out (`Pure` ones that are outbound are such, too). Its step ends as the same call did in this session after
    /// that record: the same tool and arguments, in order. Where nothing is recorded it fails with
    /// [`FailureCode::EffectsOff`](crate::FailureCode::EffectsOff), which a tool loop tells its model. Models are asked, and `Pure` tools run.
    ///
    /// Inputs that wait in the mailbox, and dedupe keys, stay with this session. The actor of a fork is the actor of the turn
    /// that it copies.
    ///
    /// Amid a turn, the fork has a turn of its own with the same outcomes. What had begun and not ended is in doubt there,
    /// but for `Pure` steps, which run again; so is a step whose child had not ended, for the child is this session's. An approval
    /// that was not used is asked for anew, and nothing is undone in the fork that was done here. What was steered into the turn
    /// is in the fork's turn, too; what no plan takes up there is the fork's next turn.
    ///
    /// The fork of a child's session is nobody's child. It may use no more tools than the child, and what it spends does not count
    /// against the child's parents.
    pub fn fork(&self, name: impl AsRef<str>) -> Fork {
        Fork {
            session: self.clone(),
            name: SessionName::new(name),
            place: Where::Head,
            effects: false,
            actor: Actor::Host,
        }
    }
}

impl Fork {
    /// At this record: what it says is part of the fork.
    pub fn at(self, record: Seq) -> Self {
        Self { place: Where::Record(record), ..self }
    }

    /// Right before a turn of the session started, to run it again with another input or another planner.
    pub fn before(self, turn: TurnId) -> Self {
        Self { place: Where::Before(turn), ..self }
    }

    /// Lets the fork act in the world, as any session does. It acts under keys of its own, so what this session did after that
    /// record may be done again; and amid a turn what had not begun goes on at once.
    pub fn with_effects(self) -> Self {
        Self { effects: true, ..self }
    }

    /// Who forks. Without it, [`Actor::Host`].
    pub fn actor(self, actor: Actor) -> Self {
        Self { actor, ..self }
    }

    async fn make(self) -> Result<Session> {
        let inner = &self.session.inner;
        let core = &inner.core;
        core.stop.check()?;
        let name = self.name.clone()?;
        inner.authorize(&self.actor, Deed::Fork).await?;
        let parent = inner.opened().await?;
        let at = self.place(&parent.entry).await?;
        let fork = inner.sibling(name);
        let opened = fork.inner.opened().await?;
        let mail = Mail::Fork { parent: parent.entry.id, seq: at.seq, hash: at.hash, effects: self.effects };
        if core.store.journal.read(opened.entry.id, Seq::ZERO, 1).await?.is_empty() {
            let key = DedupeKey::new(KEY)?;
            match post(core, opened, mail, Some(&key), None, &self.actor).await {
                Ok(_) => {}
                // What it was forked from, its records say.
                Err(error) if error.kind() == ErrorKind::Mismatch => {}
                Err(error) => return Err(error),
            }
            inner.manager.attend(opened.entry.id);
        }
        self.until_made(opened, &parent.entry, at).await?;
        Ok(fork)
    }

    /// The record after which the fork goes on.
    async fn place(&self, parent: &SessionEntry) -> Result<Head> {
        let journal = &*self.session.inner.core.store.journal;
        let head = journal.session(parent.id).await?.map_or(Head::EMPTY, |entry| entry.head);
        let not_found = |message: String| Err(Error::new(ErrorKind::NotFound, message));
        let seq = match self.place {
            Where::Head => head.seq,
            Where::Record(seq) => seq,
            Where::Before(turn) => match journal.turn(turn).await?.filter(|of| of.session == parent.id) {
                None => return not_found(format!("the session has no turn {turn}: check its id")),
                Some(of) => match of.started {
                    Some(started) => Seq::new(started.number().saturating_sub(1)),
                    None => return not_found(format!("turn {turn} has not started yet: wait for it")),
                },
            },
        };
        if seq == Seq::ZERO {
            let message = "a fork goes on from a record, and there is none yet: submit a turn first";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let record = journal.read(parent.id, Seq::new(seq.number() - 1), 1).await?;
        match record.first().filter(|record| record.header.seq == seq) {
            Some(record) => Ok(record.head()),
            None => {
                is_archived(journal, parent.id, Seq::new(seq.number() - 1)).await?;
                not_found(format!("the session has no record {seq}: its last is {}", head.seq))
            }
        }
    }

    /// Waits until the fork has its records, and checks that it is this one.
    async fn until_made(
        &self,
        Opened { entry, keys }: &Opened,
        parent: &SessionEntry,
        at: Head,
    ) -> Result<()> {
        let core = &self.session.inner.core;
        let give_up = core.clock.monotonic().plus(PATIENCE);
        loop {
            if let Some(second) = self.second_record(entry, keys).await? {
                return self.judge(second, parent, at);
            }
            core.stop.check()?;
            if core.clock.monotonic() >= give_up {
                let message = "the fork is on disk, and no process has made it yet: ask again with the same name and place";
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            core.clock.sleep(LOOK).await;
        }
    }

    /// What says where the session comes from, once it has any record: its second one, or its first when that is all.
    async fn second_record(&self, entry: &SessionEntry, keys: &SessionKeys) -> Result<Option<Body>> {
        let journal = &*self.session.inner.core.store.journal;
        let records = journal.read(entry.id, Seq::ZERO, 2).await?;
        let (mut head, mut body) = (Head::EMPTY, None);
        for record in &records {
            check(&head, record, entry.id)?;
            body = Some(open_own(Blobs::In(journal), keys, record).await?.body);
            head = record.head();
        }
        if records.is_empty() {
            is_archived(journal, entry.id, Seq::ZERO).await?;
        }
        Ok(body)
    }

    fn judge(&self, second: Body, of: &SessionEntry, at: Head) -> Result<()> {
        let mismatch = |message: String| Err(Error::new(ErrorKind::Mismatch, message));
        match second {
            Body::SessionForked { parent, seq, effects, .. } => {
                let same_place = matches!(self.place, Where::Head) || seq == at.seq;
                if parent == of.id && same_place && effects == self.effects {
                    return Ok(());
                }
                let effects = if effects { "with" } else { "without" };
                mismatch(format!(
                    "a session of this name was forked from record {seq} of session {parent}, {effects} effects: use another name"
                ))
            }
            Body::MailRefused { mail_kind: MailKind::Fork, reason, .. } => {
                let message = format!("it can't be forked, and the name is used up: {reason}");
                Err(Error::new(ErrorKind::InvalidInput, message))
            }
            _ => mismatch("a session of this name exists, and is no such fork: use another name".into()),
        }
    }
}

impl IntoFuture for Fork {
    type Output = Result<Session>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.make())
    }
}
