//! Forks, through the public API: at every record, without and with effects, through crashes, purges and restarts.

mod crashed;
mod every_record;
mod families;
mod hundred;
mod lives;
mod off;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_shell_core::data::Body;
use agent_shell_core::ports::SessionStatus;
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::{Call, Session, Shell, Tool, ToolError};
use serde_json::{Value, json};

/// What was done to the world: how often each tool was called, probes and compensations included.
#[derive(Clone, Default)]
struct World(Arc<Mutex<BTreeMap<String, usize>>>);

impl World {
    fn touched(&self, by: &str) {
        *self.0.lock().unwrap().entry(by.to_owned()).or_default() += 1;
    }

    fn of(&self, tool: &str) -> usize {
        self.0.lock().unwrap().get(tool).copied().unwrap_or(0)
    }

    fn all(&self) -> BTreeMap<String, usize> {
        self.0.lock().unwrap().clone()
    }

    /// An idempotent tool that counts its calls. Called with `hang` it never answers, and with `fail` it refuses.
    fn idempotent(&self, name: &'static str) -> Tool {
        let world = self.clone();
        Tool::idempotent(name, "Acts", move |input: Value, _: Call| {
            world.touched(name);
            async move {
                match input.as_str() {
                    Some("hang") => std::future::pending().await,
                    Some("fail") => Err(ToolError::refused("it can't be done")),
                    _ => Ok(json!({ "did": input })),
                }
            }
        })
    }

    fn irreversible(&self, name: &'static str) -> Tool {
        let world = self.clone();
        Tool::irreversible(name, "Acts once", move |input: Value, _: Call| {
            world.touched(name);
            async move {
                if input == "hang" { std::future::pending().await } else { Ok::<_, ToolError>(json!("sent")) }
            }
        })
    }

    fn probed(&self, name: &'static str) -> Tool {
        let (world, asked) = (self.clone(), self.clone());
        Tool::probed(
            name,
            "Acts, and can be asked",
            move |input: Value, _: Call| {
                world.touched(name);
                async move {
                    if input == "hang" {
                        std::future::pending().await
                    } else {
                        Ok::<_, ToolError>(json!("shipped"))
                    }
                }
            },
            move |_: Value, _: Call| {
                asked.touched("probe");
                async { Ok::<_, ToolError>(agent_shell_core::ProbeAnswer::NotApplied) }
            },
        )
    }
}

/// The records of a session.
async fn records(session: &Session) -> Vec<HistoryEntry> {
    session.history().await.unwrap().next(10_000).await.unwrap()
}

/// The bodies of a session's records.
async fn bodies(session: &Session) -> Vec<Body> {
    records(session).await.into_iter().map(|entry| entry.body).collect()
}

/// Waits until nothing goes on in a session any more, and returns what it does then.
async fn settled(shell: &Shell, session: &Session) -> SessionStatus {
    let id = session.id().await.unwrap();
    for _ in 0..2_000 {
        let page = shell.sessions(Default::default(), None, 1_000).await.unwrap();
        let entry = page.into_iter().find(|entry| entry.id == id).unwrap();
        if entry.mark.status != SessionStatus::Running && entry.waiting_mail == 0 {
            return entry.mark.status;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{session:?} goes on and on");
}

/// Waits until something is so.
async fn until(mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..2_000 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never was so");
}
