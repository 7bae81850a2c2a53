//! Drawing a turn.

use agent_shell_core::Reducer;

use super::{Act, Fate, Scenario, Source, StepSpec, ToolKind, TurnKey};
use crate::random::Random;

/// Of a hundred steps, how many are of which kind.
const ACTS: [(u64, Act); 9] = [
    (18, Act::Tool(ToolKind::Look)),
    (19, Act::Tool(ToolKind::Put)),
    (18, Act::Tool(ToolKind::Book)),
    (15, Act::Tool(ToolKind::Send)),
    (6, Act::Tool(ToolKind::Pay)),
    (5, Act::Tool(ToolKind::Wire)),
    (9, Act::Timer { ms: 0 }),
    (4, Act::Approval),
    (6, Act::Signal),
];

impl Scenario {
    /// The turn with this name.
    pub(crate) fn draw(seed: u64, key: TurnKey) -> Self {
        if key.talks() || key.is_controlled() {
            let once =
                key.number != TurnKey::CLOSING && Random::of(&[seed, key.session, key.number]).percent(12);
            return Self { key, steps: Vec::new(), rounds: 1, planned: true, gives_up: false, once };
        }
        if key.number == TurnKey::CLOSING {
            return Self::closing(seed, key);
        }
        let mut random = Random::of(&[seed, key.session, key.number]);
        let count = 3 + random.below(9) as usize;
        let rounds = if random.percent(25) { 2 } else { 1 };
        let mut steps: Vec<StepSpec> = Vec::with_capacity(count + 3);
        for place in 0..count {
            let step = draw_step(&mut random, &steps, place * rounds / count);
            steps.push(step);
        }
        add_trail(&mut random, &mut steps);
        add_reader(&mut random, &mut steps, rounds - 1);
        add_held(&mut random, &mut steps, rounds - 1);
        let ends_well = !random.percent(12) || !add_failure(&mut random, &mut steps);
        Self {
            key,
            steps,
            rounds,
            planned: rounds > 1 || random.percent(30),
            gives_up: ends_well && random.percent(8),
            once: random.percent(12),
        }
    }

    /// A turn that does next to nothing: when it has ended, so has every input before it.
    pub(crate) fn closing(seed: u64, key: TurnKey) -> Self {
        let mut random = Random::of(&[seed, key.session, key.number]);
        let steps = vec![step(&mut random, Act::Tool(ToolKind::Look), 0, 0)];
        Self { key, steps, rounds: 1, planned: false, gives_up: false, once: false }
    }
}

fn step(random: &mut Random, act: Act, place: usize, round: usize) -> StepSpec {
    let word = match act {
        Act::Tool(kind) => kind.name(),
        Act::Timer { .. } => "nap",
        Act::Approval => "ask",
        Act::Signal => "hear",
    };
    StepSpec {
        id: format!("{word}-{place}"),
        act,
        round,
        own: random.below(1000),
        of: Vec::new(),
        after: Vec::new(),
        lock: None,
        writes: Vec::new(),
        fate: Fate::Succeeds,
    }
}

fn draw_step(random: &mut Random, steps: &[StepSpec], round: usize) -> StepSpec {
    let mut draw = random.below(100);
    let found = ACTS.iter().find(|(share, _)| {
        let here = draw < *share;
        draw = draw.saturating_sub(*share);
        here
    });
    let act = match found.map(|(_, act)| *act) {
        Some(Act::Timer { .. }) | None => Act::Timer { ms: random.below(400) },
        Some(act) => act,
    };
    let mut drawn = step(random, act, steps.len(), round);
    let giving: Vec<usize> = (0..steps.len()).filter(|&place| gives_number(&steps[place])).collect();
    if matches!(act, Act::Tool(_)) {
        for _ in 0..2 {
            if random.percent(45)
                && let Some(&place) = random.pick(&giving)
            {
                drawn.of.push(Source::Step(place));
            }
        }
        let writes = [("sum", Reducer::Sum, "/n"), ("max", Reducer::Max, "/n"), ("min", Reducer::Min, "/n")];
        let writes = writes.into_iter().chain([("set", Reducer::Union, "/set")]);
        drawn.writes.extend(writes.filter(|_| random.percent(18)));
        if random.percent(25) {
            drawn.lock = random.pick(&["left", "right"]).copied();
        }
    }
    if !steps.is_empty() && random.percent(30) {
        drawn.after.push(random.below(steps.len() as u64) as usize);
    }
    drawn
}

fn gives_number(step: &StepSpec) -> bool {
    matches!(step.act, Act::Tool(_) | Act::Signal)
}

fn tools_among(steps: &[StepSpec]) -> Vec<usize> {
    (0..steps.len()).filter(|&place| matches!(steps[place].act, Act::Tool(_))).collect()
}

/// Two or three steps, one after another, write a list whose order counts.
fn add_trail(random: &mut Random, steps: &mut [StepSpec]) {
    let tools = tools_among(steps);
    if tools.len() < 2 || !random.percent(45) {
        return;
    }
    let mut chosen: Vec<usize> = (0..3).filter_map(|_| random.pick(&tools).copied()).collect();
    chosen.sort_unstable();
    chosen.dedup();
    for (nth, &place) in chosen.iter().enumerate() {
        steps[place].writes.push(("trail", Reducer::Append, "/n"));
        if nth > 0 {
            steps[place].after.push(chosen[nth - 1]);
        }
    }
}

/// A step that reads the sum, after all that wrote it.
fn add_reader(random: &mut Random, steps: &mut Vec<StepSpec>, round: usize) {
    let writes_sum = |step: &StepSpec| step.writes.iter().any(|(key, ..)| *key == "sum");
    let writers: Vec<usize> = (0..steps.len()).filter(|&place| writes_sum(&steps[place])).collect();
    if writers.is_empty() || !random.percent(60) {
        return;
    }
    let kinds = [ToolKind::Look, ToolKind::Put, ToolKind::Book, ToolKind::Send];
    let kind = random.pick(&kinds).copied().unwrap_or(ToolKind::Look);
    let mut reader = step(random, Act::Tool(kind), steps.len(), round);
    reader.of.push(Source::Sum);
    reader.after = writers;
    steps.push(reader);
}

fn add_held(random: &mut Random, steps: &mut Vec<StepSpec>, round: usize) {
    let tools = tools_among(steps);
    for _ in 0..random.below(5).saturating_sub(2) {
        let mut held = step(random, Act::Tool(ToolKind::Publish), steps.len(), round);
        held.of.extend(random.pick(&tools).map(|&place| Source::Step(place)));
        steps.push(held);
    }
}

/// One step ends badly. False when none could.
fn add_failure(random: &mut Random, steps: &mut [StepSpec]) -> bool {
    let place = random.below(steps.len() as u64) as usize;
    let refuses = random.percent(50);
    let Some(step) = steps.get_mut(place) else { return false };
    step.fate = match step.act {
        Act::Approval => Fate::Denied,
        Act::Tool(kind) if kind.asks_first() && !refuses => Fate::Denied,
        Act::Tool(_) => Fate::Refused,
        Act::Timer { .. } | Act::Signal => return false,
    };
    true
}
