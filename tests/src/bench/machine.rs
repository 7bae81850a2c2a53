//! How busy the machine was with other things: a rate that was measured beside a build says little.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Above this share of all cores, in per cent, the table comes with a warning.
const OTHERS_LIMIT_PERCENT: u64 = 15;

/// User and system time of this process: all threads, ended ones too. `getrusage` adds up the same.
pub(super) fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// What a process has used since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Used {
    /// User and system time.
    pub(super) cpu: Duration,
    /// The most memory that it held, in bytes.
    pub(super) peak_bytes: u64,
}

/// What another process, which still runs, has used (proc(5)).
pub(super) fn used_by(process: u32) -> std::io::Result<Used> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}"));
    used(&read("stat")?, &read("status")?)
        .ok_or_else(|| std::io::Error::other("/proc is not as proc(5) says"))
}

/// `utime` and `stime` are the 12th and 13th columns after the command, which may itself hold blanks.
pub(super) fn used(stat: &str, status: &str) -> Option<Used> {
    let mut columns = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || columns.next()?.parse::<u64>().ok();
    let cpu = Duration::from_millis((ticks()? + ticks()?) * TICK_MS);
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = peak.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(Used { cpu, peak_bytes: kib << 10 })
}

/// Watches from its start.
pub(super) struct Watch {
    begin: Option<Ticks>,
    own: Duration,
}

impl Watch {
    pub(super) fn start() -> Self {
        Self { begin: now(), own: process_cpu() }
    }

    /// A warning, if others were busy since the start. Where the machine does not tell, there is none.
    pub(super) fn warning(&self) -> Option<String> {
        let (begin, end) = (self.begin?, now()?);
        let own = process_cpu().saturating_sub(self.own).as_millis() as u64 / TICK_MS;
        let others = others_percent(begin, end, own)?;
        (others > OTHERS_LIMIT_PERCENT).then(|| {
            format!("others kept {others} % of this machine's cores busy; measure again when it is idle")
        })
    }
}

/// Sums over all cores since boot, in ticks.
#[derive(Clone, Copy)]
pub(super) struct Ticks {
    pub(super) busy: u64,
    pub(super) all: u64,
}

/// `USER_HZ` is 100 on every Linux.
const TICK_MS: u64 = 10;

fn now() -> Option<Ticks> {
    parse(&fs::read_to_string("/proc/stat").ok()?)
}

/// The first line of `/proc/stat`: `cpu user nice system idle iowait irq softirq steal ..` (proc(5)).
/// `guest`, after these, is a part of `user`. What the host took away (`steal`) counts as busy.
pub(super) fn parse(stat: &str) -> Option<Ticks> {
    let columns = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
    let columns: Vec<u64> = columns.map(str::parse).collect::<Result<_, _>>().ok()?;
    let all = columns.iter().sum();
    let idle: u64 = columns.iter().skip(3).take(2).sum();
    Some(Ticks { busy: all - idle, all })
}

/// The share of the machine that was busy and not ours.
pub(super) fn others_percent(begin: Ticks, end: Ticks, own: u64) -> Option<u64> {
    let busy = end.busy.checked_sub(begin.busy)?.saturating_sub(own);
    (busy * 100).checked_div(end.all.checked_sub(begin.all)?)
}
