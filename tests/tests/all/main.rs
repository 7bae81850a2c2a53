//! The tests.
mod machine;
mod turns;
