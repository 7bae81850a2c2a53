//! Following a turn live: its records as they become durable, and the text of steps as it comes.
//!
//! All followers of a turn in one process share a [`Channel`](live::Channel): what is known of the turn, the latest
//! records opened once for all ([`tail`]), and the text of the attempts under way ([`live`]). A follower itself is a
//! place in these. So nothing waits for a follower, and nothing is kept for one that is slow: it finds what it missed
//! in the journal, which is the truth.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use futures::Stream;
use tokio::sync::watch;

use super::core::{Core, Stopping};
use super::history::HistoryEntry;
use super::turn::Turn;
use crate::words::{Error, ErrorKind, Head, Result, Seq, StepId, TurnId};

mod cursor;
mod known;
mod live;
mod tail;
#[cfg(test)]
mod tests;
mod voice;

use self::cursor::{Cursor, Next};
use self::tail::Opened;
use live::Seat;
pub(crate) use live::{Live, News};

/// What a follower of a turn is told. See [`Follow`] for the order.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Followed {
    /// A record is durable. It is the one that [`Session::history`](super::Session::history) shows at this place.
    Durable {
        /// Its place in the session: from here a later [`Turn::follow_after`] goes on.
        seq: Seq,
        /// The record, which all followers of the turn in this process share.
        entry: Arc<HistoryEntry>,
    },
    /// More text of a step, which is not durable and may never be.
    Token {
        /// The step.
        step: StepId,
        /// Its attempt, from 1.
        attempt: u32,
        /// How many bytes of this attempt's text stand before it. More than what was told so far when text was lost.
        offset: u64,
        /// The text, in UTF-8, never empty: all that came since, up to 16 KiB.
        text: String,
    },
    /// The text that was told of this attempt counts for nothing: the attempt failed, was dropped, or is no more
    /// driven by this process.
    Retracted {
        /// The step.
        step: StepId,
        /// The attempt.
        attempt: u32,
    },
}

/// A turn as it goes on, for one who follows. See [`Turn::follow`].
///
/// # What is promised
/// - [`Followed::Durable`] comes for every record of the session from the turn's first (`turn.started`) to its last, in
///   the order of their places, without a gap and without a repeat. Records between these two that belong to no turn, a
///   signal that came too early, say, come too: a gap always means a loss. Each was checked against the chain from the
///   record before the first one that is read.
/// - [`Followed::Token`] comes in the order of the offsets of its attempt, without a repeat. Text that was not yet told
///   is told together, so a slow follower gets fewer and longer pieces. Of the text of a turn's running attempts the
///   latest [`Limits::live_bytes`](crate::Limits::live_bytes) are kept; who is slower than that misses the oldest, and
///   sees so by the offset.
/// - Whoever was told text of an attempt is told its end: [`Followed::Retracted`], or the record with the step's
///   outcome, which takes the text's place. After that record no text of the step comes. A retracted attempt of a `Pure`
///   step may begin again under its old number: then its text comes anew, from offset 0.
/// - What is durable comes before what is not: no text comes before a record that was durable when it was said.
/// - A follower holds up nothing. Records are not kept for it, but read from the journal when it asks, and the latest are
///   shared by all followers of the turn in the process.
///
/// # What is not
/// - Text comes only in the process that drives the turn. Elsewhere, and after a reconnect to another process, only records
///   come, looked for every [`Limits::poll_ms`](crate::Limits::poll_ms).
/// - Text that was said when nobody followed the turn in the process is not kept. Follow a turn right after its
///   submit, and nothing is missed.
/// - While the turn waits in its session's queue, or rests until a person decides, nothing comes: see
///   [`Turn::rests`](super::Turn::rests).
pub struct Follow {
    core: Arc<Core>,
    seat: Seat,
    changes: watch::Receiver<()>,
    stop: watch::Receiver<Stopping>,
    cursor: Cursor,
    /// The end of the chain as far as it was read, when anything was.
    head: Option<Head>,
    /// Records that were read and not told yet.
    page: VecDeque<Opened>,
    is_over: bool,
}

impl Follow {
    pub(crate) fn new(core: Arc<Core>, turn: TurnId, after: Seq) -> Self {
        let seat = core.live.join(turn);
        let changes = seat.channel().watch();
        let stop = core.stop.watch();
        let cursor = Cursor::new(turn, after);
        Self { core, seat, changes, stop, cursor, head: None, page: VecDeque::new(), is_over: false }
    }

