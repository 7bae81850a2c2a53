//! Keys in use: which key seals what, and what is derived from it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::data::{DataKey, KeyId, Kind, OpenError, Sealer};
use crate::failpoint::reach;
use crate::ports::{Journal, KeyError, KeyStore, NamedActor, SessionFilter};
use crate::words::{
    Actor, DedupeKey, Digest, Entropy, Error, ErrorKind, Head, Pseudonym, Result, SessionId, SessionName,
    Subject, Tenant, UserId,
};

/// Tenant keys that are kept at hand; beyond it they are fetched again.
const CACHED_TENANTS: usize = 1024;

/// Finds keys in the key store, and makes the ones that are not there yet.
pub(crate) struct Keyring {
    store: Arc<dyn KeyStore>,
    journal: Arc<dyn Journal>,
    entropy: Arc<dyn Entropy>,
    tenants: Mutex<HashMap<Tenant, Arc<DataKey>>>,
}

impl Keyring {
    pub(crate) fn new(
        store: Arc<dyn KeyStore>,
        journal: Arc<dyn Journal>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { store, journal, entropy, tenants: Mutex::default() }
    }

    /// The key from which a tenant's names and pseudonyms are derived.
    pub(crate) async fn tenant(&self, tenant: &Tenant) -> Result<Arc<DataKey>> {
        if let Some(key) = self.tenants.lock().unwrap_or_else(PoisonError::into_inner).get(tenant) {
            return Ok(key.clone());
        }
        let id = KeyId(Digest::of([b"agent-shell/tenant-key/1\0", tenant.as_str().as_bytes()].concat()));
        let key = match self.store.fetch(id).await {
            Ok(key) => key,
            // A tenant that has sessions had a key: a new one in its place would make its sessions unfindable. But its
            // first session may have come, with its key, since the key store was asked.
            Err(KeyError::Lost) if self.has_sessions(tenant).await? => {
                self.store.fetch(id).await.map_err(key_error)?
            }
            Err(KeyError::Lost) => self.create(id).await?,
            Err(error) => return Err(key_error(error)),
        };
        let key = Arc::new(key);
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if tenants.len() >= CACHED_TENANTS {
            tenants.clear();
        }
        tenants.insert(tenant.clone(), key.clone());
        Ok(key)
    }

    async fn has_sessions(&self, tenant: &Tenant) -> Result<bool> {
        let filter = SessionFilter { tenant: Some(tenant.clone()), ..SessionFilter::default() };
        Ok(!self.journal.sessions(filter, None, 1).await?.is_empty())
    }

    /// What stands for a subject where its name must not; none for nobody.
    pub(crate) async fn subject_pseudonym(
        &self,
        tenant: &Tenant,
        subject: &Subject,
    ) -> Result<Option<String>> {
        let Subject::User(user) = subject else { return Ok(None) };
        let digest = self.tenant(tenant).await?.digest("subject", &[user.as_str().as_bytes()]);
        let mut short = [0; 16];
        short.copy_from_slice(&digest.as_bytes()[..16]);
        Ok(Some(Pseudonym::from_bytes(short).to_string()))
    }

    /// Which key seals a subject's data.
    pub(crate) async fn subject_key_id(&self, tenant: &Tenant, subject: &Subject) -> Result<KeyId> {
        let key = self.tenant(tenant).await?;
        Ok(KeyId(match subject {
            Subject::User(user) => key.digest("subject-key", &[user.as_str().as_bytes()]),
            Subject::None => key.digest("tenant-data-key", &[]),
        }))
    }

    /// The keys of a tenant's data that belongs to nobody, made if there are none yet.
    pub(crate) async fn tenant_data(&self, tenant: &Tenant) -> Result<SessionKeys> {
        let id = self.subject_key_id(tenant, &Subject::None).await?;
        self.session(id, true).await
    }

    /// Which key seals the name of an actor.
    pub(crate) async fn actor_key_id(&self, tenant: &Tenant, name: &UserId) -> Result<KeyId> {
        Ok(KeyId(self.tenant(tenant).await?.digest("actor-key", &[name.as_str().as_bytes()])))
    }

    /// Erases a key for good.
    pub(crate) async fn destroy(&self, id: KeyId) -> Result<()> {
        self.store.destroy(id).await.map_err(key_error)
    }

    /// The keys of a session whose key should exist, or is made now for a new session.
    pub(crate) async fn session(&self, id: KeyId, new: bool) -> Result<SessionKeys> {
        let key = if new { self.create(id).await? } else { self.store.fetch(id).await.map_err(key_error)? };
        Ok(SessionKeys { sealer: Sealer::new(&key), key: Arc::new(key), entropy: self.entropy.clone() })
    }

    /// Who is behind a pseudonym, if it is known.
    pub(crate) async fn actor_of(&self, tenant: &Tenant, actor: Pseudonym) -> Result<Option<Actor>> {
        match actor {
            Pseudonym::HOST => return Ok(Some(Actor::Host)),
            Pseudonym::RUNTIME => return Ok(Some(Actor::Runtime)),
            _ => {}
        }
        let Some(named) = self.journal.actor(tenant, actor).await? else { return Ok(None) };
        let keys = self.session(named.key, false).await?;
        let name =
            keys.sealer.open(b"actor/1", &named.sealed).ok().and_then(|name| String::from_utf8(name).ok());
        Ok(name.and_then(|name| Actor::named(name).ok()))
    }

