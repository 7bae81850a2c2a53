//! The hub alone: text, its bounds, and its order among records.

mod whole;

use std::sync::Arc;

use super::Followed;
use super::cursor::{Cursor, Next};
use super::live::{Live, News, Seat};
use crate::data::{Body, Failure, FailureCode, Outcome, Payload};
use crate::machine::Entry;
use crate::words::{Epoch, Pseudonym, Seq, SessionId, StepId, Timestamp, TurnId};

const BYTES: usize = 1000;

fn turn() -> TurnId {
    TurnId::from_bytes([1; 16])
}

fn session() -> SessionId {
    SessionId::from_bytes([2; 16])
}

fn step(name: &str) -> StepId {
    StepId::new(name).unwrap()
}

fn live() -> Arc<Live> {
    Arc::new(Live::new(BYTES))
}

/// A follower of a turn whose first two records are durable.
struct Watcher {
    seat: Seat,
    cursor: Cursor,
}

impl Watcher {
    fn new(live: &Arc<Live>) -> Self {
        let seat = live.join(turn());
        seat.channel().change(|state| {
            state.known.is_looked_up = true;
            state.known.session = Some(session());
            state.known.goes_on(Seq::new(2), Some(Seq::new(1)), None);
        });
        Self { seat, cursor: Cursor::new(turn(), Seq::new(2)) }
    }

    fn next(&mut self) -> Next {
        self.cursor.next(self.seat.channel())
    }

    fn live(&mut self) -> Option<Followed> {
        match self.next() {
            Next::Live(followed) => Some(followed),
            Next::Wait => None,
            _ => panic!("a record is next"),
        }
    }

    /// The text that comes now, with where it begins.
    fn text(&mut self) -> Option<(u64, String)> {
        match self.live()? {
            Followed::Token { offset, text, .. } => Some((offset, text)),
            other => panic!("{other:?}"),
        }
    }

    fn is_retracted(&mut self, name: &str, of: u32) {
        let retracted = Followed::Retracted { step: step(name), attempt: of };
        assert_eq!(self.live(), Some(retracted));
    }

    /// Reads the record that is next, as a follower does.
    fn record(&mut self, entry: &Entry) -> Option<(StepId, u32)> {
        assert!(matches!(self.next(), Next::Durable { last } if last >= entry.seq));
        let retracted = self.cursor.retracted_by(&entry.body);
        if retracted.is_none() {
            self.cursor.passes(entry, self.seat.channel());
        }
        retracted
    }
}

fn entry(seq: u64, body: Body) -> Entry {
    let (epoch, time, actor) = (Epoch::new(1), Timestamp::from_millis(0), Pseudonym::RUNTIME);
    Entry { seq: Seq::new(seq), epoch, time, actor, body }
}

fn succeeded(seq: u64, name: &str) -> Entry {
    let answer = Payload::from(serde_json::json!("all"));
    let (context, view) = (std::collections::BTreeMap::new(), None);
    entry(seq, Body::ModelAnswered { turn: turn(), step: step(name), attempt: 1, answer, view, context })
}

fn failed(seq: u64, name: &str) -> Entry {
    let (retry_at, reason) = (Timestamp::from_millis(0), String::new());
    let step = step(name);
    let (turn, not_applied, counts) = (turn(), true, true);
    entry(seq, Body::AttemptFailed { turn, step, attempt: 1, not_applied, counts, reason, retry_at })
}

fn ended(seq: u64) -> Entry {
    let outcome = Outcome::Failed(Failure::of_turn(FailureCode::Planner, "enough"));
    entry(seq, Body::TurnEnded { turn: turn(), outcome, answer: None, undone: None, joined: Vec::new() })
}

fn durable(live: &Live, entry: &Entry) {
    live.durable(entry.seq, News::of(session(), Some(turn()), std::slice::from_ref(entry)));
}

