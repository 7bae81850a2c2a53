//! A disk that is full: a small tmpfs, mounted in a mount namespace of its own.
//!
//! To mount one takes rights that a developer may lack: these tests are ignored unless they are asked for, and `.ci/run`
//! asks for them where they can be run.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Program, Stdio};

use agent_shell_core::ErrorKind;
use agent_shell_core::words::TurnId;
use agent_shell_tests::disk::{Command, Event, HostProcess, Setting, answer};

use super::life::{Accepted, program};
use super::{SOON, limits, recovers};
use crate::workspace::root;

/// A mount namespace with a tmpfs, as long as a process lives that does nothing else.
struct SmallDisk {
    keeper: Child,
    folder: tempfile::TempDir,
    is_root: bool,
}

impl SmallDisk {
    fn new(bytes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let is_root = rustix::process::geteuid().is_root();
        let mut unshare = Program::new("unshare");
        unshare.args(if is_root { ["-m"].as_slice() } else { ["-m", "-r"].as_slice() });
        let mount = format!("mount -t tmpfs -o size={bytes} none \"$0\" && echo mounted && exec cat");
        unshare.args(["sh", "-c", &mount]).arg(folder.path());
        let mut keeper = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "mounted\n", "this test needs the right to mount a tmpfs");
        Self { keeper, folder, is_root }
    }

    /// A path on the disk, as a host sees it.
    fn journal(&self) -> PathBuf {
        self.folder.path().join("shell.db")
    }

    /// The disk, as this process sees it.
    fn seen(&self) -> PathBuf {
        let inside = self.folder.path().strip_prefix("/").unwrap();
        Path::new(&format!("/proc/{}/root", self.keeper.id())).join(inside)
    }

    fn host(&self, checkpoint_pages: Option<u32>) -> (HostProcess, Event) {
        let mut enter = Program::new("nsenter");
        enter.args(["-t", &self.keeper.id().to_string(), "-m"]);
        if !self.is_root {
            enter.args(["-U", "--preserve-credentials"]);
        }
        enter.arg(program().get_program());
        let setting = Setting { journal: self.journal(), limits: limits(), checkpoint_pages };
        let mut host = HostProcess::start(enter, &setting).unwrap();
        let opened = host.hear(SOON).unwrap().expect("a host says whether it opened");
        (host, opened)
    }

    /// Takes all room but so many bytes.
    fn fill_but(&self, bytes: usize) {
        let path = self.seen().join("ballast");
        let mut ballast = fs::File::create(&path).unwrap();
        let (block, mut length) = ([1; 4096], 0);
        while ballast.write_all(&block).is_ok() {
            length += block.len();
        }
        ballast.set_len(length.saturating_sub(bytes) as u64).unwrap();
    }

    fn make_room(&self) {
        fs::remove_file(self.seen().join("ballast")).unwrap();
    }

    /// Copies the store to where this process can open it.
    fn rescued(&self) -> (tempfile::TempDir, PathBuf) {
        let to = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(self.seen()).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
            }
        }
        let journal = to.path().join("shell.db");
        (to, journal)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}

fn submit(host: &mut HostProcess, session: &str, key: &str, bytes: usize) -> Event {
    let (session, key) = (session.into(), key.into());
    host.ask(&Command::Submit { session, key, bytes }, SOON).unwrap().expect("the host lives")
}

fn outcome(host: &mut HostProcess, turn: TurnId, within_ms: u64) -> Event {
    host.ask(&Command::Outcome { turn, within_ms }, SOON).unwrap().expect("the host lives")
}

/// Ends a host, which must not have panicked.
fn ended(host: HostProcess) {
    let (status, errors) = host.end().unwrap();
    assert!(status.success() && !errors.contains("panicked"), "{status}: {errors}");
}

/// Submits until the disk takes no more, and returns what it took.
fn until_full(host: &mut HostProcess) -> Vec<Accepted> {
    let mut accepted = Vec::new();
    for nth in 0..2_000 {
        let (key, bytes) = (format!("full {nth}"), 3_000);
        match submit(host, &format!("s{}", nth % 3), &key, bytes) {
            Event::Submitted { turn } => accepted.push(Accepted { key, turn, bytes }),
            refused => {
                assert!(refused.is(ErrorKind::Unavailable), "{refused:?}");
                return accepted;
            }
        }
    }
    panic!("the disk is never full");
}

