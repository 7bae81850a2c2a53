//! Every integration test, in one binary: one module for each thing that is tested.
#![allow(clippy::unwrap_used, reason = "what is written here runs in tests only")]
#![allow(clippy::disallowed_methods, reason = "a test lives in real time, beside what it tests")]

mod agent;
mod answers;
mod archive;
mod bounds;
mod children;
mod crash_program;
mod default_tree;
mod disk;
mod documents;
mod dynamic;
mod endings;
mod evaluated;
mod events;
mod export;
mod followed;
mod forked;
mod front_door;
mod golden;
mod guarded;
mod handed_off;
mod holding;
mod killers;
mod latency;
mod layers;
mod ledger_killed;
mod licences;
mod machine;
mod optimistic;
mod owners;
mod plan_parts;
mod plans;
mod purge;
mod recorder_process;
mod resuming;
mod sagas;
mod simulation;
mod sleeping;
mod spend_program;
mod steered;
mod support;
mod test_kit;
mod turns;
mod verifier;
mod workspace;
