//! Calls of the system that fail: a library that is preloaded into a host lets one call fail, another one in each life.

use agent_shell_core::ErrorKind;
use agent_shell_tests::disk::{Command, Event, Fault, FaultLibrary, HostProcess, Mode, Op, Setting};

use super::life::{Life, folder, library, program};
use super::{SOON, limits, recovers};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// Lets hosts live and meet the fault, each at another call, at most so many; `check` sees each in which it struck. After
/// each the disk is good, and nothing may be lost.
fn sweep(op: Op, suffix: &'static str, errno: i32, mode: Mode, most: u64, check: impl Fn(&Life)) {
    let (_folder, journal) = folder();
    let counting = Fault { op, suffix, nth: 0, errno, mode };
    let calls = Life::with(&counting, &journal).calls.expect("the library says how many calls there were");
    assert!(calls > 0, "{counting}: there is no such call");
    let (lives, mut struck) = (calls.min(most), 0);
    for life in 0..lives {
        let (_folder, journal) = folder();
        // Spread over all calls.
        let fault = Fault { nth: 1 + life * calls / lives, ..counting.clone() };
        let life = Life::with(&fault, &journal);
        if life.hits > 0 {
            struck += 1;
            check(&life);
        }
        recovers(&journal, &life.accepted, &life.refused);
    }
    // The last calls of one life may be missing in another one.
    assert!(struck * 10 >= lives * 8, "{counting}: it struck in {struck} of {lives} lives only");
}

/// The shell says that the disk failed, and accepts nothing from then on.
fn is_poisoned(life: &Life) {
    if let Some(last) = life.last.as_ref().filter(|_| life.hits_before_last > 0) {
        assert!(last.is(ErrorKind::Poisoned), "{}: {last:?} after {:?}", life.fault, life.errors);
    }
    if life.last.is_none() {
        let said = life.errors.iter().all(|error| error.is(ErrorKind::Poisoned));
        assert!(said, "{}: it did not open: {:?}", life.fault, life.errors);
    }
}

/// What could not be done was refused, and nobody was told that the disk is broken or the file damaged.
fn is_refused(life: &Life) {
    assert!(!life.is_poisoned(), "{}: {:?}", life.fault, life.errors);
}

/// Nothing was noticed.
fn is_unharmed(life: &Life) {
    assert_eq!((&life.errors, life.refused.len()), (&Vec::new(), 0), "{}", life.fault);
}

#[test]
fn a_failed_sync_of_the_log_poisons_and_loses_nothing() {
    sweep(Op::Sync, "-wal", EIO, Mode::Lost, 40, is_poisoned);
}

/// Turns that are submitted, that run and that are waited for when the disk fails: each is told, and the host ends.
#[test]
fn whoever_waits_when_a_sync_fails_is_told() {
    let mut told = 0;
    for nth in 7..12 {
        let (_folder, journal) = folder();
        let fault = Fault { op: Op::Sync, suffix: "-wal", nth, errno: EIO, mode: Mode::Lost };
        let (report, mut program) = (journal.with_extension("report"), program());
        library().arm(&mut program, &fault, &report);
        let setting = Setting { journal: journal.clone(), limits: limits(), checkpoint_pages: None };
        let mut host = HostProcess::start(program, &setting).unwrap();
        assert_eq!(host.hear(SOON).unwrap(), Some(Event::Opened));
        let crowd = host.ask(&Command::Crowd { sessions: 24, within_ms: 20_000 }, SOON).unwrap();
        let Some(Event::Crowd { of }) = crowd else { panic!("{fault}: {crowd:?}") };
        let struck = FaultLibrary::report(&report).0 > 0;
        let known = |came: &String| came == "ended" || came == "Poisoned" && struck;
        assert!(of.keys().all(known), "{fault}: {of:?}");
        told += of.get("Poisoned").copied().unwrap_or_default();
        host.ask(&Command::Shutdown, SOON).unwrap().expect("the shell shuts down");
        let (status, errors) = host.end().unwrap();
        assert!(status.success() && !errors.contains("panicked"), "{fault}: {status}: {errors}");
        recovers(&journal, &[], &[]);
    }
    assert!(told > 24, "most must have met it: {told}");
}

#[test]
fn a_failed_sync_of_the_journal_poisons_and_loses_nothing() {
    sweep(Op::Sync, "shell.db", EIO, Mode::Lost, 16, is_poisoned);
    // The rollback journal that exists while the file is made.
    sweep(Op::Sync, "shell.db-journal", EIO, Mode::Lost, 9, is_poisoned);
}

#[test]
fn a_key_whose_sync_failed_seals_nothing() {
    sweep(Op::Sync, ".keys", EIO, Mode::Lost, 10, is_poisoned);
    sweep(Op::Sync, ".keys-journal", EIO, Mode::Lost, 16, is_poisoned);
}

/// SQLite keeps to itself when it can't sync a folder: the store syncs it once more, and says so.
#[test]
fn a_folder_that_can_not_be_synced_is_said() {
    sweep(Op::Sync, "/store", EIO, Mode::Lasting, 2, is_poisoned);
}

#[test]
fn a_write_that_fails_half_way_poisons_and_loses_nothing() {
    for (suffix, most) in [("-wal", 24), ("shell.db", 10), (".keys", 6), (".keys-journal", 8)] {
        sweep(Op::Write, suffix, EIO, Mode::Torn, most, is_poisoned);
    }
}

#[test]
fn a_write_without_room_is_refused_and_loses_nothing() {
    for (suffix, most) in [("-wal", 20), ("shell.db", 10), (".keys", 6), (".keys-journal", 8)] {
        sweep(Op::Write, suffix, ENOSPC, Mode::Torn, most, is_refused);
    }
    // Room comes only after the end of the process.
    for (suffix, most) in [("-wal", 8), ("shell.db", 4), (".keys", 3), (".keys-journal", 3)] {
        sweep(Op::Write, suffix, ENOSPC, Mode::Lasting, most, is_refused);
    }
    sweep(Op::Write, "-shm", ENOSPC, Mode::Once, 4, is_refused);
}

#[test]
fn a_file_that_can_not_be_made_is_refused() {
    for suffix in ["shell.db", "shell.db-journal", "-wal", "-shm", ".keys", ".keys-journal"] {
        sweep(Op::Make, suffix, ENOSPC, Mode::Lasting, 3, is_refused);
    }
}

#[test]
fn a_file_that_can_not_be_cut_loses_nothing() {
    sweep(Op::Cut, "-wal", EIO, Mode::Lasting, 4, |_| {});
    sweep(Op::Cut, ".keys-journal", EIO, Mode::Once, 10, is_poisoned);
}

#[test]
fn a_read_that_fails_is_said_and_loses_nothing() {
    for (suffix, most) in [("-wal", 16), ("shell.db", 12), (".keys", 6)] {
        sweep(Op::Read, suffix, EIO, Mode::Once, most, |_| {});
    }
}

#[test]
fn short_reads_and_writes_go_on() {
    for suffix in ["-wal", "shell.db", ".keys"] {
        sweep(Op::Write, suffix, EIO, Mode::Short, 5, is_unharmed);
        sweep(Op::Read, suffix, EIO, Mode::Short, 5, is_unharmed);
    }
}
