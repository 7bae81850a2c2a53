//! A process that reserves and settles against ceilings is killed, again and again: what it was told is durable is there, the
//! balances are what the operations make, and no ceiling is ever passed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agent_shell_core::backends::sqlite::{SqliteOptions, SqliteStore};
use agent_shell_core::backends::{SystemClock, SystemEntropy};
use agent_shell_core::conformance::{Writer, digest_of, tenant};
use agent_shell_core::data::{Account, AccountKind, Amounts, AttemptId, Balance, Ceiling, KeyId};
use agent_shell_core::ports::{
    Append, ClaimFilter, Ledger, NewSession, Operation, OperationKind, Reserve, ReserveError, Settlement,
    Store, TurnMark,
};
use agent_shell_core::words::{Digest, Ids, OwnerId, StepId, Timestamp, TurnId};
use futures::future::join_all;
use serde::{Deserialize, Serialize};

/// How often the process is killed.
const KILLS: usize = 20;
/// Set in the environment of a child, to the folder that it works in.
const FOLDER: &str = "AGENT_SHELL_TEST_LEDGER_FOLDER";
/// How long a process is waited for.
const SOON: Duration = Duration::from_secs(30);
/// Attempts of one turn that run at once, and what each asks for at most.
const AT_ONCE: u64 = 5;
const MOST: u64 = 40;

/// What a child was told.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    Reserved { attempt: Digest, operation: u64, nano_usd: u64 },
    Settled { attempt: Digest, nano_usd: u64 },
}

fn money(nano_usd: u64) -> Amounts {
    Amounts { nano_usd, ..Amounts::ZERO }
}

fn tenants() -> (Account, Ceiling) {
    let account = Account { kind: AccountKind::Tenant, id: digest_of("tenant") };
    (account, Ceiling { nano_usd: Some(40_000), ..Ceiling::NONE })
}

/// Of a turn: less than its attempts ask for, so that some are refused.
fn turns(turn: TurnId) -> (Account, Ceiling) {
    (Account::turn(turn), Ceiling { nano_usd: Some(AT_ONCE * MOST / 2), ..Ceiling::NONE })
}

async fn open(folder: &Path) -> Store {
    let clock = Arc::new(SystemClock::new());
    SqliteStore::store(folder.join("shell.db"), SqliteOptions::default(), clock).await.unwrap()
}

/// A child's owner of the one session.
struct Spender {
    store: Store,
    ids: Ids,
    writer: Writer,
    log: Mutex<File>,
}

impl Spender {
    async fn take(folder: &Path) -> Self {
        let store = open(folder).await;
        let ids = Ids::new(Arc::new(SystemClock::new()), Arc::new(SystemEntropy::new()));
        let new = NewSession {
            id: ids.make(),
            tenant: tenant("default"),
            name: digest_of("session"),
            sealed: Vec::new(),
            key: KeyId(digest_of("key")),
            created: Timestamp::from_millis(1),
        };
        let session = store.journal.open_session(new).await.unwrap().id;
        let owner: OwnerId = ids.make();
        store.ownership.enlist(owner, SOON).await.unwrap();
        let filter = ClaimFilter { sessions: Some(vec![session]), ..ClaimFilter::default() };
        let claims = store.ownership.claim(owner, filter, 1).await.unwrap();
        let writer = Writer::of(&claims.first().expect("the one before is dead").entry, owner);
        let log = OpenOptions::new().create(true).append(true).open(folder.join("told")).unwrap();
        Self { store, ids, writer, log: Mutex::new(log) }
    }

    /// Says what it was told: in one write, which the kernel keeps when the process is killed.
    fn say(&self, told: &Told) {
        let line = serde_json::to_string(told).unwrap() + "\n";
        self.log.lock().unwrap().write_all(line.as_bytes()).unwrap();
    }

    async fn append(
        &mut self,
        mark: impl Fn(agent_shell_core::words::Seq) -> TurnMark,
        settle: Vec<Settlement>,
    ) {
        let mut append: Append = self.writer.append(["record"]);
        append.id = self.ids.make();
        append.records[0].append = append.id;
        append.turns = vec![mark(append.records[0].header.seq)];
        append.settle = settle;
        self.writer.write(&self.store, append).await;
    }

