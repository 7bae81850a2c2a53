//! A disk that fails at one call, by a library in C that is preloaded into the process of a host.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command as Program;

/// The library, compiled. Its source says what it does.
#[derive(Debug)]
pub struct FaultLibrary {
    library: PathBuf,
    _folder: tempfile::TempDir,
}

/// Which calls fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// fsync and fdatasync.
    Sync,
    /// write and pwrite.
    Write,
    /// read and pread.
    Read,
    /// ftruncate.
    Cut,
    /// The making of a file.
    Make,
}

/// How they fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One call, once.
    Once,
    /// From one call on.
    Lasting,
    /// One sync, with the loss of what was written since the last.
    Lost,
    /// Half of the work is done, and that is said.
    Short,
    /// Half of a write is done, and the rest fails.
    Torn,
}

/// One fault.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which calls.
    pub op: Op,
    /// How the paths of the files end.
    pub suffix: &'static str,
    /// Which call, from 1; with 0 none fails, and they are counted.
    pub nth: u64,
    /// What the call fails with.
    pub errno: i32,
    /// How.
    pub mode: Mode,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = format!("{:?}", self.op).to_lowercase();
        let mode = format!("{:?}", self.mode).to_lowercase();
        write!(f, "{op} {} {} {} {mode}", self.suffix, self.nth, self.errno)
    }
}

impl FaultLibrary {
    /// Compiles it with `cc`, which whoever builds SQLite has.
    pub fn compile() -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let library = folder.path().join("fault.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/disk/fault.c");
        let flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"];
        let output = Program::new("cc").args(flags).arg(&library).args([source, "-lpthread"]).output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(Self { library, _folder: folder })
    }

    /// Lets a program meet a fault, and report it into a file.
    pub fn arm(&self, program: &mut Program, fault: &Fault, report: &Path) {
        program
            .env("LD_PRELOAD", &self.library)
            .env("DISK_FAULT", fault.to_string())
            .env("DISK_REPORT", report);
    }

    /// Lets a program read this text where it asks the kernel for its mounts.
    pub fn mounts(&self, program: &mut Program, table: &Path, report: &Path) {
        program.env("LD_PRELOAD", &self.library).env("DISK_MOUNTS", table).env("DISK_REPORT", report);
    }

    /// How often a fault struck, and how many calls there were if the program has said it.
    pub fn report(report: &Path) -> (usize, Option<u64>) {
        let text = std::fs::read_to_string(report).unwrap_or_default();
        let calls = text.lines().find_map(|line| line.strip_prefix("calls ")?.parse().ok());
        (text.lines().filter(|line| *line == "hit").count(), calls)
    }
}
