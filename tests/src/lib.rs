//! What the test programs share: the recorder that plays the outside world, the crash harness, the simulation, events under
//! SIGKILL, an owner in a process of its own, budgets under load, a host on a disk that fails, and the frame of the benchmarks. Nothing here is part of the product.

pub mod arguments;
pub mod bench;
pub mod crash;
pub mod disk;
pub mod events;
pub mod owner;
pub mod random;
pub mod recorder;
pub mod residue;
pub mod simulate;
pub mod spend;

/// README's programs, compiled. The first embedding is run as the example of `agent-shell-core` and as `first_embedding`, which
/// are it word for word; here it would leave its journal in the source.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