    /// The pseudonym of an actor, and its sealed name when it has one.
    pub(crate) async fn actor(
        &self,
        tenant: &Tenant,
        actor: &Actor,
    ) -> Result<(Pseudonym, Option<NamedActor>)> {
        let name = match actor {
            Actor::Host => return Ok((Pseudonym::HOST, None)),
            Actor::Runtime => return Ok((Pseudonym::RUNTIME, None)),
            Actor::Named(name) => name,
        };
        let pseudonym = self.pseudonym(tenant, name).await?;
        let key_id = self.actor_key_id(tenant, name).await?;
        let keys = self.session(key_id, true).await?;
        let sealed = keys.sealer.seal(keys.nonce(), b"actor/1", name.as_str().as_bytes());
        Ok((pseudonym, Some(NamedActor { actor: pseudonym, key: key_id, sealed })))
    }

    /// The pseudonym of a named actor.
    pub(crate) async fn pseudonym(&self, tenant: &Tenant, name: &UserId) -> Result<Pseudonym> {
        let digest = self.tenant(tenant).await?.digest("actor", &[name.as_str().as_bytes()]);
        let mut short = [0; 16];
        short.copy_from_slice(&digest.as_bytes()[..16]);
        Ok(Pseudonym::from_bytes(short))
    }

    async fn create(&self, id: KeyId) -> Result<DataKey> {
        let mut bytes = [0; 32];
        self.entropy.fill(&mut bytes);
        reach!(KeyBegins);
        let key = self.store.create(id, DataKey::from_bytes(bytes)).await.map_err(key_error)?;
        reach!(KeyEnds);
        Ok(key)
    }
}

/// What a session's texts are sealed and hashed with.
#[derive(Clone)]
pub(crate) struct SessionKeys {
    sealer: Sealer,
    key: Arc<DataKey>,
    entropy: Arc<dyn Entropy>,
}

/// What a sealed text belongs to. Nothing opens in another place than its own.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Record(SessionId, &'a Kind),
    Mail(SessionId, &'static str),
    Blob(SessionId, Digest),
    Snapshot(SessionId, Head),
    Name,
}

impl Place<'_> {
    fn context(self) -> Vec<u8> {
        match self {
            Self::Record(session, kind) => {
                [b"record/1", &session.to_bytes()[..], kind.as_str().as_bytes()].concat()
            }
            Self::Mail(session, kind) => [b"mail/1", &session.to_bytes()[..], kind.as_bytes()].concat(),
            Self::Blob(session, address) => [b"blob/1", &session.to_bytes()[..], address.as_bytes()].concat(),
            Self::Snapshot(session, head) => {
                let seq = head.seq.number().to_be_bytes();
                [b"snapshot/1", &session.to_bytes()[..], &seq, head.hash.as_bytes()].concat()
            }
            Self::Name => b"session-name/1".to_vec(),
        }
    }
}

impl SessionKeys {
    fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        self.entropy.fill(&mut nonce);
        nonce
    }

    pub(crate) fn seal(&self, place: Place<'_>, text: &[u8]) -> Vec<u8> {
        self.sealer.seal(self.nonce(), &place.context(), text)
    }

    pub(crate) fn open(&self, place: Place<'_>, sealed: &[u8]) -> std::result::Result<Vec<u8>, OpenError> {
        self.sealer.open(&place.context(), sealed)
    }

    /// The address of a blob: equal texts of one subject share it, those of two never do.
    pub(crate) fn blob_address(&self, text: &[u8]) -> Digest {
        self.key.digest("blob", &[text])
    }

    /// What the ids of events are made of.
    pub(crate) fn event_digest(&self, parts: &[&[u8]]) -> Digest {
        self.key.digest("event", parts)
    }

    /// The digest of what a dedupe key was used for.
    pub(crate) fn content_digest(&self, text: &[u8]) -> Digest {
        self.key.digest("dedupe-content", &[text])
    }

    pub(crate) fn dedupe_digest(&self, key: &DedupeKey) -> Digest {
        self.key.digest("dedupe-key", &[key.as_str().as_bytes()])
    }
}

/// The digest under which a session's name is looked up.
pub(crate) fn name_digest(tenant_key: &DataKey, name: &SessionName) -> Digest {
    tenant_key.digest("session-name", &[name.as_str().as_bytes()])
}

pub(crate) fn key_error(error: KeyError) -> Error {
    let kind = match error {
        KeyError::Destroyed => ErrorKind::Purged,
        KeyError::Lost => ErrorKind::KeyLost,
        KeyError::Corrupt { .. } => ErrorKind::Corrupt,
        KeyError::Poisoned { .. } => ErrorKind::Poisoned,
        KeyError::Unavailable { .. } => ErrorKind::Unavailable,
    };
    Error::new(kind, error.to_string())
}
