//! Two processes on one file.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{opened, run};
use crate::conformance::{Scene, StoreFixture};
use crate::ports::{AppendError, ClaimFilter, Store};
use crate::words::{OwnerId, Seq, SessionId};

const FILE: &str = "AGENT_SHELL_TEST_FILE";
const APPENDS: usize = 50;

struct OneFile(PathBuf);

#[async_trait::async_trait]
impl StoreFixture for OneFile {
    async fn store(&self) -> Store {
        Store::new(std::sync::Arc::new(opened(&self.0).await))
    }

    async fn reopen(&self, _: Store) -> Option<Store> {
        None
    }

    async fn advance(&self, _: Duration) {}

    fn lease(&self) -> Duration {
        Duration::from_secs(3600)
    }
}

/// What the other process does: appends to a session of its own, says which, and waits to be told to end.
#[test]
#[ignore = "is the other process of the tests here, which start it"]
fn other_process() {
    let Ok(path) = std::env::var(FILE) else { return };
    run(async {
        let fixture = OneFile(path.into());
        let scene = Scene::new(&fixture).await;
        let mut writer = scene.owned().await;
        println!("begins");
        for round in 0..APPENDS {
            let append = writer.append([format!("other {round}")]);
            writer.write(&scene.store, append).await;
        }
        println!("owns {} {}", writer.session, writer.fence.owner);
        std::io::stdout().flush().unwrap();
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
    });
}

/// The other process, killed when the test ends.
struct Other {
    child: Child,
    output: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Other {
    fn start(path: &Path) -> Self {
        let name = "backends::sqlite::tests::processes::other_process";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", name])
            .env(FILE, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test's program can be started again");
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, output }
    }

    /// Waits for a line that begins so, and returns the rest of it.
    fn says(&mut self, beginning: &str) -> String {
        for line in self.output.by_ref() {
            // The harness prints the test's name without a line end.
            if let Some((_, rest)) = line.unwrap().split_once(beginning) {
                return rest.trim().to_owned();
            }
        }
        panic!("the other process ended without saying `{beginning}`");
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn processes_that_contend_commit_everything_and_the_dead_are_replaced_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    run(async {
        let fixture = OneFile(path.clone());
        let scene = Scene::new(&fixture).await;
        let mut writer = scene.owned().await;
        let mut other = Other::start(&path);
        other.says("begins");
        for round in 0..APPENDS {
            let append = writer.append([format!("this {round}")]);
            writer.write(&scene.store, append).await;
        }
        let owns = other.says("owns ");
        let (session, dead) = owns.split_once(' ').unwrap();
        let (session, dead): (SessionId, OwnerId) = (session.parse().unwrap(), dead.parse().unwrap());
        for session in [writer.session, session] {
            let records = scene.store.journal.read(session, Seq::ZERO, 1000).await.unwrap();
            assert_eq!(records.len(), APPENDS, "every append of both is there");
        }

        let named = || ClaimFilter { sessions: Some(vec![session]), ..ClaimFilter::default() };
        assert_eq!(scene.claim(writer.fence.owner, named()).await, [], "the other process lives");
        other.kill();
        let claims = scene.claim(writer.fence.owner, named()).await;
        assert_eq!(claims.len(), 1, "it was killed, and its lease would run for an hour");
        let mut stale = crate::conformance::Writer::of(&claims[0].entry, dead);
        stale.fence.epoch = crate::words::Epoch::new(stale.fence.epoch.number() - 1);
        let fenced = scene.store.journal.append(stale.append(["from the grave"]).into()).await;
        assert_eq!(fenced, Err(AppendError::Fenced { actual: claims[0].entry.epoch }));
    });
}