    /// Waits for what comes next; none once the turn's last record was told.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such turn, [`ErrorKind::Purged`] when its subject was purged, also when
    /// that ended the turn, [`ErrorKind::Archived`] when its records stand in a file, [`ErrorKind::Corrupt`] at a record
    /// that does not follow from the one before, [`ErrorKind::ShuttingDown`] when there is nothing to tell and the shell
    /// stops; else what the store says. It may be called again, and goes on where it was.
    ///
    /// # Cancel safety
    /// Dropping the future skips nothing and repeats nothing: the next call tells what this one would have.
    pub async fn next(&mut self) -> Result<Option<Followed>> {
        loop {
            if self.is_over {
                return Ok(None);
            }
            // Marked before it is looked, so that no change is slept through.
            self.changes.borrow_and_update();
            let channel = self.seat.channel();
            match self.cursor.next(channel) {
                Next::Look => known::look_first(&self.core, channel).await?,
                Next::Live(followed) => return Ok(Some(followed)),
                Next::Durable { last } => {
                    if self.page.is_empty() {
                        let read = tail::fetch(&self.core, channel, self.cursor.after, self.head, last);
                        self.page = read.await?;
                    }
                    // There is no await from here on: what is taken is told.
                    return Ok(self.tell());
                }
                Next::Over => {
                    self.is_over = true;
                    self.page.clear();
                }
                Next::Purged => {
                    self.page.clear();
                    return Err(known::purged(self.seat.channel().turn()));
                }
                Next::Wait => {
                    known::check_trouble(&self.core, channel)?;
                    tokio::select! {
                        biased;
                        changed = self.changes.changed() => {
                            // The seat keeps the channel.
                            debug_assert!(changed.is_ok());
                        }
                        _ = self.stop.wait_for(|stop| *stop >= Stopping::Draining) => self.core.stop.check()?,
                    }
                }
            }
        }
    }

    /// Tells of the record at the front of the page, or first of text that it puts an end to.
    fn tell(&mut self) -> Option<Followed> {
        let Opened { entry, hash, .. } = self.page.front()?;
        if let Some((step, attempt)) = self.cursor.retracted_by(&entry.body) {
            return Some(Followed::Retracted { step, attempt });
        }
        let (seq, entry, hash) = (entry.seq, entry.clone(), *hash);
        self.page.pop_front();
        self.cursor.passes(&entry, self.seat.channel());
        self.head = Some(Head { seq, hash });
        Some(Followed::Durable { seq, entry })
    }

    /// The same as a [`Stream`], to be merged with others. It ends with the turn, or after its first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Followed>> + Send + 'static {
        futures::stream::try_unfold(self, |mut follow| async move {
            Ok(follow.next().await?.map(|followed| (followed, follow)))
        })
    }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Follow({}, after {})", self.seat.channel().turn(), self.cursor.after)
    }
}

impl Turn {
    /// Follows the turn from its first record on: what became durable so far comes first. It can be followed by any
    /// process that has the store open, by as many as want to, and at any time. [`Follow`] says what comes, in which
    /// order, and what is not promised.
    ///
    /// Nothing is looked up yet. From now on text that the turn's steps say here is kept for the follower.
    ///
    /// ```
    /// # use agent_shell_core::{Call, Followed, Plan, Shell, Step, Tool};
    /// # use serde_json::json;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let post = Tool::idempotent("post", "", |_: serde_json::Value, _: Call| async { Ok("posted") });
    /// # let shell = Shell::volatile().tool(post).open().await?;
    /// # let plan = Plan::new([Step::tool("one", "post", json!(1))])?;
    /// let turn = shell.session("customer-42")?.submit(plan).await?;
    /// let (mut follow, mut seen, mut kinds) = (turn.follow(), None, Vec::new());
    /// while let Some(followed) = follow.next().await? {
    ///     match followed {
    ///         Followed::Durable { seq, entry } => {
    ///             kinds.push(entry.body.kind());
    ///             seen = Some(seq); // kept by whoever wants to reconnect
    ///         }
    ///         Followed::Token { text, .. } => print!("{text}"),
    ///         Followed::Retracted { step, .. } => println!("what `{step}` said counts for nothing"),
    ///         _ => {}
    ///     }
    /// }
    /// assert_eq!(kinds, ["turn.started", "plan.adopted", "step.started", "step.succeeded", "turn.ended"]);
    /// let mut again = turn.follow_after(seen.expect("the turn has records"));
    /// assert_eq!(again.next().await?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn follow(&self) -> Follow {
        self.follow_after(Seq::ZERO)
    }

    /// As [`Turn::follow`], from the record after `seq` on, in whatever process `seq` was told: a
    /// [`Followed::Durable`] names it. A place before the turn is as good as none, and one after its end tells nothing.
    pub fn follow_after(&self, seq: Seq) -> Follow {
        Follow::new(self.core().clone(), self.id(), seq)
    }
}

fn not_found(turn: TurnId) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no turn {turn}"))
}
