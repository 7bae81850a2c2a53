//! The judge can say no.

use agent_shell_core::data::Body;
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::{Epoch, Pseudonym, Seq, Timestamp, TurnId};

use super::follower::{Seen, Told};

fn entry(seq: u64, time: u64) -> HistoryEntry {
    let body = Body::TurnExpired { turn: TurnId::from_bytes([1; 16]) };
    let (epoch, actor) = (Epoch::new(1), Pseudonym::RUNTIME);
    HistoryEntry { seq: Seq::new(seq), epoch, time: Timestamp::from_millis(time), actor, body }
}

/// What is said of a follower that was told these, when the history holds 2, 3 and 4.
fn judged(told_records: &[(u64, u64)]) -> Told {
    let (mut history, mut seen, mut told) = (Seen::default(), Seen::default(), Told::default());
    for seq in 2..=4 {
        history.record(&entry(seq, 0), &mut Told::default());
    }
    for &(seq, time) in told_records {
        seen.record(&entry(seq, time), &mut told);
    }
    seen.judge(&history, &mut told);
    told
}

#[test]
fn what_is_missing_doubled_or_altered_is_counted() {
    assert!(judged(&[(2, 0), (3, 0), (4, 0)]).is_right());
    let counts = |told: Told| (told.gaps, told.repeats, told.altered, told.unfinished);
    assert_eq!(counts(judged(&[(2, 0), (4, 0)])), (1, 0, 1, 0));
    assert_eq!(counts(judged(&[(2, 0), (3, 0), (3, 0), (4, 0)])), (0, 1, 1, 0));
    assert_eq!(counts(judged(&[(2, 0), (3, 9), (4, 0)])), (0, 0, 1, 0));
    assert_eq!(counts(judged(&[(2, 0), (3, 0)])), (0, 0, 0, 1));
    assert_eq!(counts(judged(&[(3, 0), (4, 0)])), (0, 0, 0, 1));
    assert_eq!(counts(judged(&[])), (0, 0, 0, 1));
}
