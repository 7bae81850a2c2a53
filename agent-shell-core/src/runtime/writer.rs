//! Writing a session: entries are encoded, sealed, chained and appended, and an append whose answer is lost is
//! repeated under its own id until it is known what became of it.

use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::events::Emitter;
use super::keyring::{Place, SessionKeys};
use crate::data::{Body, Header, Kind, Payload, RECORD_VERSION, Record, RequirementId, encode, record_hash};
use crate::failpoint::reach;
use crate::machine::{Entry, FOLD_VERSION, Folded, Parcel};
use crate::ports::{Append, AppendError, Blob, Fence, Mark, Outgoing, Post, Settlement, Snapshot, TurnMark};
use crate::words::{AppendId, Digest, Head, MailId, Seq, SessionId, Tenant, TurnId};

/// The longest pause between two tries of one append.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The largest snapshot that is written, in bytes.
const LARGEST_SNAPSHOT: usize = 8 << 20;

/// What goes into one append besides the records.
#[derive(Default)]
pub(crate) struct Beside {
    pub(crate) consume_mail: Vec<MailId>,
    pub(crate) requires: Option<Vec<RequirementId>>,
    pub(crate) mark: Option<Mark>,
    pub(crate) settle: Vec<Settlement>,
    /// Mail to other sessions of the same subject.
    pub(crate) parcels: Vec<Parcel>,
}

/// The writing end of one session, under one epoch.
pub(crate) struct SessionWriter {
    core: Arc<Core>,
    session: SessionId,
    tenant: Tenant,
    fence: Fence,
    keys: SessionKeys,
    /// What seals the record of a purge, once there is one.
    of_tenant: Option<SessionKeys>,
    head: Head,
    snapshot: Seq,
    /// Tells others, when the shell does.
    emitter: Option<Emitter>,
}

impl SessionWriter {
    pub(crate) fn new(
        core: Arc<Core>,
        (session, tenant): (SessionId, Tenant),
        fence: Fence,
        keys: SessionKeys,
        (head, snapshot): (Head, Seq),
        emitter: Option<Emitter>,
    ) -> Self {
        Self { core, session, tenant, fence, keys, of_tenant: None, head, snapshot, emitter }
    }

    /// The end of what is durable.
    pub(crate) fn head(&self) -> Head {
        self.head
    }

    /// Appends entries, which follow the head, and returns when they are durable. With `state`, the state after
    /// them, a snapshot is written when one is due.
    pub(crate) async fn append(
        &mut self,
        entries: Vec<Entry>,
        beside: Beside,
        state: Option<&Folded>,
    ) -> Result<(), AppendError> {
        if entries.iter().any(|entry| matches!(entry.body, Body::SessionPurged { .. })) {
            let keys = self.core.keyring.tenant_data(&self.tenant).await;
            self.of_tenant =
                Some(keys.map_err(|error| AppendError::Unavailable { detail: error.to_string() })?);
        }
        let outbox = self.emitter.as_mut().map_or_else(Vec::new, |emitter| emitter.tell(&entries));
        let tells = !outbox.is_empty();
        let append = Arc::new(self.build(entries, beside, state, outbox));
        let snapshot = append.snapshot.as_ref().map(|snapshot| snapshot.head.seq);
        let appended = self.until_known(append.clone()).await?;
        reached(&append);
        if let Some(emitter) = self.emitter.as_ref().filter(|_| tells) {
            emitter.were_written();
        }
        self.head = appended;
        #[cfg(feature = "simulation")]
        if let Some(state) = state {
            self.core.observe(self.fence.epoch, state);
        }
        self.snapshot = snapshot.unwrap_or(self.snapshot);
        Ok(())
    }

    fn build(
        &self,
        entries: Vec<Entry>,
        beside: Beside,
        state: Option<&Folded>,
        outbox: Vec<Outgoing>,
    ) -> Append {
        let id: AppendId = self.core.ids.make();
        let mut blobs = Vec::new();
        let mut turns = Vec::new();
        let mut head = self.head;
        let mut records = Vec::with_capacity(entries.len());
        for entry in entries {
            match &entry.body {
                Body::TurnStarted { turn, .. } => turns.push(TurnMark::Started(*turn, entry.seq)),
                Body::TurnEnded { turn, joined, .. } => {
                    turns.push(TurnMark::Ended(*turn, entry.seq));
                    // They have no life of their own.
                    let marks = |turn: &TurnId| {
                        [TurnMark::Started(*turn, entry.seq), TurnMark::Ended(*turn, entry.seq)]
                    };
                    turns.extend(joined.iter().flat_map(marks));
                }
                Body::MailRefused { turn: Some(turn), .. } | Body::TurnWithdrawn { turn, .. } => {
                    turns.extend([TurnMark::Started(*turn, entry.seq), TurnMark::Ended(*turn, entry.seq)]);
                }
                _ => {}
            }
            let record = self.record(id, &head.hash, entry, &mut blobs);
            head = record.head();
            records.push(record);
        }
        let snapshot =
            state.filter(|state| self.is_snapshot_due(state)).and_then(|state| self.snapshot_of(state, head));
        Append {
            id,
            session: self.session,
            fence: self.fence,
            expected: self.head,
            records,
            blobs,
            consume_mail: beside.consume_mail,
            post_mail: beside.parcels.into_iter().map(|parcel| self.post(parcel)).collect(),
            outbox,
            requires: beside.requires,
            mark: beside.mark,
            turns,
            snapshot,
            actors: Vec::new(),
            settle: beside.settle,
        }
    }

