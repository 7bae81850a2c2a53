//! Followers: clients of a process that follow turns, some slowly, that drop calls half-way and connect anew, also in another
//! process when theirs has died.

use std::pin::pin;
use std::time::Duration;

use agent_shell_core::words::{Entropy, Seq};
use agent_shell_core::{ErrorKind, Follow, Followed, Result, Shell, Turn};
use futures::future::{Either, select};

use super::bugs::Bug;
use super::host::Host;
use super::rule::Rule;
use super::sights::Sight;
use super::truth::Watching;

/// What became of a call.
enum Next {
    Told(Result<Option<Followed>>),
    Dropped,
}

impl Host {
    /// Follows a turn from its beginning, unless enough are followed.
    pub(super) fn watch(&self, turn: Turn) {
        if let Some(watching) = self.truth.watches(turn.id()) {
            self.goes_on(turn, watching);
        }
    }

    /// Goes on where a follower was whose process has died.
    pub(super) fn watch_on(&self, shell: &Shell) {
        if let Some(watching) = self.truth.watches_on() {
            self.goes_on(shell.turn(watching.turn), watching);
        }
    }

    fn goes_on(&self, turn: Turn, watching: Watching) {
        let host = self.clone();
        self.spawn.spawn(Box::pin(async move { host.follows(&turn, &watching).await }));
    }

    async fn follows(&self, turn: &Turn, watching: &Watching) {
        let slow_ms = if self.percent(40) { 20 + self.entropy.below(400) } else { 0 };
        if slow_ms > 0 {
            self.truth.see(Sight::FollowerSlow);
        }
        loop {
            let mut follow = self.connects(turn, watching.last());
            watching.connected(self.life);
            loop {
                let told = match self.next(&mut follow, slow_ms).await {
                    Next::Told(told) => told,
                    Next::Dropped => continue,
                };
                match told {
                    Ok(Some(followed)) if self.forgets(&followed) => {}
                    Ok(Some(followed)) => watching.told(&followed),
                    Ok(None) => return watching.is_over(),
                    Err(error) => {
                        self.allow_following(watching, &error);
                        match error.kind() {
                            ErrorKind::Purged => return watching.was_purged(),
                            ErrorKind::NotFound if self.truth.is_anybody_forgotten() => {
                                return watching.was_purged();
                            }
                            ErrorKind::ShuttingDown => return,
                            _ => self.sleep_ms(60).await,
                        }
                    }
                }
                if slow_ms > 0 && !self.truth.is_calm() {
                    self.sleep_ms(slow_ms).await;
                }
                if self.percent(6) {
                    break;
                }
            }
            drop(follow);
            watching.disconnected();
            self.truth.see(Sight::Reconnect);
            self.sleep_ms(30).await;
        }
    }

    fn connects(&self, turn: &Turn, last: Seq) -> Follow {
        match last {
            Seq::ZERO => turn.follow(),
            last if self.bug() == Some(Bug::FollowedAgain) => turn.follow_after(Seq::new(last.number() - 1)),
            last => turn.follow_after(last),
        }
    }

    /// A deliberate fault: nobody is told that text counts for nothing.
    fn forgets(&self, followed: &Followed) -> bool {
        self.bug() == Some(Bug::RetractionForgotten) && matches!(followed, Followed::Retracted { .. })
    }

    /// One call, which now and then is not waited for.
    async fn next(&self, follow: &mut Follow, slow_ms: u64) -> Next {
        if !self.percent(8) {
            return Next::Told(follow.next().await);
        }
        let patience = Duration::from_micros(self.entropy.below(2_000 + slow_ms * 100));
        match select(pin!(follow.next()), self.time.sleep(patience)).await {
            Either::Left((told, _)) => Next::Told(told),
            Either::Right(_) => {
                self.truth.see(Sight::NextDropped);
                Next::Dropped
            }
        }
    }

    fn allow_following(&self, watching: &Watching, error: &agent_shell_core::Error) {
        self.truth.see(Sight::NextFailed);
        let is_lost = error.kind() == ErrorKind::NotFound && !self.truth.is_anybody_forgotten();
        if is_lost || error.kind() == ErrorKind::Corrupt {
            self.truth.say(Rule::Follow, format!("a follower of turn {}: {error:?}", watching.turn));
        } else {
            self.allow("following a turn", error);
        }
    }
}
