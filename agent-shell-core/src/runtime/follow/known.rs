//! What is known of a followed turn: told by the task that drives it here, or looked up, by one for all followers.

use std::sync::Arc;
use std::time::Duration;

use super::live::Channel;
use super::not_found;
use crate::data::KeyId;
use crate::ports::SessionStatus;
use crate::runtime::core::{Core, Stopping};
use crate::words::{Error, ErrorKind, Result, Seq, SessionId, TurnId};

/// How many polls pass between two looks at a turn that this process drives, and so should hear of; or that has ended, and
/// of which a purge alone is news.
const SELDOM: u32 = 16;

/// Where a turn stands. It only ever goes on.
#[derive(Default, Clone, PartialEq)]
pub(super) struct Known {
    /// Whether the store was asked since the channel was made. What is told meanwhile is not all.
    pub(super) is_looked_up: bool,
    pub(super) session: Option<SessionId>,
    pub(super) key: Option<KeyId>,
    pub(super) started: Option<Seq>,
    pub(super) ended: Option<Seq>,
    /// The last durable record of the session, as far as is known.
    pub(super) durable: Seq,
    pub(super) is_purged: bool,
}

impl Known {
    pub(super) fn goes_on(&mut self, durable: Seq, started: Option<Seq>, ended: Option<Seq>) {
        self.durable = durable.max(self.durable);
        self.started = self.started.or(started);
        self.ended = self.ended.or(ended);
    }

    /// The last record that can be told.
    pub(super) fn last(&self) -> Seq {
        self.ended.unwrap_or(self.durable)
    }
}

/// Asks the store for the first time, and from then on every now and then for as long as anybody follows. One asks, the
/// others wait for it.
pub(super) async fn look_first(core: &Arc<Core>, channel: &Arc<Channel>) -> Result<()> {
    let _one = channel.reading.lock().await;
    if channel.lock().known.is_looked_up {
        return Ok(());
    }
    look(core, channel).await?;
    core.spawn.spawn(Box::pin(keep(core.clone(), channel.clone())));
    Ok(())
}

/// Asks the store where the turn stands.
async fn look(core: &Core, channel: &Channel) -> Result<()> {
    let journal = &*core.store.journal;
    let of = async || journal.turn(channel.turn()).await?.ok_or_else(|| not_found(channel.turn()));
    let known = channel.lock().known.session;
    let id = match known {
        Some(id) => id,
        None => of().await?.session,
    };
    // The session is asked before the turn: what ends it when the turn has not ended by then is within the turn, or before
    // it. The other way round the session may have gone on to the next turn meanwhile.
    let session = journal.session(id).await?;
    let session =
        session.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no session {id}")))?;
    if session.mark.status == SessionStatus::Purged {
        channel.purge();
        return Ok(());
    }
    let turn = of().await?;
    let durable = turn.started.unwrap_or(Seq::ZERO).max(session.head.seq);
    let mut state = channel.lock();
    let before = state.known.clone();
    state.known.goes_on(durable, turn.started, turn.ended);
    state.known.session = Some(id);
    state.known.key = Some(session.key);
    state.known.is_looked_up = true;
    if state.known != before {
        drop(state);
        channel.nudge();
    }
    Ok(())
}

/// Looks every [`Limits::poll_ms`](crate::Limits::poll_ms), or less often, until nobody follows.
async fn keep(core: Arc<Core>, channel: Arc<Channel>) {
    let poll = Duration::from_millis(core.limits.poll_ms.max(1));
    let mut passed = 0;
    loop {
        tokio::select! {
            biased;
            () = channel.closed.notified() => return,
            () = core.stop.reached(Stopping::Draining) => return,
            () = core.clock.sleep(poll) => {}
        }
        if channel.lock().known.is_purged {
            return;
        }
        if check_trouble(&core, &channel).is_err() {
            channel.nudge();
        }
        passed += 1;
        let has_ended = channel.lock().known.ended.is_some();
        if passed < SELDOM && (has_ended || is_driven(&core, &channel)) {
            continue;
        }
        passed = 0;
        if let Err(error) = look(&core, &channel).await {
            tracing::warn!(turn = %channel.turn(), %error, "a followed turn was not looked at; it is tried again");
        }
    }
}

fn is_driven(core: &Core, channel: &Channel) -> bool {
    let session = channel.lock().known.session;
    session.and_then(|session| core.registry.find(session)).is_some_and(|handle| handle.is_driven())
}

/// # Errors
/// Why the turn's session can't go on in this process.
pub(super) fn check_trouble(core: &Core, channel: &Channel) -> Result<()> {
    let session = channel.lock().known.session;
    let handle = session.and_then(|session| core.registry.find(session));
    handle.and_then(|handle| handle.trouble()).map_or(Ok(()), Err)
}

/// That nothing of the turn may be shown.
pub(super) fn purged(turn: TurnId) -> Error {
    Error::new(ErrorKind::Purged, format!("the subject of turn {turn} was purged, so it can't be followed"))
}
