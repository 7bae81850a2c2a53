//! Budgets of a run: what sessions and turns may spend, and what the model says of its questions beforehand.

use agent_shell_core::data::{AccountKind, Ceiling};
use agent_shell_core::ports::{ModelBound, ModelRequest};
use agent_shell_core::runtime::Ceilings;
use serde_json::json;

use crate::crash::scenario::TurnKey;
use crate::random::Random;

/// The ceilings of a seed, the same in every process; none where nothing is bounded.
pub(super) fn draw(seed: u64) -> Option<Ceilings> {
    let mut random = Random::of(&[seed, 0xb0d6]);
    if !random.percent(45) {
        return None;
    }
    let mut ceilings = Ceilings::default();
    // Ceilings of much and of little: one that nothing fits under hides what happens below it.
    if random.percent(50) {
        ceilings.tenant = ceiling(&mut random, 40);
    }
    if random.percent(40) {
        ceilings.user = ceiling(&mut random, 30);
    }
    if random.percent(60) {
        ceilings.session = ceiling(&mut random, 20);
    }
    if random.percent(60) {
        ceilings.turn = ceiling(&mut random, 6);
    }
    Some(ceilings)
}

/// What a turn is submitted with; the same whenever it is asked for.
pub(super) fn of_turn(seed: u64, key: TurnKey) -> Option<Ceiling> {
    let mut random = Random::of(&[seed, key.session, key.number, 0xb0d9]);
    (draw(seed).is_some() && random.percent(30)).then(|| ceiling(&mut random, 5))
}

/// A ceiling that about so many attempts reach.
pub(super) fn ceiling(random: &mut Random, attempts: u64) -> Ceiling {
    let mut some = |percent: u64, of_attempt: u64| {
        let most = attempts * of_attempt;
        let drawn = most / 2 + random.below(most * 3);
        random.percent(percent).then_some(drawn)
    };
    Ceiling {
        nano_usd: some(25, 600_000),
        tokens: some(30, 600),
        tool_calls: some(40, 1),
        steps: some(40, 1),
        time_ms: some(25, 700),
    }
}

/// What a question may use at most, as the model says: now and then it can't say, or does not know its price.
pub(super) fn bound(seed: u64, request: &ModelRequest) -> Option<ModelBound> {
    let last = json!(request.messages.last());
    let asked = last.to_string().bytes().fold(request.messages.len() as u64, |mixed, byte| {
        (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut random = Random::of(&[seed, asked, 0xb07d]);
    if random.percent(4) {
        return None;
    }
    let tokens = 200 + random.below(800);
    let cost_nano_usd = (!random.percent(5)).then_some(tokens * 1_000);
    Some(ModelBound { tokens, cost_nano_usd })
}

/// The ceilings under which a turn's attempts are to be made, by account.
pub(super) fn expected(
    ceilings: &Ceilings,
    is_of_user: bool,
    of_turn: Option<Ceiling>,
) -> Vec<(AccountKind, Ceiling)> {
    let mut expected = vec![(AccountKind::Tenant, ceilings.tenant)];
    if is_of_user {
        expected.push((AccountKind::User, ceilings.user));
    }
    expected.push((AccountKind::Session, ceilings.session));
    expected.push((AccountKind::Turn, ceilings.turn.lower(of_turn.unwrap_or_default())));
    expected.retain(|(_, ceiling)| *ceiling != Ceiling::NONE);
    expected
}
