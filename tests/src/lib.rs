//! What the test programs share: the recorder that plays the outside world, the crash harness, events under SIGKILL, and the frame of the
//! benchmarks. Nothing here is part of the product.

pub mod arguments;
pub mod bench;
pub mod crash;
pub mod events;
mod random;
pub mod recorder;

/// README's first embedding, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
