//! A session, as a host holds it.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::OnceCell;

use super::core::Core;
use super::history::History;
use super::keyring::{Place, SessionKeys, name_digest};
use super::manager::TurnManager;
use super::reader::corrupt;
use super::submit::{Request, Submit};
use crate::data::{ChildOf, Mail, MailKind, Payload, TurnRequest};
use crate::failpoint::reach;
use crate::ports::{Dedupe, Deed, NewSession, Post, Posted, SessionEntry, SessionFilter};
use crate::words::{
    Actor, DedupeKey, Error, ErrorKind, Head, MailId, Result, SessionId, SessionName, SignalName, Subject,
    Tenant, Timestamp, TurnId,
};

/// A session: the unit of order. Its turns run one after another, in the order in which they were submitted. Cheap
/// to clone; nothing is stored until it is first used.
#[derive(Clone)]
pub struct Session {
    pub(crate) inner: Arc<SessionInner>,
}

pub(crate) struct SessionInner {
    pub(crate) core: Arc<Core>,
    pub(crate) manager: TurnManager,
    tenant: Tenant,
    name: SessionName,
    subject: Subject,
    opened: OnceCell<Opened>,
}

/// What is known once the session is registered.
pub(crate) struct Opened {
    pub(crate) entry: SessionEntry,
    pub(crate) keys: SessionKeys,
}

/// What is sealed beside a session's entry.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
pub(crate) struct NameAndSubject {
    pub(crate) name: SessionName,
    pub(crate) subject: Subject,
    /// Whose child it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) child_of: Option<Box<ChildOf>>,
}

impl NameAndSubject {
    pub(crate) fn open(keys: &SessionKeys, entry: &SessionEntry) -> Result<Self> {
        let text = keys.open(Place::Name, &entry.sealed).map_err(|error| corrupt(error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| corrupt(error.to_string()))
    }
}

impl Session {
    pub(crate) fn new(
        core: Arc<Core>,
        manager: TurnManager,
        tenant: Tenant,
        name: SessionName,
        subject: Subject,
    ) -> Self {
        let opened = OnceCell::new();
        Self { inner: Arc::new(SessionInner { core, manager, tenant, name, subject, opened }) }
    }

    /// The session's id, registering the session if it is new.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the session exists with another subject; else what the store or the key store
    /// says.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the session registered.
    pub async fn id(&self) -> Result<SessionId> {
        Ok(self.inner.opened().await?.entry.id)
    }

    /// Asks for a turn. Await the result to post it: then the turn is on disk, and comes to its end, or to a listed
    /// rest, whatever crashes.
    ///
    /// `request` is the turn's input (anything that makes a [`serde_json::Value`], for the shell's planner) or a
    /// [`Request`] that says more.
    pub fn submit(&self, request: impl Into<Request>) -> Submit {
        Submit::new(self.clone(), request.into())
    }

