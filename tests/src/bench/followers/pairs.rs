//! The same turns with fast followers, and with half of them slow, taking turns.

use std::time::Duration;

use agent_shell_core::{Shell, Turn};
use tokio::task::JoinSet;

use super::super::BenchError;
use super::{Settings, all_answered, mean_ms, submit};

/// How often each runs.
const ROUNDS: usize = 3;
/// Turns at once.
const TURNS: usize = 4;
/// Followers of a turn, at most.
const FOLLOWERS: usize = 100;

/// Milliseconds for a turn, medians.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pairs {
    pub(super) fast_ms: f64,
    pub(super) slow_ms: f64,
}

pub(super) async fn run(shell: &Shell, settings: &Settings<'_>) -> Result<Pairs, BenchError> {
    let few = Settings { steps: (settings.steps / 3).max(1), ..settings.clone() };
    let followers = (settings.followers / settings.turns.max(1)).clamp(1, FOLLOWERS);
    let (mut fast, mut slow) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for (name, times) in [("fast", &mut fast), ("slow", &mut slow)] {
            let turns = submit(shell, &few, &format!("{name}-{round}"), TURNS).await?;
            let mut watching = JoinSet::new();
            for (turn, _) in &turns {
                for nth in 0..followers {
                    let pause_ms = if name == "slow" && nth % 2 == 1 { settings.slow_ms } else { 0 };
                    watching.spawn(follow(turn.clone(), pause_ms));
                }
            }
            all_answered(&turns).await?;
            // The slow ones need not be told the rest.
            watching.shutdown().await;
            times.push(mean_ms(&turns).await?);
        }
    }
    Ok(Pairs { fast_ms: median(fast), slow_ms: median(slow) })
}

async fn follow(turn: Turn, pause_ms: u64) {
    let mut follow = turn.follow();
    while let Ok(Some(_)) = follow.next().await {
        if pause_ms > 0 {
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}
