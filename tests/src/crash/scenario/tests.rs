use agent_shell_core::Plan;

use super::*;

fn drawn(seed: u64, number: u64) -> Scenario {
    Scenario::draw(seed, TurnKey { session: seed % 5, number })
}

#[test]
fn every_drawing_makes_valid_plans() {
    for seed in 0..20 {
        for number in 0..100 {
            let scenario = drawn(seed, number);
            let plans: Vec<Plan> = (0..scenario.rounds).map(|round| scenario.plan(round).unwrap()).collect();
            assert_eq!(plans.iter().map(|plan| plan.steps().len()).sum::<usize>(), scenario.steps.len());
            assert_eq!(scenario.expected(), drawn(seed, number).expected());
        }
    }
}

#[test]
fn drawings_hold_every_kind_of_step_and_every_end() {
    let all: Vec<Scenario> = (0..300).map(|number| drawn(3, number)).collect();
    let steps = || all.iter().flat_map(|scenario| &scenario.steps);
    for kind in ToolKind::ALL {
        assert!(steps().any(|step| step.act == Act::Tool(kind)), "{kind:?}");
    }
    for act in [Act::Approval, Act::Signal] {
        assert!(steps().any(|step| step.act == act), "{act:?}");
    }
    for fate in [Fate::Denied, Fate::Refused] {
        assert!(steps().any(|step| step.fate == fate), "{fate:?}");
    }
    assert!(steps().any(|step| matches!(step.act, Act::Timer { ms } if ms > 0)));
    assert!(steps().any(|step| step.of.contains(&Source::Sum)));
    assert!(steps().any(|step| step.lock.is_some()));
    let some: [fn(&Scenario) -> bool; 3] = [|turn| turn.once, |turn| turn.gives_up, |turn| turn.rounds > 1];
    for some in some {
        assert!(all.iter().any(some) && !all.iter().all(some));
    }
}

#[test]
fn an_answer_is_worked_out_from_the_numbers() {
    let mut scenario = Scenario::closing(1, TurnKey { session: 0, number: 0 });
    scenario.steps[0].own = 2;
    scenario.steps[0].writes = vec![("sum", Reducer::Sum, "/n"), ("set", Reducer::Union, "/set")];
    let mut second = scenario.steps[0].clone();
    second.id = "look-1".into();
    second.of = vec![Source::Step(0)];
    scenario.steps.push(second);
    let expected = json!({
        "numbers": { "look-0": 62, "look-1": 124 },
        "sum": 186, "max": null, "min": null, "set": [2, 4], "trail": null,
    });
    assert_eq!(scenario.expected(), Expected::Answer(expected));
}
