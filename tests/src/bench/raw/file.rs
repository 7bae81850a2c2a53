//! The floor of one session: write 300 bytes, `fdatasync`, again. Each session has a file and a thread of
//! its own. The file is written over and over, as SQLite does with its WAL: a file that grows makes the
//! file system sync its own journal too, which costs about a quarter of the rate.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

use crate::bench::{BODY_BYTES, BenchError, Load, Measured, Quota, Stopwatch, System, body};

/// How many steps are written before the file is written over from its start.
const RING_STEPS: u64 = 2_000;

pub(in crate::bench) struct WriteFdatasync;

impl System for WriteFdatasync {
    fn name(&self) -> &'static str {
        "write-fdatasync"
    }

    fn journal(&self) -> &'static str {
        "file"
    }

    fn class(&self) -> &'static str {
        "none"
    }

    fn run(&self, load: &Load) -> Result<Measured, BenchError> {
        let files = (0..load.sessions).map(|session| open(&load.folder.join(session.to_string())));
        let files: Vec<File> = files.collect::<io::Result<_>>()?;
        let watch = Stopwatch::start();
        let quota = Quota::start(load.until);
        let quota = &quota;
        let results: Vec<_> = thread::scope(|scope| {
            let run = |(session, file)| scope.spawn(move || write_all(session as u64, file, quota));
            let threads: Vec<_> = files.iter().enumerate().map(run).collect();
            threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        let mut steps = 0;
        for result in results {
            steps += result.map_err(|_| BenchError::system("a session panicked"))??;
        }
        Ok(watch.stop(steps))
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = File::create_new(path)?;
    for step in 0..RING_STEPS {
        write(&file, u64::MAX, step)?;
    }
    file.sync_all().map(|()| file)
}

fn write_all(session: u64, file: &File, quota: &Quota) -> io::Result<u64> {
    let mut steps = 0;
    while quota.take() {
        write(file, session, steps)?;
        file.sync_data()?;
        steps += 1;
    }
    Ok(steps)
}

fn write(file: &File, session: u64, step: u64) -> io::Result<()> {
    file.write_all_at(&body(session, step), step % RING_STEPS * BODY_BYTES as u64)
}