    /// Mail as the runtime posts it. Its receiver has the same subject, so the same key.
    fn post(&self, parcel: Parcel) -> Post {
        let Parcel { to, turn, actor, mail } = parcel;
        let kind = mail.kind();
        let text = serde_json::to_vec(&mail).expect("mail has string keys and finite numbers, so it is JSON");
        Post {
            id: self.core.ids.make(),
            session: to,
            kind,
            system: true,
            dedupe: None,
            turn,
            actor,
            named_actor: None,
            posted: self.core.clock.now(),
            sealed: self.keys.seal(Place::Mail(to, kind.as_str()), &text),
            quota: self.core.limits.system_mail_per_session,
        }
    }

    /// What the session's texts are sealed with.
    pub(crate) fn keys(&self) -> &SessionKeys {
        &self.keys
    }

    fn record(&self, append: AppendId, previous: &Digest, entry: Entry, blobs: &mut Vec<Blob>) -> Record {
        let kind = Kind(entry.body.kind().into());
        let mut body = entry.body;
        self.set_apart(&mut body, blobs);
        let of_tenant = self.of_tenant.as_ref().filter(|_| kind.as_str() == Kind::PURGE);
        let keys = of_tenant.unwrap_or(&self.keys);
        let sealed = keys.seal(Place::Record(self.session, &kind), &encode(&body));
        let header = Header {
            tenant: self.tenant.clone(),
            session: self.session,
            seq: entry.seq,
            epoch: entry.epoch,
            kind,
            version: RECORD_VERSION,
            time: entry.time,
            actor: entry.actor,
            body_digest: Digest::of(&sealed),
        };
        let hash = record_hash(previous, &header);
        Record { header, append, body: sealed, hash }
    }

    /// Large payloads become blobs.
    fn set_apart(&self, body: &mut Body, blobs: &mut Vec<Blob>) {
        for payload in body.payloads_mut() {
            let Payload::Inline(value) = payload else { continue };
            // A value is smaller than its limit most of the time, and looking costs less than writing.
            if crate::machine::json_bytes(value) <= self.core.limits.inline_bytes {
                continue;
            }
            let text = value.to_string().into_bytes();
            let address = self.keys.blob_address(&text);
            let sealed = self.keys.seal(Place::Blob(self.session, address), &text);
            *payload = Payload::Blob { address, bytes: text.len() as u64 };
            if !blobs.iter().any(|blob| blob.address == address) {
                blobs.push(Blob { address, sealed });
            }
        }
    }

    fn is_snapshot_due(&self, state: &Folded) -> bool {
        let since = state.seq.number() - self.snapshot.number();
        state.turn.is_none() && !state.purged && since >= self.core.limits.snapshot_every
    }

    /// None when it would be too large for an append: then the records are read instead.
    fn snapshot_of(&self, state: &Folded, head: Head) -> Option<Snapshot> {
        let text =
            serde_json::to_vec(state).expect("a state has string keys and finite numbers, so it is JSON");
        if text.len() > LARGEST_SNAPSHOT {
            return None;
        }
        let sealed = self.keys.seal(Place::Snapshot(self.session, head), &text);
        Some(Snapshot { head, fold_version: FOLD_VERSION, sealed })
    }

    /// Repeats the append under its id until the journal says what became of it, or the shell stops.
    async fn until_known(&self, append: Arc<Append>) -> Result<Head, AppendError> {
        let mut pause = Duration::from_millis(5);
        loop {
            reach!(AppendBegins);
            let appended = self.core.store.journal.append(append.clone()).await;
            reach!(AppendEnds);
            let error = match appended {
                Ok(appended) if appended.still_owner => return Ok(appended.head),
                Ok(_) => return Err(AppendError::Fenced { actual: self.fence.epoch.next() }),
                Err(error @ (AppendError::Indeterminate { .. } | AppendError::Unavailable { .. })) => error,
                Err(error) => return Err(error),
            };
            if self.core.stop.is_abrupt() {
                return Err(error);
            }
            tracing::warn!(session = %self.session, %error, "an append is tried again");
            self.core.clock.sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// What has become durable, for whoever wants to stop right here.
fn reached(append: &Append) {
    if !append.consume_mail.is_empty() {
        reach!(MailConsumed);
    }
    if !append.blobs.is_empty() {
        reach!(BlobWritten);
    }
    if append.snapshot.is_some() {
        reach!(SnapshotWritten);
    }
}
