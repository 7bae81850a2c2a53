//! Who may do what.

use std::collections::BTreeSet;
use std::time::Duration;

use agent_shell_core::ports::{Authorizer, Intention, Refusal, SessionFilter};
use agent_shell_core::runtime::Rest;
use agent_shell_core::words::{Seq, StepId, UserId};
use agent_shell_core::{
    Actor, Call, Deed, Delegate, Error, ErrorKind, Outcome, Plan, Request, Resolution, Roles, Shell, Step,
    Tenant, TenantRoles, Tool, ToolError, Turn,
};
use serde_json::{Value, json};

use super::super::support::limits;

fn named(id: &str) -> Actor {
    Actor::named(id).unwrap()
}

fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

/// `able` may do one deed, and `lead` all.
fn only(deed: Deed) -> Roles {
    let roles = TenantRoles::default().role("one", [deed]).role("all", Deed::ALL);
    let roles =
        roles.member(user("able"), ["one"]).member(user("lead"), ["all"]).member(user("none"), ["gone"]);
    Roles::default().tenant(Tenant::default(), roles)
}

async fn shell(roles: Roles) -> Shell {
    let lost = Tool::irreversible("lose", "Is never answered", |_: Value, _: Call| async {
        Err::<Value, _>(ToolError::ambiguous("the line went dead"))
    });
    let shell = Shell::volatile().limits(limits()).tool(lost).planner(crate::children::Answers);
    shell.authorizer(roles).open().await.unwrap()
}

async fn submit(shell: &Shell, plan: Plan, actor: &Actor) -> Result<Turn, Error> {
    shell.session("ada").unwrap().submit(Request::plan(plan)).actor(actor.clone()).await
}

/// A turn that rests in one step: for an approval, or in doubt.
async fn resting(shell: &Shell, in_doubt: bool) -> (Turn, Rest) {
    let step = if in_doubt { Step::tool("s", "lose", json!(1)) } else { Step::approval("s", json!("Go?")) };
    let turn = submit(shell, Plan::new([step]).unwrap(), &named("lead")).await.unwrap();
    assert_eq!(turn.outcome().await.unwrap_err().kind(), ErrorKind::AtRest);
    let rest = turn.rests().await.unwrap().remove(0);
    (turn, rest)
}

