//! A process that is killed between the file and the removal, within the removal, and right after it: the session is in
//! the journal or in a file that is good, and the next process goes on.

use agent_shell_core::failpoint::Failpoint;
use agent_shell_core::ports::{SessionFilter, SessionStatus};
use agent_shell_core::{Outcome, Request};
use agent_shell_tests::owner::{Command, plan_of, tool_name};
use agent_shell_tests::recorder::Class;
use serde_json::json;

use crate::owners::{SOON, World, opened, submitted};
use crate::support::limits;

/// Kills an owner at a failpoint of its archiving; what a shell finds afterwards.
async fn killed_at(at: Failpoint, leaves: SessionStatus) {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().to_owned();
    let mut owner = world.owner(limits(), Some(at));
    opened(&mut owner);
    let turn = submitted(&mut owner, "anna", Class::Idempotent);
    let watching = world.shell(limits()).open().await.unwrap();
    let outcome = tokio::time::timeout(SOON, watching.turn(turn).outcome()).await.expect("it ends").unwrap();
    assert_eq!(outcome, Outcome::Answered(json!("done")));
    watching.shutdown().await.unwrap();
    owner.tell(&Command::Archive { folder: archive.clone() }).unwrap();
    assert!(owner.stands_still(SOON), "it gets to {at}");
    owner.kill().unwrap();

    let shell = world.shell(limits()).open().await.unwrap();
    let listed = shell.sessions(SessionFilter::default(), None, 9).await.unwrap();
    let [entry] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!(entry.mark.status, leaves, "at {at}");
    if leaves == SessionStatus::Idle {
        // It goes on; and the next call archives it, over the file that is there.
        assert_eq!(shell.turn(turn).outcome().await.unwrap(), outcome);
        // The dead owner held it, and its death is known at once.
        let report = shell.archive(&archive).await.unwrap();
        assert_eq!(report.archived.len(), 1, "{report:?}");
    }
    let files: Vec<_> = std::fs::read_dir(&archive).unwrap().map(|found| found.unwrap().path()).collect();
    let files: Vec<_> = files.iter().filter(|file| file.extension().unwrap() == "jsonl").collect();
    let [file] = &files[..] else { panic!("one file of one session: {files:?}") };
    assert!(!shell.restore(file).await.unwrap().was_there, "the file is good");
    assert_eq!(shell.turn(turn).outcome().await.unwrap(), outcome);
    let request = Request::plan(plan_of(tool_name(Class::Idempotent)).unwrap());
    let next = shell.session("anna").unwrap().submit(request).await.unwrap();
    assert_eq!(tokio::time::timeout(SOON, next.outcome()).await.expect("it goes on").unwrap(), outcome);
    assert_eq!((world.seen(turn).applied, world.audit().violations().len()), (1, 0), "nothing is done twice");
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_the_file_and_the_removal() {
    killed_at(Failpoint::ArchiveWritten, SessionStatus::Idle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_the_removal() {
    killed_at(Failpoint::ArchiveTaken, SessionStatus::Idle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn right_after_the_removal() {
    killed_at(Failpoint::ArchiveRemoved, SessionStatus::Archived).await;
}
