//! What a simulation sees of sessions from inside. It changes nothing.

use crate::machine::Folded;
use crate::words::{Epoch, OwnerId};

/// Is told of the state of each session that a shell holds.
pub trait Observer: Send + Sync + 'static {
    /// An owner holds a session in this state, under this epoch: it has just read it back, or has just been told that an
    /// append is durable up to here.
    fn holds(&self, owner: OwnerId, epoch: Epoch, state: &Folded);
}