/// Does a deed, and returns what came of it.
async fn done(shell: &Shell, deed: Deed, actor: &Actor) -> Result<(), Error> {
    match deed {
        Deed::Submit => submit(shell, Plan::new([Step::signal("s", "go")]).unwrap(), actor).await.map(drop),
        Deed::Signal => shell.session("ada").unwrap().signal("go", json!(1), None, actor).await,
        Deed::Approve | Deed::Deny | Deed::Abandon | Deed::Cancel => {
            let (turn, rest) = resting(shell, false).await;
            let result = match deed {
                Deed::Approve => shell.approve(&rest, actor).await,
                Deed::Deny => shell.deny(&rest, "no", actor).await,
                Deed::Cancel => turn.cancel("enough", actor).await,
                _ => turn.abandon("enough", actor).await,
            };
            if result.is_err() {
                assert_eq!(turn.rests().await.unwrap(), [rest], "it rests as before");
                turn.abandon("enough", &named("lead")).await.unwrap();
            }
            assert!(!matches!(turn.outcome().await.unwrap(), Outcome::Expired));
            result
        }
        Deed::Resolve => {
            let (turn, rest) = resting(shell, true).await;
            let result = shell.resolve(&rest, Resolution::Applied(json!(1)), actor).await;
            if result.is_err() {
                turn.resolve("s", Resolution::Applied(json!(1)), &named("lead")).await.unwrap();
            }
            turn.outcome().await.unwrap();
            result
        }
        Deed::Fork => {
            submit(shell, Plan::new([Step::signal("s", "go")]).unwrap(), &named("lead")).await.unwrap();
            let session = shell.session("ada").unwrap();
            while session.head().await.unwrap().seq == Seq::ZERO {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let before = shell.sessions(SessionFilter::default(), None, 10).await.unwrap().len();
            let result = session.fork("fork").actor(actor.clone()).await.map(drop);
            let after = shell.sessions(SessionFilter::default(), None, 10).await.unwrap().len();
            assert_eq!(after - before, usize::from(result.is_ok()), "what is refused registers nothing");
            result
        }
        Deed::HandOff => shell.session("ada").unwrap().hand_off("default", "", actor).await,
        Deed::Purge => shell.purge(&Tenant::default(), &user("ada"), actor).await.map(drop),
        other => panic!("{other:?} is not tested"),
    }
}

#[tokio::test]
async fn each_deed_is_for_those_whose_role_has_it() {
    for deed in Deed::ALL {
        let shell = shell(only(deed)).await;
        for refused in [named("none"), named("stranger"), Actor::Host, Actor::Runtime] {
            let error = done(&shell, deed, &refused).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Forbidden, "{deed:?} by {refused:?}: {error}");
            assert!(error.to_string().contains(&format!("may `{}`", deed.name())), "{error}");
        }
        done(&shell, deed, &named("able")).await.unwrap_or_else(|error| panic!("{deed:?}: {error}"));
        shell.shutdown().await.unwrap();
        // Each other deed is refused to whoever may this one alone.
        let other = Deed::ALL.into_iter().find(|other| *other != deed).unwrap();
        let shell = self::shell(only(other)).await;
        assert_eq!(done(&shell, deed, &named("able")).await.unwrap_err().kind(), ErrorKind::Forbidden);
        shell.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_refused_leaves_nothing_behind() {
    let shell = shell(only(Deed::Submit)).await;
    for deed in [Deed::Submit, Deed::Signal] {
        done(&shell, deed, &named("stranger")).await.unwrap_err();
    }
    let sessions = shell.sessions(SessionFilter::default(), None, 10).await.unwrap();
    assert!(sessions.is_empty(), "not even the session: {sessions:?}");
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn another_tenant_has_roles_of_its_own() {
    let shell = shell(only(Deed::Submit)).await;
    let subject = agent_shell_core::Subject::None;
    let session = shell.session_of(Tenant::new("other").unwrap(), "s", subject).unwrap();
    let error =
        session.submit(Plan::new([Step::signal("s", "go")]).unwrap()).actor(named("lead")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn with_four_eyes_whoever_submitted_may_not_approve_and_may_deny() {
    let roles = TenantRoles::default().role("all", Deed::ALL).four_eyes();
    let roles = roles.member(user("lead"), ["all"]).member(user("second"), ["all"]).host(["all"]);
    let shell = shell(Roles::default().tenant(Tenant::default(), roles)).await;
    let (turn, rest) = resting(&shell, false).await;
    let error = shell.approve(&rest, &named("lead")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(error.to_string().contains("let somebody else approve"), "{error}");
    shell.approve(&rest, &named("second")).await.unwrap();
    assert!(matches!(turn.outcome().await.unwrap(), Outcome::Answered(_)));
    let (turn, rest) = resting(&shell, false).await;
    shell.deny(&rest, "I was wrong", &named("lead")).await.unwrap();
    assert!(matches!(turn.outcome().await.unwrap(), Outcome::Failed(_)));
    shell.shutdown().await.unwrap();
}

/// What somebody says to a turn is theirs, too: else two could pay whom they like.
#[tokio::test]
async fn with_four_eyes_whoever_steered_a_turn_may_not_approve_in_it_or_in_its_children() {
    let roles = TenantRoles::default().role("all", Deed::ALL).four_eyes();
    let roles = roles.member(user("lead"), ["all"]).member(user("second"), ["all"]).host(["all"]);
    let roles = roles.member(user("third"), ["all"]);
    let shell = shell(Roles::default().tenant(Tenant::default(), roles)).await;
    let plan = |step: Step| Plan::new([step]).unwrap();
    let approval = || Step::approval("s", json!("Go?"));
    let kid = Step::child("kid", Delegate::to_plan(plan(approval()), json!(null)));
    for step in [approval(), kid] {
        let turn = submit(&shell, plan(step), &named("lead")).await.unwrap();
        let rest = loop {
            match shell.rests().await.unwrap().pop() {
                Some(rest) => break rest,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let session = shell.session("ada").unwrap();
        session.submit(plan(Step::timer("t", Duration::ZERO))).steer().actor(named("second")).await.unwrap();
        let rest_of = session.id().await.unwrap();
        let was_heard = async || {
            let records = shell.history(rest_of).await.unwrap().next(999).await.unwrap();
            let of_turn = records.iter().filter(|record| record.body.turn() == Some(turn.id()));
            of_turn.filter(|record| record.body.kind() == "turn.steered").count() == 1
        };
        while !was_heard().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for asks in ["lead", "second"] {
            let error = shell.approve(&rest, &named(asks)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Forbidden, "{asks}: {error}");
        }
        shell.approve(&rest, &named("third")).await.unwrap();
        assert!(matches!(turn.outcome().await.unwrap(), Outcome::Answered(_)));
        while shell
            .session("ada")
            .unwrap()
            .submit(plan(Step::timer("last", Duration::ZERO)))
            .actor(named("lead"))
            .await
            .unwrap()
            .outcome()
            .await
            .is_err()
        {}
    }
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn roles_are_plain_data() {
    let text = r#"{"tenants":{"default":{"roles":{"clerk":["submit","signal"]},"members":{"olga":["clerk"]},"host":["clerk"],"four_eyes":true}}}"#;
    let roles: Roles = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&roles).unwrap(), text);
    let tenant = &roles.tenants[&Tenant::default()];
    assert_eq!(tenant.roles["clerk"], BTreeSet::from([Deed::Submit, Deed::Signal]));
    assert!(serde_json::from_str::<Roles>(r#"{"tenant":{}}"#).is_err(), "what is misspelt is no permission");
}

/// An authorizer of the host's own: it looks at what it is told, and panics at signals.
struct Own;

#[async_trait::async_trait]
impl Authorizer for Own {
    async fn authorize(&self, asked: &Intention) -> Result<(), Refusal> {
        match asked.deed {
            Deed::Signal => panic!("the directory is gone"),
            Deed::Approve => {
                assert!(asked.session.is_some() && asked.turn.is_some());
                assert_eq!((asked.step.as_ref().map(StepId::as_str), asked.is_own), (Some("s"), Some(false)));
                Err(Refusal::new("ask the other desk"))
            }
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn an_authorizer_is_told_what_it_is_about_and_one_that_panics_refuses() {
    let shell = Shell::volatile().limits(limits()).authorizer(Own).open().await.unwrap();
    let (_, rest) = resting(&shell, false).await;
    let error = shell.approve(&rest, &named("bert")).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Forbidden, "ask the other desk".into()));
    let error = done(&shell, Deed::Signal, &named("bert")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(!error.to_string().contains("directory"), "{error}");
    shell.shutdown().await.unwrap();
}
