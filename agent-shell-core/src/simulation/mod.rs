//! What a deterministic simulation of a whole shell is made of: simulated time, seeded entropy, an executor that runs
//! every task in an order that the seed gives, and ports that fail as a seed says. One seed replays one run exactly.
//!
//! A simulation opens several shells on one store, each on [`Ports`](crate::runtime::Ports) of its own: a [`SimClock`], a
//! [`SeededEntropy`], the spawner of a [`Group`] of tasks, and an [`UnreliableStore`] before the shared store. A crash is
//! the end of a group between two polls: what had been sent to the store is still carried out, and nobody hears the answer.
//!
//! Nothing here judges: what must hold is for the simulation to check. Nothing here is meant for a shell in earnest.
//!
//! ```
//! use agent_shell_core::simulation::{Executor, Progress, SeededEntropy, SimTime};
//! use std::time::Duration;
//!
//! let time = SimTime::default();
//! let mut executor = Executor::new(time.clone(), SeededEntropy::new(7));
//! let group = executor.group();
//! let sleeper = time.clone();
//! executor.spawn(group, async move { sleeper.sleep(Duration::from_secs(3600)).await });
//! while executor.step() != Progress::Still {}
//! assert_eq!(time.now(), Duration::from_secs(3600)); // and not a moment of real time has passed
//! ```

mod bus;
mod entropy;
mod executor;
mod faults;
mod store;
#[cfg(test)]
mod tests;
mod time;
mod way;

pub use bus::UnreliableBus;
pub use entropy::SeededEntropy;
pub use executor::{Executor, Group, Progress};
pub use faults::{Crashes, Fault, FaultCounts, Faults, Operation, Rates};
pub use store::UnreliableStore;
pub use time::{SimClock, SimTime, Sleep};
