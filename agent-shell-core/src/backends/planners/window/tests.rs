//! Policies as pure functions, over random conversations. A failure names its seed.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::data::{CallStatus, Content, Said, ToolCall, ToolResult};
use crate::ports::ShownMessage;

const SEEDS: u64 = 300;
const BOUND: u64 = 8_000;
/// What one turn says at most, about.
const OF_A_TURN: u64 = BOUND / 4;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

fn shown(message: Message) -> ShownMessage {
    let bytes = json!(message).to_string().len() as u64;
    ShownMessage { message: Arc::new(message), bytes }
}

fn text(bytes: u64) -> String {
    "x".repeat(usize::try_from(bytes).unwrap())
}

fn user(bytes: u64) -> Message {
    Message::User(vec![Content::Text(text(bytes))])
}

fn calls(bytes: u64) -> Message {
    Message::Model(vec![Said::Call(ToolCall::new("c", "t", json!(text(bytes))))])
}

fn results(bytes: u64) -> Message {
    let output = json!(text(bytes));
    Message::Results(vec![ToolResult {
        call: "c".into(),
        tool: "t".into(),
        status: CallStatus::Done,
        output,
    }])
}

fn users(messages: &[ShownMessage]) -> Vec<ShownMessage> {
    messages.iter().filter(|shown| matches!(*shown.message, Message::User(_))).cloned().collect()
}

/// A session as the machine keeps it, and what was seen of it.
struct Talk<'a> {
    policy: &'a dyn HistoryPolicy,
    seed: u64,
    conversation: Conversation,
    /// The bytes of a summary.
    summary: u64,
    said: u64,
    cuts: u64,
    summaries: u64,
}

impl<'a> Talk<'a> {
    fn new(policy: &'a dyn HistoryPolicy, seed: u64, summary: u64) -> Self {
        let conversation = Conversation::default();
        Self { policy, seed, conversation, summary, said: 0, cuts: 0, summaries: 0 }
    }

    fn push(&mut self, message: Message) {
        let message = shown(message);
        self.said += message.bytes;
        self.conversation.messages.push(message);
    }

    /// What is asked, and what is answered to it.
    fn ask(&mut self, said: Message, answer: Message) {
        let seed = self.seed;
        let next = shown(said);
        self.conversation.next_bytes = next.bytes;
        let before = self.conversation.clone();
        let history = self.policy.history(&before).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(before.can_begin_at(history.first), "seed {seed}: begins at {}", history.first);
        assert!(
            history.first >= before.first && history.first <= before.turn_first.max(before.first),
            "seed {seed}"
        );
        let whole = before.bytes_from(before.first) + next.bytes;
        let is_cut = history.first > before.first || history.summary.is_some();
        assert_eq!(is_cut, whole > BOUND, "seed {seed}: it is cut when it must be, and not before");
        self.cuts += u64::from(is_cut);
        if let Some(summary) = &history.summary {
            assert_eq!(history.first, before.first, "seed {seed}: what is summarised is not let go");
            self.summarise(summary.through);
        }
        let skipped =
            usize::try_from(history.first.max(self.conversation.first) - self.conversation.first).unwrap();
        self.conversation.messages.drain(..skipped);
        self.conversation.first += skipped as u64;
        let bytes = self.conversation.bytes_from(self.conversation.first) + next.bytes;
        assert!(bytes <= BOUND, "seed {seed}: {bytes} bytes are shown");
        self.push((*next.message).clone());
        self.push(answer);
        for pair in self.conversation.messages.windows(2) {
            let is_results = matches!(*pair[1].message, Message::Results(_));
            let is_calls = matches!(&*pair[0].message, Message::Model(said) if said.iter().any(|part| matches!(part, Said::Call(_))));
            assert_eq!(is_results, is_calls, "seed {seed}: calls and their results stand together");
        }
    }

    fn summarise(&mut self, through: u64) {
        let seed = self.seed;
        assert!(self.conversation.can_summarise_before(through), "seed {seed}: through {through}");
        let count = usize::try_from(through - self.conversation.first).unwrap();
        let rest = self.conversation.messages.split_off(count);
        let mut kept = users(&self.conversation.messages);
        kept.push(shown(Message::Summary(text(self.summary))));
        self.conversation.first = through - kept.len() as u64;
        kept.extend(rest);
        self.conversation.messages = kept;
        self.summaries += 1;
    }

    /// A turn of random length.
    fn turn(&mut self, random: &mut Random) {
        self.conversation.turn_first = self.conversation.end();
        let mut left = OF_A_TURN - 600;
        let mut part = |random: &mut Random| {
            let bytes = random.below(left / 2);
            left -= bytes;
            bytes
        };
        let mut said = user(part(random) / 4);
        for _ in 0..random.below(3) {
            self.ask(said, calls(part(random)));
            said = results(part(random));
        }
        self.ask(said, Message::Model(vec![Said::text(text(part(random)))]));
    }
}

#[test]
fn a_window_shows_what_it_may_and_is_cut_seldom() {
    let window = Window::bytes(BOUND);
    for seed in 0..SEEDS {
        let (mut random, mut talk) = (Random(seed), Talk::new(&window, seed, 0));
        for _ in 0..100 {
            talk.turn(&mut random);
        }
        // Half of it is free after each cut, because no turn is larger than that.
        assert!(
            talk.cuts <= talk.said / (BOUND / 2) + 1,
            "seed {seed}: {} cuts of {} bytes",
            talk.cuts,
            talk.said
        );
        assert!(talk.cuts > 0, "seed {seed}");
    }
}

#[test]
fn a_summary_keeps_what_users_said_and_calls_with_their_results_and_is_asked_for_seldom() {
    let policy = Compaction::bytes(BOUND);
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let summary = random.below(BOUND / 4 - 20);
        let mut talk = Talk::new(&policy, seed, summary);
        let mut kept_all = 0;
        for _ in 0..100 {
            let before = users(&talk.conversation.messages);
            let cuts = talk.cuts - talk.summaries;
            talk.turn(&mut random);
            if talk.cuts - talk.summaries == cuts {
                assert!(users(&talk.conversation.messages).starts_with(&before), "seed {seed}");
                kept_all += 1;
            }
        }
        assert!(kept_all > 50 && talk.summaries > 3, "seed {seed}: {} summaries", talk.summaries);
        let most = talk.said / (BOUND / 8) + 1;
        assert!(talk.cuts <= most, "seed {seed}: {} cuts of {} bytes", talk.cuts, talk.said);
    }
}

#[test]
fn a_turn_that_does_not_fit_is_an_error_and_one_that_just_fits_is_shown() {
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let mut conversation = Conversation::default();
        for _ in 0..random.below(5) {
            let said = [user(random.below(500)), Message::Model(vec![Said::text(text(random.below(2_000)))])];
            conversation.messages.extend(said.map(shown));
        }
        conversation.turn_first = conversation.end();
        let turn = [user(100), calls(random.below(BOUND / 2))].map(shown);
        let of_turn: u64 = turn.iter().map(|shown| shown.bytes).sum();
        conversation.messages.extend(turn);
        for (next, fits) in [(BOUND - of_turn, true), (BOUND - of_turn + 1, false)] {
            conversation.next_bytes = next;
            match Window::bytes(BOUND).history(&conversation) {
                Ok(history) => {
                    assert!(fits && conversation.bytes_from(history.first) + next <= BOUND, "seed {seed}");
                }
                Err(error) => assert!(!fits && error.code() == FailureCode::TooLarge, "seed {seed}: {error}"),
            }
        }
    }
}
