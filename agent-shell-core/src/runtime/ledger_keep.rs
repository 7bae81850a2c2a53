//! The horizon of the ledger: what is older is let go, so that it does not grow for ever.

use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, Stopping};
use crate::words::{Result, Timestamp};

/// How often the ledger is looked at.
const EVERY: Duration = Duration::from_secs(600);
/// Operations looked at in one go, and let go in one look at most times this.
const PAGE: usize = 1_024;
const PAGES: usize = 64;

/// Lets go, now and then, of what is past the horizon, until the shell stops. Several processes may do so beside each other.
pub(super) async fn keep(core: Arc<Core>) {
    loop {
        let now = core.clock.now().as_millis();
        let horizon = Timestamp::from_millis(now.saturating_sub(core.limits.ledger_keep_ms));
        if let Err(error) = trim(&core, horizon).await {
            tracing::warn!(%error, "the ledger was not trimmed; it is tried again");
        }
        tokio::select! {
            biased;
            () = core.stop.reached(Stopping::Draining) => return,
            () = core.clock.sleep(EVERY) => {}
        }
    }
}

/// Lets go of operations that were made before an instant.
async fn trim(core: &Core, horizon: Timestamp) -> Result<()> {
    let ledger = &*core.store.ledger;
    for _ in 0..PAGES {
        let page = ledger.operations(0, PAGE).await?;
        let old = page.iter().take_while(|operation| operation.at < horizon).last();
        let Some(through) = old.map(|operation| operation.number) else { return Ok(()) };
        while ledger.trim(through).await? > 0 {
            if core.stop.now() != Stopping::No {
                return Ok(());
            }
        }
    }
    Ok(())
}
