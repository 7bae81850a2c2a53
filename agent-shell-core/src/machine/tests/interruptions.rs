//! Work that ends with its process, again and again.

use super::*;

/// What is owed by an owner under this epoch, to whom everything so far is durable.
fn owed_under(state: &Folded, epoch: u64, limits: &Limits) -> Owed {
    let env = Env {
        epoch: Epoch::new(epoch),
        now: Timestamp::default(),
        heard: Timestamp::default(),
        limits,
        random: 7,
        guards: Default::default(),
        latency: None,
    };
    owed(state, &Live { durable: state.seq, ..Live::default() }, &env)
}

fn take_under(state: &mut Folded, epoch: u64, body: Body) {
    let (seq, epoch, time) = (state.seq.next(), Epoch::new(epoch), Timestamp::default());
    fold(state, &Entry { seq, epoch, time, actor: Pseudonym::RUNTIME, body }).unwrap();
}

#[test]
fn a_turn_whose_owners_go_away_says_so_each_second_time_and_fails_in_the_end() {
    let limits = Limits { interruptions: 4, ..Limits::default() };
    let mut state = with_step(Some(EffectClass::Idempotent));
    assert!(
        matches!(owed_under(&state, 2, &limits).commands[..], [Command::Check { .. }]),
        "one is not yet worth it"
    );
    let said = owed_under(&state, 3, &limits);
    assert_eq!(said.records, [Body::TurnInterrupted { turn: TURN, times: 1, failure: None }]);
    assert_eq!(said.commands, []);
    take_under(&mut state, 3, said.records[0].clone());
    let early = Live { durable: Seq::new(state.seq.number() - 1), ..Live::default() };
    let env = Env {
        epoch: Epoch::new(3),
        now: Timestamp::default(),
        heard: Timestamp::default(),
        limits: &limits,
        random: 7,
        guards: Default::default(),
        latency: None,
    };
    assert_eq!(owed(&state, &early, &env), Owed::default(), "nothing begins before that is durable");
    assert_eq!(owed_under(&state, 3, &limits).commands.len(), 1);
    let said = owed_under(&state, 5, &limits);
    let [Body::TurnInterrupted { times: 2, failure: Some(failure), .. }] = &said.records[..] else {
        panic!("{said:?}");
    };
    assert_eq!(failure.code, FailureCode::Interrupted);
    take_under(&mut state, 5, said.records[0].clone());
    assert!(matches!(owed_under(&state, 5, &limits).records[..], [Body::TurnEnded { .. }]));
}

#[test]
fn progress_begins_the_count_of_interruptions_anew() {
    let limits = Limits { interruptions: 4, ..Limits::default() };
    let mut state = with_step(Some(EffectClass::Idempotent));
    take_under(&mut state, 3, Body::TurnInterrupted { turn: TURN, times: 1, failure: None });
    let started = |body: &Body| matches!(body, Body::StepStarted { .. });
    take_under(&mut state, 3, bodies().into_iter().find(started).unwrap());
    let ended = |body: &Body| matches!(body, Body::StepSucceeded { .. });
    take_under(&mut state, 4, bodies().into_iter().find(ended).unwrap());
    assert_eq!(state.turn.as_ref().unwrap().interruptions, 0);
    let said = owed_under(&state, 6, &limits);
    assert_eq!(said.records, [Body::TurnInterrupted { turn: TURN, times: 1, failure: None }]);
}

#[test]
fn a_probe_of_a_turn_that_can_only_end_is_not_asked_for_ever() {
    let limits = Limits { interruptions: 4, ..Limits::default() };
    let mut state = with_step(Some(EffectClass::Probed));
    let turn = state.turn.as_mut().unwrap();
    turn.ending = Some(Ending::Expired);
    turn.steps[0].phase = Phase::Probing { from: Timestamp::default(), tries: 0 };
    turn.steps[0].key = Some("key".into());
    turn.ready.clear();
    turn.active.insert(0);
    for (epoch, times) in [(3, 1), (5, 2)] {
        let said = owed_under(&state, epoch, &limits);
        assert_eq!(said.records, [Body::TurnInterrupted { turn: TURN, times, failure: None }]);
        take_under(&mut state, epoch, said.records[0].clone());
    }
    assert!(matches!(owed_under(&state, 5, &limits).records[..], [Body::StepInDoubt { .. }]));
}
