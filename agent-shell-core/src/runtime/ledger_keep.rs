//! The horizon of the ledger: what is older is let go, so that it does not grow for ever.

use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, Stopping};
use crate::words::{Result, Timestamp};

/// How often the ledger is looked at.
const EVERY: Duration = Duration::from_secs(600);
/// Operations looked at in one go.
const PAGE: usize = 1_024;

/// Lets go, now and then, of what is past the horizon, until the shell stops. Several processes may do so beside each other.
pub(super) async fn keep(core: Arc<Core>) {
    loop {
        let now = core.clock.now();
        let horizon = Timestamp::from_millis(now.as_millis().saturating_sub(core.limits.ledger_keep_ms));
        if let Err(error) = trim(&core, now, horizon).await {
            tracing::warn!(%error, "the ledger was not trimmed; it is tried again");
        }
        tokio::select! {
            biased;
            () = core.stop.reached(Stopping::Draining) => return,
            () = core.clock.sleep(EVERY) => {}
        }
    }
}

/// Lets go of operations that were made before the horizon, however many there are.
async fn trim(core: &Core, now: Timestamp, horizon: Timestamp) -> Result<()> {
    let ledger = &*core.store.ledger;
    let mut after = 0;
    loop {
        let page = ledger.operations(after, PAGE).await?;
        // Instants may go back, as the clock did: what stands before an old operation is old, whatever it says.
        let old = page.iter().rfind(|operation| operation.at < horizon);
        match (old, page.last()) {
            (Some(old), _) => {
                if !trim_through(core, old.number).await? {
                    return Ok(());
                }
            }
            // A clock that ran ahead made all of the page. What follows may be older.
            (None, Some(last)) if page.iter().all(|operation| operation.at > now) => after = last.number,
            _ => return Ok(()),
        }
        if core.stop.now() != Stopping::No {
            return Ok(());
        }
    }
}

/// Lets go of the operations up to one; false when there were none, as another process was quicker.
async fn trim_through(core: &Core, through: u64) -> Result<bool> {
    let mut removed = false;
    while core.store.ledger.trim(through).await? > 0 {
        removed = true;
        if core.stop.now() != Stopping::No {
            break;
        }
    }
    Ok(removed)
}