#[test]
fn text_comes_in_order_and_together_to_who_is_slow() {
    let live = live();
    let (mut quick, mut slow) = (Watcher::new(&live), Watcher::new(&live));
    let mut voice = live.voice(turn(), step("a"), 1);
    voice.say("one ");
    assert_eq!(quick.text(), Some((0, "one ".into())));
    assert_eq!(quick.text(), None, "it does not come twice");
    voice.say("two ");
    voice.say("three");
    assert_eq!(quick.text(), Some((4, "two three".into())));
    assert_eq!(slow.text(), Some((0, "one two three".into())));
    let mut late = Watcher::new(&live);
    assert_eq!(late.text(), Some((0, "one two three".into())), "it is kept for who comes late");
    voice.finish();
    assert_eq!(quick.text(), None, "what is finished is not retracted");
}

#[test]
fn text_is_bounded_and_a_gap_shows_by_its_offset() {
    let live = live();
    let (mut quick, mut slow) = (Watcher::new(&live), Watcher::new(&live));
    let mut voice = live.voice(turn(), step("a"), 1);
    let mut other = live.voice(turn(), step("b"), 1);
    other.say("kept");
    let mut told = 0;
    for _ in 0..1000 {
        voice.say("näh ");
        while let Some(Followed::Token { step, offset, text, .. }) = quick.live() {
            if step.as_str() == "a" {
                assert_eq!(offset, told, "who keeps up misses nothing");
                told += text.len() as u64;
            }
        }
        assert!(live.held().1 <= BYTES);
    }
    assert_eq!(told, 5000);
    let (offset, text) = slow.text().unwrap();
    assert!(offset > 0 && text.len() >= BYTES / 2);
    assert_eq!(offset + text.len() as u64, 5000);
    assert_eq!(slow.text(), Some((0, "kept".into())), "the longest loses first");
    other.say(&"x".repeat(3 * BYTES));
    assert!(live.held().1 <= BYTES, "also of one text that is too long");
}

#[test]
fn a_long_text_comes_in_pieces_that_end_between_characters() {
    let live = Arc::new(Live::new(1 << 20));
    let mut watcher = Watcher::new(&live);
    let mut voice = live.voice(turn(), step("a"), 1);
    let all = "€".repeat(20_000);
    voice.say(&all);
    let (mut whole, mut pieces) = (String::new(), 0);
    while let Some((offset, text)) = watcher.text() {
        assert_eq!(offset, whole.len() as u64);
        assert!(text.len() <= 16 << 10);
        whole += &text;
        pieces += 1;
    }
    assert!(whole == all && pieces > 3);
}

#[test]
fn what_an_attempt_said_is_retracted_when_it_is_dropped() {
    let live = live();
    let (mut saw, mut did_not) = (Watcher::new(&live), Watcher::new(&live));
    let mut voice = live.voice(turn(), step("a"), 1);
    voice.say("wrong");
    assert!(saw.text().is_some());
    drop(voice);
    saw.is_retracted("a", 1);
    assert_eq!(saw.live(), None, "once");
    assert_eq!(did_not.live(), None, "to who saw it");
    let mut second = live.voice(turn(), step("a"), 2);
    second.say("right");
    assert_eq!(saw.text(), Some((0, "right".into())));
    assert_eq!(did_not.text(), Some((0, "right".into())));
}

#[test]
fn a_later_voice_of_a_step_silences_the_earlier_one() {
    let live = live();
    let mut watcher = Watcher::new(&live);
    let mut first = live.voice(turn(), step("a"), 1);
    let mut second = live.voice(turn(), step("a"), 1);
    first.say("old");
    assert!(watcher.text().is_some());
    second.say("new");
    first.say(" and late");
    watcher.is_retracted("a", 1);
    assert_eq!(watcher.text(), Some((0, "new".into())));
    drop(first);
    assert_eq!(watcher.live(), None, "it retracts nothing that another said");
}

