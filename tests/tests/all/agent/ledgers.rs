//! Ledgers that lose their answers, that hold much that is old, and that are told of an overrun.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::volatile::{VolatileKeys, VolatileStore};
use agent_shell_core::data::{Account, Amounts, AttemptId, Balance, Ceiling, Movement, Prompt};
use agent_shell_core::ports::{
    Fence, Ledger, Operation, OperationKind, ReconcileError, ReopenError, Reserve, ReserveError, Reserved,
    SettleError, Settlement, Store, StoreError,
};
use agent_shell_core::runtime::Ceilings;
use agent_shell_core::words::{SessionId, Timestamp};
use agent_shell_core::{
    FailureCode, Outcome, Plan, PlanView, Planned, Planner, PlannerError, Reply, Retry, Scripted, Shell,
    Step, input,
};
use async_trait::async_trait;
use serde_json::json;

use super::super::support::{counted, double, limits, on_each};
use super::failure;

/// What is done well within this, unless it stands still.
const SOON: Duration = Duration::from_secs(20);

fn money(most: u64) -> Ceiling {
    Ceiling { nano_usd: Some(most), ..Ceiling::NONE }
}

/// A ledger that loses so many answers to reservations, that may not tell balances, and that holds old operations.
struct Odd {
    inner: Arc<dyn Ledger>,
    is_mute: AtomicBool,
    lost: AtomicU32,
    old: Mutex<VecDeque<Operation>>,
}

impl Odd {
    fn store(lost: u32, old: impl IntoIterator<Item = Operation>) -> (Arc<Self>, Shop) {
        let mut store = VolatileStore::store(Arc::new(SystemClock::new()));
        let (lost, old) = (AtomicU32::new(lost), Mutex::new(old.into_iter().collect()));
        let is_mute = AtomicBool::new(false);
        let ledger = Arc::new(Self { inner: store.ledger.clone(), is_mute, lost, old });
        store.ledger = ledger.clone();
        (ledger, Shop(store))
    }

    fn held(&self) -> usize {
        self.old.lock().unwrap().len()
    }
}

struct Shop(Store);

impl Shop {
    fn builder(self) -> agent_shell_core::ShellBuilder {
        Shell::on(self.0, Arc::new(VolatileKeys::new())).limits(limits())
    }
}

#[async_trait]
impl Ledger for Odd {
    async fn reserve(&self, reserve: Reserve) -> Result<Reserved, ReserveError> {
        let answer = self.inner.reserve(reserve).await;
        let is_lost =
            self.lost.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |lost| lost.checked_sub(1)).is_ok();
        if is_lost { Err(StoreError::Indeterminate { detail: "lost".into() }.into()) } else { answer }
    }

    async fn settle(
        &self,
        session: SessionId,
        fence: Fence,
        settlements: Vec<Settlement>,
    ) -> Result<(), SettleError> {
        self.inner.settle(session, fence, settlements).await
    }

    async fn sweep(&self, session: SessionId, fence: Fence) -> Result<u64, SettleError> {
        self.inner.sweep(session, fence).await
    }

    async fn reconcile(&self, attempt: AttemptId, billed: Amounts) -> Result<(), ReconcileError> {
        self.inner.reconcile(attempt, billed).await
    }

    async fn balance(&self, account: Account) -> Result<Option<Balance>, StoreError> {
        if self.is_mute.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable { detail: "mute".into() });
        }
        self.inner.balance(account).await
    }

    async fn reopen(&self, account: Account, overrun_seen: Amounts) -> Result<(), ReopenError> {
        self.inner.reopen(account, overrun_seen).await
    }

    async fn operations(&self, after: u64, limit: usize) -> Result<Vec<Operation>, StoreError> {
        let old = self.old.lock().unwrap();
        Ok(old.iter().filter(|operation| operation.number > after).take(limit).cloned().collect())
    }

    async fn trim(&self, through: u64) -> Result<u64, StoreError> {
        let mut old = self.old.lock().unwrap();
        let fit = old.iter().take_while(|operation| operation.number <= through).take(1_000).count();
        old.drain(..fit);
        Ok(fit as u64)
    }
}

