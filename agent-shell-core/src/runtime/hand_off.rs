//! Handing a session over to another planner.

use super::session::Session;
use crate::data::{Mail, PlannerRef};
use crate::ports::Deed;
use crate::words::{Actor, Error, ErrorKind, PlannerName, Result};

impl Session {
    /// Hands the session over to another planner of the shell. Turns that start from then on, those that are submitted later
    /// among them, and that were submitted without a word of who plans, are planned by that one; conversation, history and subject stay. A turn that runs keeps its planner, and so does a
    /// turn that names one or brings its plan. The last of several counts. Returns when this is on disk.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`] when the actor may not, [`ErrorKind::InvalidInput`] when the shell has no planner of that name; else
    /// what the store says.
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw it.
    pub async fn hand_off(
        &self,
        planner: impl AsRef<str>,
        reason: impl Into<String>,
        actor: &Actor,
    ) -> Result<()> {
        let planner = PlannerName::new(planner)?;
        self.inner.authorize(actor, Deed::HandOff).await?;
        if let Some(lacking) = self.inner.core.lacks(&PlannerRef::Named(planner.clone())) {
            return Err(Error::new(ErrorKind::InvalidInput, lacking));
        }
        self.inner.post(Mail::HandOff { planner, reason: reason.into() }, None, None, actor).await.map(drop)
    }
}