#[test]
fn the_outcome_takes_the_place_of_the_text_and_none_comes_after_it() {
    let live = live();
    let (mut saw, mut did_not) = (Watcher::new(&live), Watcher::new(&live));
    let mut voice = live.voice(turn(), step("a"), 1);
    // One that was dropped, and whose last poll is not over.
    let mut stale = live.voice(turn(), step("a"), 1);
    voice.say("all");
    assert!(saw.text().is_some());
    voice.finish();
    let outcome = succeeded(3, "a");
    durable(&live, &outcome);
    stale.say("more");
    for watcher in [&mut saw, &mut did_not] {
        assert_eq!(watcher.record(&outcome), None, "nothing is retracted");
        assert_eq!(watcher.live(), None, "and no text comes after it");
    }
    assert_eq!(live.held().1, 0);
}

#[test]
fn records_come_before_text_that_was_said_after_them() {
    let live = live();
    let mut watcher = Watcher::new(&live);
    let other = succeeded(3, "b");
    durable(&live, &other);
    let mut voice = live.voice(turn(), step("a"), 1);
    voice.say("text");
    assert_eq!(watcher.record(&other), None);
    assert_eq!(watcher.text(), Some((0, "text".into())));
}

#[test]
fn a_record_that_ends_an_attempt_retracts_its_text_first() {
    let live = live();
    let mut watcher = Watcher::new(&live);
    let mut voice = live.voice(turn(), step("a"), 1);
    let mut other = live.voice(turn(), step("b"), 4);
    voice.say("text");
    other.say("text");
    assert!(watcher.text().is_some() && watcher.text().is_some());
    let (attempt, end) = (failed(3, "a"), ended(4));
    durable(&live, &attempt);
    assert_eq!(watcher.record(&attempt), Some((step("a"), 1)));
    assert_eq!(watcher.record(&attempt), None);
    assert_eq!(watcher.live(), None, "the other step goes on");
    durable(&live, &end);
    assert_eq!(watcher.record(&end), Some((step("b"), 4)), "the end of the turn retracts what is left");
    assert_eq!(watcher.record(&end), None);
    assert!(matches!(watcher.next(), Next::Over));
}

#[test]
fn the_late_record_of_an_attempt_leaves_the_next_one_alone() {
    let live = live();
    let (mut watcher, mut silent) = (Watcher::new(&live), Watcher::new(&live));
    let mut first = live.voice(turn(), step("a"), 1);
    first.say("wrong");
    assert!(watcher.text().is_some());
    let mut stale = live.voice(turn(), step("a"), 1);
    // The second has begun before the end of the first is durable; in one step it speaks by then, in the other not yet.
    let mut second = live.voice(turn(), step("a"), 2);
    let mut quiet = live.voice(turn(), step("b"), 2);
    second.say("right ");
    watcher.is_retracted("a", 1);
    assert_eq!(watcher.text(), Some((0, "right ".into())));
    let failed = [failed(3, "a"), failed(4, "b")];
    failed.iter().for_each(|failed| durable(&live, failed));
    stale.say("late");
    second.say("so");
    quiet.say("heard");
    for failed in &failed {
        assert_eq!(watcher.record(failed), None, "nothing is taken back");
        assert_eq!(silent.record(failed), None);
    }
    assert_eq!(watcher.text(), Some((6, "so".into())));
    assert_eq!(watcher.text(), Some((0, "heard".into())));
    assert_eq!(silent.text(), Some((0, "right so".into())));
    drop(first);
    assert_eq!(watcher.live(), None);
}

#[test]
fn text_does_not_come_after_its_end_to_who_heard_nothing_of_it() {
    let live = live();
    for end in [succeeded(3, "a"), failed(3, "a")] {
        let mut watcher = Watcher::new(&live);
        let mut voice = live.voice(turn(), step("a"), 1);
        voice.say("text");
        // Found in the journal before the process that wrote it says so.
        watcher.seat.channel().change(|state| state.known.goes_on(Seq::new(3), None, None));
        assert_eq!(watcher.record(&end), None, "none of it was told");
        assert_eq!(watcher.live(), None);
        voice.say(" and more");
        assert_eq!(watcher.live(), None);
        if matches!(end.body, Body::AttemptFailed { .. }) {
            let mut next = live.voice(turn(), step("a"), 2);
            next.say("right");
            assert_eq!(watcher.text(), Some((0, "right".into())));
        }
    }
}

