//! Random graphs: the order of compensations, and what is compensated at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agent_shell_core::testing::{Life, TestKit};
use agent_shell_core::{Call, Outcome, Plan, ProbeAnswer, Step, Tool, ToolError, Undo};
use agent_shell_tests::random::Random;

use super::{For, Log, call, tools};

const GRAPHS: u64 = 400;

/// A random graph, one step of which fails.
struct Graph {
    steps: Vec<(String, &'static str, BTreeSet<usize>)>,
}

impl Graph {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let count = 3 + random.below(9) as usize;
        let fails = random.below(count as u64) as usize;
        let steps = (0..count).map(|place| {
            let tools = ["book", "book", "ask", "send", "plain", "look"];
            let tool = if place == fails { "fail" } else { tools[random.below(6) as usize] };
            let wanted = random.below(4) as usize;
            let needs = (0..wanted).filter(|_| place > 0).map(|_| random.below(place as u64) as usize);
            (format!("s{place}"), tool, needs.collect())
        });
        Self { steps: steps.collect() }
    }

    fn plan(&self) -> Plan {
        let step = |(name, tool, needs): &(String, &str, BTreeSet<usize>)| -> Step {
            call(name, tool).after(needs.iter().map(|place| format!("s{place}")))
        };
        // Backwards, so that the order of the plan says nothing.
        Plan::new(self.steps.iter().rev().map(step)).unwrap()
    }

    /// Every step that comes before another, directly or not.
    fn before(&self, place: usize) -> BTreeSet<usize> {
        let mut before = self.steps[place].2.clone();
        for needed in self.steps[place].2.clone() {
            before.extend(self.before(needed));
        }
        before
    }
}

fn compensation(tool: &str) -> Option<&'static str> {
    match tool {
        "book" => Some("unbook"),
        "ask" => Some("unask"),
        "send" => Some("recall"),
        _ => None,
    }
}

/// A tool that undoes what another did, in the log.
fn undoing(name: &'static str, world: &Arc<Log>) -> Tool {
    let world = world.clone();
    Tool::idempotent(name, "", move |undo: Undo<For>, call: Call| {
        world.apply(name, &undo.input.step, call.key());
        async { Ok::<_, ToolError>(()) }
    })
}

fn kit(seed: u64) -> TestKit<Log> {
    let kit = TestKit::on(Log::default, |life: &Life<Log>| {
        let world = life.world();
        let (ask, asked, send, plain) = (world.clone(), world.clone(), world.clone(), world.clone());
        let more = [
            Tool::probed(
                "ask",
                "",
                move |of: For, call: Call| {
                    ask.apply("ask", &of.step, call.key());
                    async { Ok::<_, ToolError>(()) }
                },
                move |_: For, call: Call| {
                    let known = asked.knows(call.key());
                    async move {
                        let applied = || ProbeAnswer::Applied(serde_json::Value::Null);
                        Ok(if known { applied() } else { ProbeAnswer::NotApplied })
                    }
                },
            )
            .compensated_by("unask"),
            Tool::irreversible("send", "", move |of: For, call: Call| {
                send.apply("send", &of.step, call.key());
                async { Ok::<_, ToolError>(()) }
            })
            .compensated_by("recall"),
            Tool::idempotent("plain", "", move |of: For, call: Call| {
                plain.apply("plain", &of.step, call.key());
                async { Ok::<_, ToolError>(()) }
            }),
            Tool::pure("look", "", |_: For, _: Call| async { Ok::<_, ToolError>(()) }),
            undoing("unask", &world),
            undoing("recall", &world),
        ];
        tools(&world).into_iter().chain(more).fold(life.shell(), |shell, tool| shell.tool(tool))
    });
    kit.seed(seed)
}

#[test]
fn compensations_run_in_a_reverse_topological_order_and_each_once() {
    let mut undone_in_all = 0;
    for seed in 0..GRAPHS {
        let graph = Graph::new(seed);
        let plan = graph.plan();
        let run = kit(seed).run(move |host| {
            let plan = plan.clone();
            async move {
                let turn = host.session("ada")?.submit(plan).await?;
                let outcome = turn.outcome().await?;
                Ok((outcome, turn.undone().await?))
            }
        });
        let run = run.unwrap_or_else(|trouble| panic!("seed {seed}: {trouble}"));
        let (outcome, told) = &run.outcome;
        assert!(matches!(outcome, Outcome::Failed(_)), "seed {seed}: {outcome:?}");
        let place: BTreeMap<&str, usize> =
            graph.steps.iter().enumerate().map(|(place, (name, ..))| (&**name, place)).collect();
        let (mut applied, mut undone) = (Vec::new(), Vec::new());
        for (tool, step) in run.world.all() {
            let of = place[&*step];
            match graph.steps[of].1 {
                called if called == tool => applied.push(of),
                called => {
                    assert_eq!(compensation(called), Some(&*tool), "seed {seed}: {tool} for {step}");
                    undone.push(of);
                }
            }
        }
        // Each that happened and has a compensation, once; nothing else.
        let owed: BTreeSet<usize> =
            applied.iter().copied().filter(|of| compensation(graph.steps[*of].1).is_some()).collect();
        assert_eq!(undone.iter().copied().collect::<BTreeSet<_>>(), owed, "seed {seed}");
        assert_eq!(undone.len(), owed.len(), "seed {seed}: once");
        // What came later goes first.
        for (at, later) in undone.iter().enumerate() {
            let mut earlier = graph.before(*later);
            earlier.retain(|place| undone[..at].contains(place));
            assert!(earlier.is_empty(), "seed {seed}: {earlier:?} before {later}: {undone:?}");
        }
        undone_in_all += undone.len();
        let left = applied.iter().filter(|of| !owed.contains(of)).map(|of| graph.steps[*of].0.as_str());
        let names = |steps: &[agent_shell_core::words::StepId]| -> BTreeSet<String> {
            steps.iter().map(ToString::to_string).collect()
        };
        assert_eq!(names(&told.left), left.map(str::to_owned).collect(), "seed {seed}");
        let undone = undone.iter().map(|of| graph.steps[*of].0.clone());
        assert_eq!(names(&told.undone), undone.collect(), "seed {seed}");
        run.journal.assert_ended();
    }
    assert!(undone_in_all > GRAPHS as usize, "{undone_in_all}");
}
