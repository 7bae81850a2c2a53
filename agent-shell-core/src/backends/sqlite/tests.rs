//! Tests of the SQLite stores.

mod conformance;