    async fn attempt(&self, turn: TurnId, nth: u64) -> Option<(AttemptId, u64)> {
        let (session, epoch) = (self.writer.session, self.writer.fence.epoch);
        let attempt =
            AttemptId { session, turn, step: StepId::new(format!("step {nth}")).unwrap(), epoch, attempt: 1 };
        let nano_usd = 2 + nth * 13 % (MOST - 1);
        let accounts = vec![tenants(), turns(turn)];
        let ask = Reserve {
            attempt: attempt.clone(),
            fence: self.writer.fence,
            amounts: money(nano_usd),
            accounts,
        };
        match self.store.ledger.reserve(ask).await {
            Ok(reserved) => {
                self.say(&Told::Reserved {
                    attempt: attempt.digest(),
                    operation: reserved.operation,
                    nano_usd,
                });
                Some((attempt, nano_usd))
            }
            Err(ReserveError::Exceeded { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// One turn: of what was reserved a third is settled alone, a third with the end, and a third by the end.
    async fn turn(&mut self) {
        let turn: TurnId = self.ids.make();
        self.append(|seq| TurnMark::Started(turn, seq), Vec::new()).await;
        let this = &*self;
        let attempts = (0..AT_ONCE).map(|nth| async move {
            let (attempt, reserved) = this.attempt(turn, nth).await?;
            if nth % 3 != 0 {
                return Some((attempt, if nth % 3 == 1 { Some(1) } else { None }, reserved));
            }
            let cost = vec![Settlement { attempt: attempt.clone(), amounts: money(2) }];
            this.store.ledger.settle(this.writer.session, this.writer.fence, cost).await.unwrap();
            this.say(&Told::Settled { attempt: attempt.digest(), nano_usd: 2 });
            None
        });
        let left: Vec<_> = join_all(attempts).await.into_iter().flatten().collect();
        let named = left.iter().filter_map(|(attempt, cost, _)| Some((attempt, (*cost)?)));
        let settle = named
            .map(|(attempt, cost)| Settlement { attempt: attempt.clone(), amounts: money(cost) })
            .collect();
        self.append(|seq| TurnMark::Ended(turn, seq), settle).await;
        for (attempt, cost, reserved) in left {
            self.say(&Told::Settled { attempt: attempt.digest(), nano_usd: cost.unwrap_or(reserved) });
        }
    }
}

/// The child: it spends until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut spender = Spender::take(Path::new(&folder)).await;
    let (session, fence) = (spender.writer.session, spender.writer.fence);
    spender.store.ledger.sweep(session, fence).await.unwrap();
    let end = Instant::now() + SOON;
    while Instant::now() < end {
        spender.turn().await;
    }
}

fn start(folder: &Path) -> Child {
    let name = concat!(module_path!(), "::child");
    let (_, name) = name.split_once("::").unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name]).env(FOLDER, folder).stdout(Stdio::null()).stderr(Stdio::null());
    child.spawn().unwrap()
}

/// Lets a child work for a while, and kills it.
fn killed(folder: &Path, after: Duration) {
    let length = || std::fs::metadata(folder.join("told")).map_or(0, |file| file.len());
    let (before, begun) = (length(), Instant::now());
    let mut child = start(folder);
    while length() == before {
        assert!(begun.elapsed() < SOON, "the child does nothing");
        assert_eq!(child.try_wait().unwrap(), None, "the child ended by itself");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(after);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
}

async fn operations(ledger: &dyn Ledger) -> Vec<Operation> {
    let mut all: Vec<Operation> = Vec::new();
    loop {
        let page = ledger.operations(all.len() as u64, 1_000).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// What the operations make of every account; no ceiling may be passed on the way.
fn replayed(operations: &[Operation]) -> BTreeMap<Account, Balance> {
    let mut balances: BTreeMap<Account, Balance> = BTreeMap::new();
    for (operation, number) in operations.iter().zip(1..) {
        assert_eq!(operation.number, number, "numbers have no gap");
        for (account, ceiling) in &operation.accounts {
            let balance = balances.entry(*account).or_default();
            *balance = operation.apply(*account, *balance);
            let above = balance.exceeded(ceiling, &Amounts::ZERO);
            assert_eq!(above, None, "{operation:?} passes a ceiling: {balance:?}");
        }
    }
    balances
}

/// Checks what a killed child has left; how many reservations that are.
async fn judge(folder: &Path) -> usize {
    let store = open(folder).await;
    let operations = operations(&*store.ledger).await;
    let balances = replayed(&operations);
    let mut live: BTreeMap<Digest, u64> = BTreeMap::new();
    let (mut reserved, mut settled) = (BTreeMap::new(), BTreeMap::new());
    for operation in &operations {
        let attempt = operation.attempt.unwrap();
        if operation.kind == OperationKind::Reserved {
            live.insert(attempt, operation.movement.reserved.nano_usd);
            reserved.insert(attempt, (operation.number, operation.movement.reserved.nano_usd));
        } else {
            assert!(live.remove(&attempt).is_some(), "{operation:?} settles what is not reserved");
            settled.insert(attempt, operation.movement.settled.nano_usd);
        }
    }
    let text = std::fs::read_to_string(folder.join("told")).unwrap();
    // A line that was cut says nothing.
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    for told in whole.map(|line| serde_json::from_str(line).unwrap()) {
        match told {
            Told::Reserved { attempt, operation, nano_usd } => {
                assert_eq!(reserved.get(&attempt), Some(&(operation, nano_usd)), "a reservation was lost");
            }
            Told::Settled { attempt, nano_usd } => {
                assert_eq!(settled.get(&attempt), Some(&nano_usd), "a settlement was lost");
            }
        }
    }
    let (account, _) = tenants();
    let balance = store.ledger.balance(account).await.unwrap().unwrap();
    assert_eq!(balance, balances[&account], "the operations make the balance");
    assert_eq!(balance.reserved.nano_usd, live.values().sum::<u64>(), "what is reserved is some attempt's");
    for (account, expected) in balances.into_iter().filter(|(account, _)| account.kind == AccountKind::Turn) {
        // It is gone with its turn.
        let balance = store.ledger.balance(account).await.unwrap();
        assert!(balance.is_none_or(|balance| balance == expected), "{balance:?} is not {expected:?}");
    }
    live.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_was_told_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut orphans = 0;
    for kill in 0..KILLS as u64 {
        // Somewhere in the first dozens of milliseconds, elsewhere each time.
        let after = Duration::from_micros(kill * 7_919 % 60_000);
        killed(folder.path(), after);
        let left = judge(folder.path()).await;
        assert!(left <= AT_ONCE as usize, "{left} are left: the sweep takes what was left before");
        orphans += left;
    }
    assert!(orphans > 0, "some were killed between a reservation and its settlement");
}