    /// Delivers a signal to the step that waits for it, or keeps it for the next one that will.
    ///
    /// With a dedupe key a repeat of the same signal is delivered once; see [`crate::words::DedupeKey`].
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`] when the actor may not, [`ErrorKind::Mismatch`] when the key was used for another payload, [`ErrorKind::Overloaded`] when as much mail
    /// waits as may; else what the store says.
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the signal. With a dedupe key, repeat it.
    pub async fn signal(
        &self,
        name: impl AsRef<str>,
        payload: impl Serialize,
        dedupe: Option<&str>,
        actor: &Actor,
    ) -> Result<()> {
        let payload =
            serde_json::to_value(payload).map_err(|error| not_json("the signal's payload", &error))?;
        self.inner.check_size("the signal's payload", &payload)?;
        let mail = Mail::Signal { name: SignalName::new(name)?, payload: Payload::from(payload) };
        let dedupe = dedupe.map(DedupeKey::new).transpose()?;
        self.inner.authorize(actor, Deed::Signal).await?;
        self.inner.post(mail, dedupe.as_ref(), None, actor).await.map(drop)
    }

    /// The records of the session, opened, from the first on.
    ///
    /// # Errors
    /// What the store or the key store says.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn history(&self) -> Result<History> {
        let opened = self.inner.opened().await?;
        Ok(History::new(self.inner.core.clone(), opened.entry.id, opened.keys.clone()))
    }

    /// The end of the session's chain as it is durable now: to be kept elsewhere, and given to a later check.
    ///
    /// # Errors
    /// What the store says.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn head(&self) -> Result<Head> {
        let id = self.id().await?;
        let entry = self.inner.core.store.journal.session(id).await?;
        Ok(entry.map_or(Head::EMPTY, |entry| entry.head))
    }
}

impl SessionInner {
    pub(crate) async fn opened(&self) -> Result<&Opened> {
        self.opened.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<Opened> {
        self.core.stop.check()?;
        let tenant_key = self.core.keyring.tenant(&self.tenant).await?;
        let name = name_digest(&tenant_key, &self.name);
        let key = self.core.keyring.subject_key_id(&self.tenant, &self.subject).await?;
        // The key of a session that exists must exist: a new one in its place would hide that it was lost.
        let filter =
            SessionFilter { tenant: Some(self.tenant.clone()), name: Some(name), ..SessionFilter::default() };
        let known = self.core.store.journal.sessions(filter, None, 1).await?;
        if known.first().is_some_and(|known| known.key != key) {
            return Err(other_subject());
        }
        let keys = self.core.keyring.session(key, known.is_empty()).await?;
        let named = NameAndSubject { name: self.name.clone(), subject: self.subject.clone(), child_of: None };
        let text = serde_json::to_vec(&named).map_err(|error| not_json("the session's name", &error))?;
        let new = NewSession {
            id: self.core.ids.make(),
            tenant: self.tenant.clone(),
            name,
            sealed: keys.seal(Place::Name, &text),
            key,
            created: self.core.clock.now(),
        };
        reach!(RegisterBegins);
        let entry = self.core.store.journal.open_session(new).await?;
        reach!(RegisterEnds);
        if entry.key != key || NameAndSubject::open(&keys, &entry)?.subject != self.subject {
            return Err(other_subject());
        }
        Ok(Opened { entry, keys })
    }

    /// Another session of the same tenant and subject.
    pub(crate) fn sibling(&self, name: SessionName) -> Session {
        let (tenant, subject) = (self.tenant.clone(), self.subject.clone());
        Session::new(self.core.clone(), self.manager.clone(), tenant, name, subject)
    }

    /// Whether an actor may do a deed here, before the session is registered.
    pub(crate) async fn authorize(&self, actor: &Actor, deed: Deed) -> Result<()> {
        self.core.authorize(actor, deed, &self.tenant).await
    }

    /// Posts mail to this session and sees to it that it is read.
    pub(crate) async fn post(
        &self,
        mail: Mail,
        dedupe: Option<&DedupeKey>,
        turn: Option<TurnId>,
        actor: &Actor,
    ) -> Result<Posted> {
        let opened = self.opened().await?;
        let posted = post(&self.core, opened, mail, dedupe, turn, actor).await?;
        self.manager.attend(opened.entry.id);
        Ok(posted)
    }

    pub(crate) fn check_size(&self, what: &str, value: &serde_json::Value) -> Result<()> {
        if let Some(problem) = crate::machine::too_large(value, self.core.limits.input_bytes) {
            return Err(Error::new(ErrorKind::InvalidInput, format!("{what} {problem}")));
        }
        Ok(())
    }
}

fn other_subject() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "a session of this name exists with another subject: open it with that one, or use another name",
    )
}

/// Seals mail and posts it.
pub(crate) async fn post(
    core: &Core,
    Opened { entry, keys }: &Opened,
    mail: Mail,
    dedupe: Option<&DedupeKey>,
    turn: Option<TurnId>,
    actor: &Actor,
) -> Result<Posted> {
    core.stop.check()?;
    let kind: MailKind = mail.kind();
    let dedupe = dedupe.map(|key| Dedupe {
        key: keys.dedupe_digest(key),
        digest: keys.content_digest(&content_of(&mail)),
        turn,
    });
    let (pseudonym, named_actor) = core.keyring.actor(&entry.tenant, actor).await?;
    let text = serde_json::to_vec(&mail).map_err(|error| not_json("the mail", &error))?;
    // What can't be read back must not be accepted: a plan may be nested too deep.
    if serde_json::from_slice::<Mail>(&text).is_err() {
        let message =
            "the request can't be read back as it was written: its plan or its input is nested too deep";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    if text.len() > core.limits.payload_bytes {
        let (bytes, allowed) = (text.len(), core.limits.payload_bytes);
        let message = format!("the request has {bytes} bytes of JSON: at most {allowed} are allowed");
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let id: MailId = core.ids.make();
    let posted: Timestamp = core.clock.now();
    let post = Post {
        id,
        session: entry.id,
        kind,
        system: false,
        dedupe,
        turn,
        actor: pseudonym,
        named_actor,
        posted,
        sealed: keys.seal(Place::Mail(entry.id, kind.as_str()), &text),
        quota: core.limits.user_mail_per_session,
    };
    reach!(PostBegins);
    let posted = core.store.mailbox.post(post).await?;
    reach!(PostEnds);
    Ok(posted)
}

/// What must be the same when a dedupe key is used again: of a turn, its input, who plans and the form of its answer, for its id and its
/// deadline are new each time. The text is canonical, so that the order of members does not matter.
fn content_of(mail: &Mail) -> Vec<u8> {
    let content = match mail {
        Mail::Submit { input, planner, wants: None, .. } => {
            serde_json::json!({ "input": input, "planner": planner })
        }
        Mail::Submit { input, planner, wants, .. } => {
            serde_json::json!({ "input": input, "planner": planner, "wants": wants })
        }
        Mail::Steer { request, at_once } => {
            let TurnRequest { input, planner, wants, .. } = &**request;
            serde_json::json!({ "input": input, "planner": planner, "wants": wants, "at_once": at_once })
        }
        other => serde_json::json!(other),
    };
    let text = crate::data::canonical::canonical(&content);
    text.unwrap_or_else(|_| content.to_string()).into_bytes()
}

pub(crate) fn not_json(what: &str, error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{what} can't be written as JSON: {error}"))
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({} of {})", self.inner.name, self.inner.tenant)
    }
}
