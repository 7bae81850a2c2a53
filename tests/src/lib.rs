//! What the test programs share: the recorder that plays the outside world, the crash harness, the simulation, and the frame of the
//! benchmarks. Nothing here is part of the product.

pub mod arguments;
pub mod bench;
pub mod crash;
mod random;
pub mod recorder;
pub mod residue;
pub mod simulate;

/// README's first embedding, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
