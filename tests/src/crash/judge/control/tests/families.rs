//! Children and forks.

use agent_shell_core::Delegate;
use agent_shell_core::data::ChildOf;
use agent_shell_core::words::{SessionName, Subject};

use super::*;
use crate::crash::book::Book;
use crate::crash::judge::control::{child, fork};
use crate::crash::words::{Deed, Event};

fn session(number: u8) -> SessionId {
    SessionId::from_bytes([number; 16])
}

fn opened(name: &str, child_of: Option<ChildOf>) -> Body {
    let name = SessionName::new(name).unwrap();
    Body::SessionOpened { name, subject: Subject::None, child_of: child_of.map(Box::new) }
}

fn ended(turn: TurnId, outcome: Outcome) -> Body {
    Body::TurnEnded { turn, outcome, answer: None, undone: None, joined: vec![] }
}

/// A turn, and the child that did a step of it; the child is undone with it, when the turn is `cancelled`.
#[derive(Clone)]
struct Family {
    parent: Vec<Body>,
    child: Vec<Body>,
}

impl Family {
    fn new(cancelled: bool) -> Self {
        let (input, answer) = (json!({ "path": "/kid" }), json!({ "n": 7 }));
        let delegate = Delegate::to_planner("controlled", json!(1));
        let mut scene = Scene::planned([Step::child("kid", delegate)]);
        let (session, child, of) = (session(8), other(), input.clone().into());
        let step = step("kid");
        let turn = turn();
        scene.records.push(Body::ChildStarted {
            turn,
            step: step.clone(),
            session,
            child,
            input: of,
            deadline: None,
        });
        let (waits, applied, untrusted) = (true, true, false);
        scene.records.push(Body::ChildEnded { turn, step: step.clone(), waits, applied, untrusted });
        scene.succeeded("kid", &answer);
        let mut kid = vec![
            opened("kid", Some(ChildOf::new(session_of_parent(), turn, step.clone(), child, 1))),
            started(child, key(|submission| submission.names)),
            Body::TurnAnswered { turn: child, answer: answer.clone().into() },
        ];
        if let Body::TurnStarted { input: given, .. } = &mut kid[1] {
            *given = input.into();
        }
        if cancelled {
            scene.cancelled();
            let undo = super::step("undo:kid");
            scene.records.push(Body::UndoPlanned { turn, steps: [(undo.clone(), step)].into() });
            scene.records.push(Body::ChildCancelled { turn, step: undo.clone() });
            let (waits, applied) = (false, false);
            scene.records.push(Body::ChildEnded { turn, step: undo, waits, applied, untrusted });
            scene.succeeded("undo:kid", &Value::Null);
            scene.ended(Outcome::Cancelled, &["kid"], &[]);
            kid.push(ended(child, Outcome::Cancelled));
        } else {
            scene.ended(Outcome::Answered(answer.clone()), &[], &[]);
            kid.push(ended(child, Outcome::Answered(answer)));
        }
        Self { parent: scene.records, child: kid }
    }

    fn judged(&self) -> BTreeSet<Rule> {
        let logs = [log_of(session_of_parent(), &self.parent), log_of(session(8), &self.child)];
        let (audit, people) = (Audit::default(), [Pseudonym::RUNTIME].into());
        let of_world = Acts { audit: &audit, people: &people, stops: false };
        let mut verdict = Verdict::default();
        child::check(&logs, &mut verdict);
        for turn in &logs[0].turns {
            undo::check(turn, &of_world, &mut verdict);
        }
        verdict.violations.iter().map(|violation| violation.rule).collect()
    }

    #[track_caller]
    fn doctored(&self, rules: impl IntoIterator<Item = Rule>, change: impl FnOnce(&mut Self)) {
        let mut doctored = self.clone();
        change(&mut doctored);
        assert_eq!(doctored.judged(), rules.into_iter().collect());
    }
}

fn session_of_parent() -> SessionId {
    session(9)
}

/// The place of the first record of a kind.
fn place(records: &[Body], kind: &str) -> usize {
    records.iter().position(|body| body.kind() == kind).unwrap()
}

#[test]
fn a_child_that_runs_twice_or_never_or_says_something_else_is_found() {
    for cancelled in [false, true] {
        let family = Family::new(cancelled);
        assert_eq!(family.judged(), BTreeSet::new());
        family.doctored([Rule::Child], |family| {
            let at = place(&family.parent, "child.started");
            family.parent.insert(at, family.parent[at].clone());
        });
        family.doctored([Rule::Child], |family| {
            let at = place(&family.parent, "child.ended");
            family.parent.insert(at, family.parent[at].clone());
        });
        family.doctored([Rule::Child], |family| {
            family.child.splice(1..1, [started(turn(), key(|submission| submission.names))]);
        });
        family.doctored([Rule::Child], |family| drop(family.child.remove(1)));
        family.doctored([Rule::Child], |family| {
            family.child[2] = Body::TurnAnswered { turn: other(), answer: json!({ "n": 8 }).into() };
        });
        family.doctored([Rule::Child], |family| family.child[0] = opened("kid", None));
        // It goes another way than its parent.
        family.doctored([Rule::Child], |family| {
            let outcome = if cancelled { Outcome::Answered(json!({ "n": 7 })) } else { Outcome::Cancelled };
            *family.child.last_mut().unwrap() = ended(other(), outcome);
        });
    }
    // Its parent does not undo it.
    Family::new(true).doctored([Rule::Undo], |family| {
        let at = place(&family.parent, "undo.planned");
        family.parent.truncate(at);
        let mut scene = Scene::default();
        scene.ended(Outcome::Cancelled, &[], &["kid"]);
        family.parent.extend(scene.records);
    });
}