/// With few pages to a checkpoint, checkpoints find no room in the file while the log has some.
#[test]
#[ignore = "needs the right to mount; `.ci/run` runs it where it has it"]
fn turns_on_a_full_disk_wait_for_room_and_then_end() {
    for checkpoint_pages in [None, Some(12)] {
        let disk = SmallDisk::new(6 << 20);
        let (mut host, opened) = disk.host(checkpoint_pages);
        assert_eq!(opened, Event::Opened);
        let Event::Submitted { turn } = submit(&mut host, "s0", "first", 10) else { panic!("there is room") };
        assert_eq!(outcome(&mut host, turn, 30_000), Event::Ended { answer: answer(10) });
        disk.fill_but(256 << 10);
        let accepted = until_full(&mut host);
        assert!(!accepted.is_empty(), "some are taken before the disk is full");
        // What was written still can be read.
        assert_eq!(outcome(&mut host, turn, 30_000), Event::Ended { answer: answer(10) });
        let export = host.ask(&Command::Export { to: disk.folder.path().join("export") }, SOON).unwrap();
        let Some(Event::Failed { message, .. }) = export else { panic!("{export:?}") };
        assert!(message.contains("the export could not be written"), "{message}");
        let refused = submit(&mut host, "s0", "later", 3_000);
        assert!(refused.is(ErrorKind::Unavailable), "and it stays so: {refused:?}");

        disk.make_room();
        let Event::Submitted { turn } = submit(&mut host, "s0", "later", 3_000) else {
            panic!("there is room")
        };
        for turn in accepted.iter().map(|accepted| accepted.turn).chain([turn]) {
            assert_eq!(outcome(&mut host, turn, 50_000), Event::Ended { answer: answer(3_000) });
        }
        assert_eq!(host.ask(&Command::Shutdown, SOON).unwrap(), Some(Event::Done));
        ended(host);
        let (_folder, journal) = disk.rescued();
        recovers(&journal, &accepted, &[]);
    }
}

#[test]
#[ignore = "needs the right to mount; `.ci/run` runs it where it has it"]
fn a_process_that_dies_on_a_full_disk_loses_nothing() {
    let disk = SmallDisk::new(6 << 20);
    let (mut host, _) = disk.host(None);
    disk.fill_but(512 << 10);
    let accepted = until_full(&mut host);
    disk.fill_but(0);
    drop(host);
    let (host, opened) = disk.host(None);
    assert!(opened.is(ErrorKind::Unavailable), "there is no room for what the log holds: {opened:?}");
    ended(host);
    disk.make_room();
    let (mut host, opened) = disk.host(None);
    assert_eq!(opened, Event::Opened);
    for accepted in &accepted {
        assert_eq!(
            outcome(&mut host, accepted.turn, 50_000),
            Event::Ended { answer: answer(accepted.bytes) }
        );
    }
    host.ask(&Command::Shutdown, SOON).unwrap();
    ended(host);
    let (_folder, journal) = disk.rescued();
    recovers(&journal, &accepted, &[]);
}

/// The room ends while the file is made, while it is migrated, while a key is written, and at each write of a turn.
#[test]
#[ignore = "needs the right to mount; `.ci/run` runs it where it has it"]
fn wherever_the_room_ends_nothing_is_lost() {
    // More than what is free once the log was copied into the file.
    const BYTES: usize = 150_000;
    let (mut unopened, mut refused) = (0, 0);
    for pages in (0..170).step_by(2) {
        let disk = SmallDisk::new(2 << 20);
        disk.fill_but(pages * 4096);
        let (mut host, opened) = disk.host(None);
        let mut accepted = Vec::new();
        if opened == Event::Opened {
            match submit(&mut host, "s", "turn", BYTES) {
                Event::Submitted { turn } => {
                    accepted.push(Accepted { key: "turn".into(), turn, bytes: BYTES });
                    let end = outcome(&mut host, turn, 100);
                    let is_typed = end.is(ErrorKind::Unavailable) || end == Event::Late;
                    assert!(is_typed || end == Event::Ended { answer: answer(BYTES) }, "{pages}: {end:?}");
                }
                said => {
                    assert!(said.is(ErrorKind::Unavailable), "{pages} pages: {said:?}");
                    refused += 1;
                }
            }
            host.ask(&Command::Shutdown, SOON).unwrap();
        } else {
            assert!(opened.is(ErrorKind::Unavailable), "{pages} pages: {opened:?}");
            unopened += 1;
        }
        ended(host);
        disk.make_room();
        let (_folder, journal) = disk.rescued();
        recovers(&journal, &accepted, &[("s".into(), "turn".into(), BYTES)]);
    }
    assert!(unopened > 10 && refused > 5, "the room must end everywhere: {unopened}, {refused}");
}

#[test]
#[ignore = "needs the right to mount; `.ci/run` runs it where it has it"]
fn a_migration_without_room_leaves_the_file_as_it_was() {
    let disk = SmallDisk::new(2 << 20);
    let first = fs::read_to_string(root().join("agent-shell-core/src/backends/sqlite/schema_1.sql")).unwrap();
    let made = tempfile::tempdir().unwrap();
    let file = made.path().join("shell.db");
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.execute_batch(&first).unwrap();
    connection.execute_batch("PRAGMA application_id = 1097290600; PRAGMA user_version = 1").unwrap();
    drop(connection);
    fs::copy(&file, disk.seen().join("shell.db")).unwrap();
    for pages in 0..4 {
        disk.fill_but(pages * 4096);
        let (host, opened) = disk.host(None);
        assert!(opened.is(ErrorKind::Unavailable), "{pages} pages: {opened:?}");
        ended(host);
        disk.make_room();
        let (_folder, journal) = disk.rescued();
        recovers(&journal, &[], &[("s".into(), "turn".into(), 10)]);
    }
}

/// What is ignored above is run before a change is taken, where it can be, under the name of this module.
#[test]
fn the_gate_asks_for_full_disks() {
    let gate = fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(gate.contains("--test all disk::full -- --include-ignored"), "{gate}");
}
