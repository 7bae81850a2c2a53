//! What is refused: files that are not what left, folders that can't be written, sessions that go on meanwhile.

use std::fs;
use std::time::Duration;

use agent_shell_core::ports::{Busy, SessionStatus};
use agent_shell_core::runtime::WhyNot;
use agent_shell_core::{ErrorKind, Plan, Shell, Step};

use super::{archive_in, archive_one, at, bodies, kind, status, turn};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_not_what_left_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive_in(&folder);
    let shell = at(folder.path()).open().await.unwrap();
    turn(&shell, "anna", "one").await;
    let (id, _, file) = archive_one(&shell, &archive).await;
    let good = fs::read(&file).unwrap();
    let refused = async |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let refused = kind(shell.restore(&file)).await;
        assert_eq!(status(&shell, id).await, Some(SessionStatus::Archived), "nothing was changed");
        refused
    };
    let mut flips = 0;
    for at in (0..good.len()).step_by(good.len() / 60) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        assert_eq!(refused(&bytes).await, ErrorKind::Corrupt, "byte {at} was changed");
        flips += 1;
    }
    assert!(flips >= 60);
    let lines: Vec<_> = good.split_inclusive(|byte| *byte == b'\n').collect();
    for kept in 0..lines.len() {
        assert_eq!(refused(&lines[..kept].concat()).await, ErrorKind::Corrupt, "{kept} lines are no archive");
    }
    assert_eq!(refused(&good[..good.len() - 5]).await, ErrorKind::Corrupt, "nor is a part of its last line");
    assert_eq!(refused(&[&good[..], &good[..]].concat()).await, ErrorKind::Corrupt, "nor is it twice");
    fs::remove_file(&file).unwrap();
    assert_eq!(kind(shell.restore(&file)).await, ErrorKind::NotFound);

    // A file that is whole, of the same session, and still another one: somebody left a blob out and closed it anew.
    let blob = lines.iter().position(|line| line.starts_with(b"{\"blob\"")).expect("it holds a blob");
    let mut forged: Vec<u8> = lines[..lines.len() - 1]
        .iter()
        .enumerate()
        .filter(|(nth, _)| *nth != blob)
        .flat_map(|(_, line)| line.to_vec())
        .collect();
    let mut end: serde_json::Value = serde_json::from_slice(lines[lines.len() - 1]).unwrap();
    end["archive_end"]["blobs"] = (end["archive_end"]["blobs"].as_u64().unwrap() - 1).into();
    end["archive_end"]["sha256"] = agent_shell_core::words::Digest::of(&forged).to_string().into();
    forged.extend(format!("{end}\n").bytes());
    assert!(agent_shell_core::runtime::verify_export(&*forged, &Default::default()).is_ok(), "it is whole");
    assert_eq!(refused(&forged).await, ErrorKind::Corrupt, "the journal knows which file left");

    // Another journal knows nothing of it, but whoever has the keys reads it.
    fs::write(&file, &good).unwrap();
    let elsewhere = Shell::volatile().open().await.unwrap();
    assert_eq!(kind(elsewhere.restore(&file)).await, ErrorKind::NotFound);
    assert_eq!(kind(async { elsewhere.read_archive(&file).await.map(drop) }).await, ErrorKind::KeyLost);
    assert!(!bodies(shell.read_archive(&file).await.unwrap()).await.is_empty());
    assert!(!shell.restore(&file).await.unwrap().was_there, "the good one is taken back");
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_written_stays_in_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let shell = at(folder.path()).open().await.unwrap();
    turn(&shell, "anna", "one").await;
    let session = shell.session("anna").unwrap();
    let (id, before) = (session.id().await.unwrap(), bodies(session.history().await.unwrap()).await);
    let no_folder = folder.path().join("nowhere");
    assert_eq!(kind(shell.archive(&no_folder).into_future()).await, ErrorKind::InvalidInput);
    // Every write to it fails as on a full disk.
    #[cfg(target_os = "linux")]
    {
        let full = archive_in(&folder);
        let (_, _, taken) = archive_one(&shell, &full).await;
        shell.restore(&taken).await.unwrap();
        fs::remove_file(&taken).unwrap();
        fs::create_dir(&taken).unwrap();
        fs::write(taken.join("in the way"), "").unwrap();
        assert_eq!(kind(shell.archive(&full).into_future()).await, ErrorKind::Unavailable);
        fs::remove_dir_all(taken).unwrap();
        assert_eq!(fs::read_dir(&full).unwrap().count(), 0, "nothing is left behind");
        assert_eq!(kind(shell.archive("/proc").into_future()).await, ErrorKind::Unavailable);
    }
    assert_eq!(status(&shell, id).await, Some(SessionStatus::Idle));
    assert_eq!(bodies(session.history().await.unwrap()).await, before, "all is as it was");
    shell.shutdown().await.unwrap();

    let mut small = crate::support::limits();
    small.archive_bytes = 300;
    let shell = at(folder.path()).limits(small).open().await.unwrap();
    let report = shell.archive(archive_in(&folder)).await.unwrap();
    assert_eq!(report.passed_over.iter().map(|over| &over.why).collect::<Vec<_>>(), [&WhyNot::TooLarge]);
    assert_eq!(fs::read_dir(archive_in(&folder)).unwrap().count(), 0, "nothing is left behind");
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_work_or_another_owner_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive_in(&folder);
    let shell = at(folder.path()).open().await.unwrap();
    turn(&shell, "anna", "one").await;
    let waits = Plan::new([Step::signal("wait", "go")]).unwrap();
    shell.session("bert").unwrap().submit(waits).await.unwrap();
    let second = at(folder.path()).open().await.unwrap();
    let report = second.archive(&archive).await.unwrap();
    let [over] = &report.passed_over[..] else { panic!("{report:?}") };
    assert_eq!((report.archived.len(), &over.why), (0, &WhyNot::Busy(Busy::Held)), "another shell holds it");
    archive_one(&shell, &archive).await; // It lets its own go.
    second.shutdown().await.unwrap();
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_submit_beside_an_archive_is_accepted_or_refused_and_never_lost() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive_in(&folder);
    let shell = at(folder.path()).open().await.unwrap();
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..40_u64 {
        let name = format!("s{round}");
        turn(&shell, &name, "first").await;
        let session = shell.session(&name).unwrap();
        session.id().await.unwrap();
        let submit = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(2 * round)).await;
            session.submit(Plan::new([Step::timer("t", Duration::ZERO)]).unwrap()).await
        });
        let left = shell.archive(&archive).await.unwrap().archived;
        match submit.await.unwrap() {
            Ok(turn) => {
                // It runs; and when it had ended, its session may have left with it.
                while let Err(error) = turn.outcome().await {
                    assert_eq!(error.kind(), ErrorKind::Archived, "{error}");
                    shell.restore(&left[0].file).await.unwrap();
                }
                accepted += 1;
                shell.archive(&archive).await.unwrap();
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Archived, "{error}");
                assert_eq!(left.len(), 1);
                refused += 1;
            }
        }
    }
    assert_eq!(accepted + refused, 40);
    assert!(accepted > 0 && refused > 0, "both happen: {accepted} accepted, {refused} refused");
    shell.shutdown().await.unwrap();
}
