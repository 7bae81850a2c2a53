//! Every integration test, in one binary: one module for each thing that is tested.
#![allow(clippy::unwrap_used, reason = "what is written here runs in tests only")]

mod default_tree;
mod layers;
mod licences;
mod recorder_process;
mod workspace;
