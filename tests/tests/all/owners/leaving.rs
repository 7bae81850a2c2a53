//! Owners that come and go: many that live for a moment, and one that hands over to another.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use agent_shell_core::ports::SessionFilter;
use agent_shell_core::{Outcome, Shell};
use agent_shell_tests::owner::{Command, Event};
use agent_shell_tests::recorder::Class;
use serde_json::json;

use super::{SOON, World, opened, submitted};
use crate::support;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_that_submit_and_leave_lose_nothing() {
    const WAVES: usize = 8;
    const AT_ONCE: usize = 5;
    let world = World::new();
    let mut limits = support::limits();
    // A lease that outlasts the test: what the dead held is freed because they are dead.
    limits.lease_ms = 3_600_000;
    let shell = world.shell(limits.clone()).open().await.unwrap();
    let mut turns = Vec::new();
    for wave in 0..WAVES {
        let mut owners: Vec<_> = (0..AT_ONCE).map(|_| world.owner(limits.clone(), None)).collect();
        for (nth, owner) in owners.iter_mut().enumerate() {
            opened(owner);
            // Five sessions get eight turns each, one from each of eight processes.
            let class = [Class::Idempotent, Class::Probed, Class::Idempotent][(wave + nth) % 3];
            turns.push(submitted(owner, &format!("s{nth}"), class));
            match (wave + nth) % 2 {
                0 => owner.kill().unwrap(),
                _ => owner.tell(&Command::Shutdown).unwrap(),
            }
        }
        for owner in owners.iter_mut().enumerate().filter(|(nth, _)| (wave + nth) % 2 == 1) {
            owner.1.hear(SOON, |event| (*event == Event::Closed).then_some(())).unwrap();
        }
    }
    for turn in &turns {
        let outcome = tokio::time::timeout(SOON, shell.turn(*turn).outcome()).await.expect("it goes on");
        assert_eq!(outcome.unwrap(), Outcome::Answered(json!("done")));
        assert_eq!(world.seen(*turn).applied, 1);
    }
    assert_eq!(turns.len(), WAVES * AT_ONCE);
    assert_eq!(world.audit().violations(), []);
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_hands_its_sessions_to_another_owner_soon() {
    const SESSIONS: usize = 20;
    let world = World::new();
    let mut limits = support::limits();
    limits.lease_ms = 3_600_000;
    let mut first = world.owner(limits.clone(), None);
    opened(&mut first);
    let mut turns = Vec::new();
    for nth in 0..SESSIONS {
        let (session, tool) = (format!("s{nth}"), Class::Irreversible);
        first.tell(&Command::Submit { session, tool, waits_ms: Some(3_000) }).unwrap();
        turns.push(first.hear(SOON, |event| match event {
            Event::Submitted { turn } => Some(*turn),
            _ => None,
        }));
    }
    let turns: Vec<_> = turns.into_iter().map(Result::unwrap).collect();
    // Nobody else looks for work before the first one has all.
    let mut looking = limits.clone();
    looking.held_sessions = 0;
    let looking = world.shell(looking).open().await.unwrap();
    let all_are_held = async {
        while !is_owner_of(&looking, SESSIONS).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, all_are_held).await.expect("the first owner takes what was posted through it");
    let shell = world.shell(limits).open().await.unwrap();
    assert_eq!(shell.recovered(), 0, "a living owner is left alone");
    let begun = Instant::now();
    first.tell(&Command::Shutdown).unwrap();
    first.hear(SOON, |event| (*event == Event::Closed).then_some(())).unwrap();
    for turn in turns {
        let outcome =
            tokio::time::timeout(SOON, shell.turn(turn).outcome()).await.expect("it was handed over");
        assert_eq!(outcome.unwrap(), Outcome::Answered(json!("done")), "and nothing is in doubt");
        let seen = world.seen(turn);
        assert_eq!((seen.calls, seen.applied), (1, 1));
    }
    assert!(begun.elapsed() < SOON, "far sooner than the first one's lease would have run out");
    shell.shutdown().await.unwrap();
    looking.shutdown().await.unwrap();
}

/// Whether there are so many sessions, and one owner holds them all.
async fn is_owner_of(shell: &Shell, sessions: usize) -> bool {
    let all = shell.sessions(SessionFilter::default(), None, 100).await.unwrap();
    let owners: BTreeSet<_> = all.iter().map(|entry| entry.owner).collect();
    all.len() == sessions && owners.len() == 1 && all[0].owner.is_some()
}
