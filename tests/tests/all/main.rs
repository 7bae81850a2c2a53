//! The tests.
mod machine;
