//! How much one page may hold. What is beyond is left out, and the page says so.

/// Records of a page: the latest ones of its session.
pub(super) const RECORDS: usize = 10_000;

/// The JSON of one record's body, in bytes. Of a longer one the beginning is shown.
pub(super) const BODY_BYTES: usize = 64 << 10;

/// The JSON of all bodies of a page, in bytes. The oldest are left out first.
pub(super) const ALL_BODY_BYTES: usize = 16 << 20;

/// A text that tells in one line what a record or a turn is about, in bytes.
pub(super) const LINE_BYTES: usize = 240;

/// Spans that are kept of one step; the oldest are left out.
pub(super) const SPANS_PER_STEP: usize = 256;

/// Dependencies that are kept of the steps of one turn.
pub(super) const DEPENDENCIES_PER_TURN: usize = 20_000;

/// Other sessions of the same journal that are named.
pub(super) const OTHER_SESSIONS: usize = 20;