/// Operations of which each was made at the instant that is named.
fn made_at(instants: impl IntoIterator<Item = u64>) -> Vec<Operation> {
    let operation = |(number, at)| Operation {
        number,
        at: Timestamp::from_millis(at),
        kind: OperationKind::Reopened,
        attempt: None,
        session: None,
        accounts: Vec::new(),
        movement: Movement::default(),
    };
    (1..).zip(instants).map(operation).collect()
}

async fn is_emptied(operations: Vec<Operation>) {
    let (ledger, shop) = Odd::store(0, operations);
    let shell = shop.builder().budgeted(|_| Ceilings::default()).open().await.unwrap();
    let emptied = async {
        while ledger.held() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let emptied = tokio::time::timeout(SOON, emptied).await;
    assert!(emptied.is_ok(), "{} operations are still there", ledger.held());
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn however_much_is_old_is_let_go_at_once() {
    is_emptied(made_at(std::iter::repeat_n(1, 150_000))).await;
}

#[tokio::test]
async fn what_is_stamped_in_the_future_keeps_nothing_that_is_old() {
    // A clock that ran ahead, for an operation and for more than a page of them.
    for ahead in [1, 1_500] {
        is_emptied(made_at(std::iter::repeat_n(1 << 50, ahead).chain([1; 10]))).await;
    }
}

#[tokio::test]
async fn a_reservation_whose_answer_was_lost_costs_nothing_when_nothing_ran() {
    let (_, shop) = Odd::store(1, []);
    let calls = Arc::new(AtomicU32::new(0));
    let shell = shop
        .builder()
        .budgeted(|_| Ceilings { session: money(1_000), ..Ceilings::default() })
        .tool(counted(&calls).costs_at_most(300))
        .open()
        .await
        .unwrap();
    let ada = shell.session("ada").unwrap();
    let plan = Plan::new([Step::tool("one", "count", json!({ "n": 1 }))]).unwrap();
    let outcome = ada.submit(plan).await.unwrap().outcome().await.unwrap();
    assert!(matches!(outcome, Outcome::Answered(_)), "{outcome:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let account = shell.session_account(ada.id().await.unwrap());
    let balance = shell.ledger().balance(account).await.unwrap().unwrap();
    assert_eq!((balance.settled.nano_usd, balance.settled.tool_calls), (300, 1), "what ran");
    assert_eq!((balance.settled.steps, balance.reserved), (1, Amounts::ZERO));
    shell.shutdown().await.unwrap();
}

/// Tells what is left of the budget, and whether that is not known.
struct Looks(tokio::sync::mpsc::UnboundedSender<(Option<Ceiling>, bool)>);

#[async_trait]
impl Planner for Looks {
    async fn plan(&self, view: PlanView) -> Result<Planned, PlannerError> {
        self.0.send((view.headroom.budget, view.headroom.is_budget_unknown)).unwrap();
        Ok(Planned::Answer(json!("looked")))
    }
}

#[tokio::test]
async fn a_planner_sees_whether_there_is_no_budget_or_nobody_knows_of_it() {
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let (ledger, shop) = Odd::store(0, []);
    let shell = shop.builder().planner(Looks(sender)).open().await.unwrap();
    let session = shell.session("ada").unwrap();
    for (budget, is_mute, expected) in [
        (None, false, (None, false)),
        (Some(money(10)), false, (Some(money(10)), false)),
        (Some(money(10)), true, (None, true)),
        (None, true, (None, false)),
    ] {
        ledger.is_mute.store(is_mute, Ordering::SeqCst);
        let submit = session.submit("hi");
        let submit = if let Some(budget) = budget { submit.budget(budget) } else { submit };
        assert_eq!(submit.await.unwrap().outcome().await.unwrap().text(), "looked");
        assert_eq!(seen.recv().await.unwrap(), expected);
    }
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_ceiling_that_changes_reaches_a_session_that_is_held() {
    on_each(|builder, _| async move {
        let most = Arc::new(AtomicU64::new(300));
        let asked = most.clone();
        let shell = builder
            .budgeted(move |_| Ceilings {
                session: money(asked.load(Ordering::SeqCst)),
                ..Ceilings::default()
            })
            .tool(double().costs_at_most(300))
            .open()
            .await
            .unwrap();
        let ada = shell.session("ada").unwrap();
        let run = || async {
            let plan = Plan::new([Step::tool("one", "double", json!({ "n": 1 }))]).unwrap();
            ada.submit(plan).await.unwrap().outcome().await.unwrap()
        };
        for (most_nano_usd, fits) in [(300, true), (300, false), (600, true), (899, false), (900, true)] {
            most.store(most_nano_usd, Ordering::SeqCst);
            let outcome = run().await;
            if fits {
                assert!(matches!(outcome, Outcome::Answered(_)), "{most_nano_usd}: {outcome:?}");
            } else {
                assert_eq!(failure(&outcome).0, FailureCode::Budget, "{most_nano_usd}");
            }
        }
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_turns_own_budget_alone_lets_go_of_what_is_old() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let open = |keep_ms: u64| {
        let mut limits = limits();
        limits.ledger_keep_ms = keep_ms;
        Shell::at(&path).limits(limits).tool(double()).open()
    };
    let shell = open(1 << 40).await.unwrap();
    let plan = Plan::new([Step::tool("one", "double", json!({ "n": 1 }))]).unwrap();
    let turn = shell.session("ada").unwrap().submit(plan).budget(money(10)).await.unwrap();
    turn.outcome().await.unwrap();
    assert_eq!(shell.ledger().operations(0, 10).await.unwrap().len(), 2);
    shell.shutdown().await.unwrap();
    let shell = open(1).await.unwrap();
    let emptied = async {
        while !shell.ledger().operations(0, 10).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, emptied).await.expect("what is old goes");
    shell.shutdown().await.unwrap();
}

/// A shell, on this thread, whose one question costs more than it may; what it says in the log.
fn alarms(shell: impl FnOnce() -> agent_shell_core::ShellBuilder) -> String {
    let heard = super::super::support::Heard::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = tracing::subscriber::set_default(heard.clone());
    runtime.block_on(async {
        let model = Scripted::with(|_| Reply::text("yes").usage(20, 100_000)).price(1_000_000, 1_000_000);
        let ceilings = |_: &agent_shell_core::runtime::Whose<'_>| Ceilings {
            tenant: money(1 << 40),
            ..Ceilings::default()
        };
        let shell = shell().limits(limits()).model(model).budgeted(ceilings).open().await.unwrap();
        let mut prompt = Prompt::new("Answer.");
        prompt.settings.output_tokens = 100;
        let step = Step::ask("ask", "default", prompt, input("/q")).retry(Retry::ONCE);
        let request = agent_shell_core::Request::plan(Plan::new([step]).unwrap()).input(json!({ "q": "?" }));
        let ada = shell.session("ada").unwrap();
        let turn = ada.submit(request).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap().text(), "yes");
        let attempt = super::budgets::asked(&ada, turn.id()).await;
        for nano_usd in [100_020, 200_000, 200_000] {
            let billed = Amounts { nano_usd, tokens: 100_020, steps: 1, ..Amounts::ZERO };
            shell.ledger().reconcile(attempt.clone(), billed).await.unwrap();
        }
        let balance = shell.ledger().balance(shell.tenant_account(&Default::default())).await.unwrap();
        assert!(balance.unwrap().closed);
        shell.shutdown().await.unwrap();
    });
    heard.errors()
}

#[test]
fn an_overrun_raises_an_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    for alarms in [alarms(Shell::volatile), alarms(|| Shell::at(&path))] {
        assert_eq!(alarms.matches("more was spent than was set aside").count(), 1, "{alarms}");
        for field in ["accounts=", "Tenant", "asked=", "used=", "nano_usd: 100020", "session=", "turn="] {
            assert!(alarms.contains(field), "{field}: {alarms}");
        }
        // Of three bills one says more than was known, and one is a repeat.
        assert_eq!(alarms.matches("a bill is above what was set aside").count(), 1, "{alarms}");
        assert!(alarms.contains("billed=") && alarms.contains("overrun="), "{alarms}");
    }
}