/// A session, and a fork of it amid its turn, whose one call brings what the session recorded.
#[derive(Clone)]
struct Forked {
    parent: Scene,
    fork: Vec<Body>,
    calls: Vec<Value>,
    deeds: Vec<Deed>,
}

impl Forked {
    fn new() -> Self {
        let steps = [Step::tool("a", "rent", json!({})), Step::tool("b", "mark", json!({})).after(["a"])];
        let mut parent = Scene::planned(steps);
        parent.records.insert(0, opened("crash-1", None));
        parent.done("a", "idempotent");
        let amid = parent.records.len();
        parent.done("b", "idempotent");
        parent.ended(Outcome::Answered(json!(1)), &[], &[]);
        let mut of_fork = Scene { records: parent.records[1..amid].to_vec(), calls: Vec::new() };
        let copies = of_fork.records.len() as u64;
        let brought = json!({ "n": 0 });
        let (of, output) = (step("b"), brought.clone().into());
        of_fork.records.push(Body::StepReturned { turn: turn(), step: of, attempt: 1, output, view: None });
        of_fork.ruled("b", GuardPlace::AfterTool, &brought, Ruled::Allowed, None);
        of_fork.succeeded("b", &brought);
        of_fork.ended(Outcome::Answered(json!(1)), &[], &[]);
        let forked = Body::SessionForked {
            parent: session_of_parent(),
            seq: Seq::new(amid as u64),
            hash: Digest::of("here"),
            root: session_of_parent(),
            effects: false,
            copies,
            handles_from: 0,
            state: Box::new(Value::Null.into()),
            calls: Box::new(Value::Null.into()),
        };
        let fork = [opened("fork-1", None), forked].into_iter().chain(of_fork.records);
        let fork = fork.map(|body| renamed(&body));
        let deeds = vec![Deed::Forked { name: "fork-1".into(), fork: session(7) }];
        Self { parent, fork: fork.collect(), calls: Vec::new(), deeds }
    }

    fn judged(&self) -> BTreeSet<Rule> {
        let mut book = Book::new(SEED, vec![], 1);
        self.deeds.iter().for_each(|deed| book.take(1, 0, Event::Done { deed: deed.clone() }));
        let logs = [log_of(session_of_parent(), &self.parent.records), log_of(session(7), &self.fork)];
        let scene = Scene { records: Vec::new(), calls: self.calls.clone() };
        let (audit, people) = (scene.audit(), BTreeSet::new());
        let of_world = Acts { audit: &audit, people: &people, stops: false };
        let mut verdict = Verdict::default();
        fork::check(&book, &logs, &of_world, &mut verdict);
        verdict.violations.iter().map(|violation| violation.rule).collect()
    }

    #[track_caller]
    fn broken(&self, change: impl FnOnce(&mut Self)) {
        let mut doctored = self.clone();
        change(&mut doctored);
        assert_eq!(doctored.judged(), [Rule::Fork].into());
    }
}

/// The same record about the fork's turn.
fn renamed(body: &Body) -> Body {
    let text = json!(body).to_string().replace(&turn().to_string(), &other().to_string());
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_fork_that_acts_or_is_made_of_something_else_is_found() {
    let forked = Forked::new();
    assert_eq!(forked.judged(), BTreeSet::new());
    forked.broken(|forked| {
        let mut scene = Scene::default();
        scene.acted("b", "idempotent", json!({}));
        scene.calls[0]["call"]["effect"]["turn"] = json!(other());
        forked.calls = scene.calls;
    });
    forked.broken(|forked| {
        let mut scene = Scene::default();
        scene.started("b", &json!({}));
        forked.fork.splice(9..9, scene.records.iter().map(renamed));
    });
    // A copied outcome is missing, or says something else; what it did not call brought what nobody had.
    for at in [8, 9] {
        forked.broken(|forked| {
            let outputs = |body: &mut Body| match body {
                Body::StepSucceeded { output, .. } | Body::StepReturned { output, .. } => {
                    *output = json!({ "n": 5 }).into();
                }
                body => panic!("{body:?}"),
            };
            outputs(&mut forked.fork[at]);
        });
    }
    forked.broken(|forked| {
        if let Body::SessionForked { effects, .. } = &mut forked.fork[1] {
            *effects = true;
        }
    });
    forked.broken(|forked| forked.deeds.push(Deed::Forked { name: "fork-2".into(), fork: session(6) }));
}