#[test]
fn nothing_comes_after_the_record_that_ends_the_turn() {
    let live = live();
    let mut watcher = Watcher::new(&live);
    // More is durable than the turn has, and nobody has said yet that it ended.
    watcher.seat.channel().change(|state| state.known.goes_on(Seq::new(5), None, None));
    assert_eq!(watcher.record(&ended(3)), None);
    assert!(matches!(watcher.next(), Next::Over));
}

#[test]
fn text_that_another_process_has_outlived_does_not_come_again() {
    let live = live();
    let mut watcher = Watcher::new(&live);
    let mut voice = live.voice(turn(), step("a"), 1);
    voice.say("text");
    assert!(watcher.text().is_some());
    // What another process appended is found by a poll, while the voice here does not know yet.
    watcher.seat.channel().change(|state| state.known.goes_on(Seq::new(3), None, None));
    assert_eq!(watcher.record(&succeeded(3, "a")), None);
    voice.say(" more");
    assert_eq!(watcher.live(), None);
    drop(voice);
    assert_eq!(watcher.live(), None, "and is not retracted after the outcome");
}

#[test]
fn what_is_no_more_driven_here_is_retracted() {
    let live = live();
    let mut watcher = Watcher::new(&live);
    let mut voice = live.voice(turn(), step("a"), 1);
    voice.say("text");
    assert!(watcher.text().is_some());
    live.released(turn());
    voice.say(" late");
    watcher.is_retracted("a", 1);
    assert_eq!(watcher.live(), None);
    let mut anew = live.voice(turn(), step("a"), 1);
    anew.say("anew");
    assert_eq!(watcher.text(), Some((0, "anew".into())), "it may begin again under its old number");
}

#[test]
fn nothing_is_kept_when_nobody_follows() {
    let live = live();
    let mut voice = live.voice(turn(), step("a"), 1);
    voice.say("to nobody ");
    assert_eq!(live.held(), (0, 0));
    durable(&live, &succeeded(3, "b"));
    assert_eq!(live.held(), (0, 0));
    let mut watcher = Watcher::new(&live);
    voice.say("to one");
    assert_eq!(watcher.text(), Some((10, "to one".into())), "the offset counts what nobody heard");
    drop(watcher);
    assert_eq!(live.held(), (0, 0));
}

#[test]
fn a_purge_ends_all_that_is_followed_of_the_session() {
    let live = live();
    let mut watcher = Watcher::new(&live);
    live.voice(turn(), step("a"), 1).say("text");
    durable(&live, &entry(3, Body::SessionPurged { turn: None, open: None }));
    assert!(matches!(watcher.next(), Next::Purged));
    assert_eq!(live.held().1, 0);
}

#[test]
fn ten_thousand_followers_share_one_text() {
    let live = Arc::new(Live::new(64 << 10));
    let mut watchers: Vec<Watcher> = (0..10_000).map(|_| Watcher::new(&live)).collect();
    let mut voice = live.voice(turn(), step("a"), 1);
    let mut told = vec![0_u64; watchers.len()];
    for round in 0..20_u64 {
        voice.say(&"x".repeat(10_000));
        // Half of them are slow: they look at every tenth round.
        for (nth, watcher) in watchers.iter_mut().enumerate() {
            if nth % 2 == 1 && round % 10 != 9 {
                continue;
            }
            while let Some((offset, text)) = watcher.text() {
                assert!(offset == told[nth] || (nth % 2 == 1 && offset > told[nth]));
                told[nth] = offset + text.len() as u64;
            }
        }
        assert!(live.held().1 <= 64 << 10, "however many follow");
    }
    assert!(told.iter().all(|told| *told == 200_000), "and all are at the end");
}

#[test]
fn who_comes_while_an_append_is_under_way_is_told_of_it() {
    let live = live();
    let entry = succeeded(3, "a");
    let news = News::of(session(), Some(turn()), std::slice::from_ref(&entry));
    // Its look at the store came before the append.
    let mut watcher = Watcher::new(&live);
    live.durable(entry.seq, news);
    assert_eq!(watcher.record(&entry), None);
}
