//! The recorder as a program. A harness may also run it as a part of its own binary, which is then all
//! that has to be built.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::thread;

use super::chaos::Chaos;
use super::server::{Recorder, Settings};
use crate::arguments::{Arguments, UsageError};

const USAGE: &str = "recorder --socket PATH --log PATH [--connections N] [--seed N] \
[--delay-per-thousand N] [--delay-min-ms N] [--delay-max-ms N] [--drop-per-thousand N] \
[--until-stdin-closes]";

/// Runs the program with these arguments (without its name). Says `listening` on standard output when
/// it can be called, and goes on until it is killed or its log fails.
pub fn run(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let (settings, until_stdin_closes) = match parse(Arguments::new(arguments)) {
        Ok(parsed) => parsed,
        Err(error) => {
            eprintln!("recorder: {error}\nusage: {USAGE}");
            return ExitCode::from(2);
        }
    };
    if until_stdin_closes {
        thread::spawn(exit_at_end_of_stdin);
    }
    match serve(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("recorder: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The arguments that [`run`] reads as these settings.
pub(super) fn arguments(settings: &Settings) -> Vec<std::ffi::OsString> {
    let Settings { socket, log, chaos, connections } = settings;
    let numbers = [
        ("--connections", *connections as u64),
        ("--seed", chaos.seed),
        ("--delay-per-thousand", u64::from(chaos.delay_per_thousand)),
        ("--delay-min-ms", *chaos.delay_ms.start()),
        ("--delay-max-ms", *chaos.delay_ms.end()),
        ("--drop-per-thousand", u64::from(chaos.drop_per_thousand)),
    ];
    let mut arguments = vec!["--socket".into(), socket.into(), "--log".into(), log.into()];
    arguments.extend(numbers.into_iter().flat_map(|(name, value)| [name.into(), value.to_string().into()]));
    arguments.push("--until-stdin-closes".into());
    arguments
}

fn parse(mut given: Arguments) -> Result<(Settings, bool), UsageError> {
    let socket: String = given.required("--socket")?;
    let log: String = given.required("--log")?;
    let mut settings = Settings::new(socket, log);
    let usual = Chaos::default();
    let delay_min_ms = given.option("--delay-min-ms")?.unwrap_or(*usual.delay_ms.start());
    let delay_max_ms = given.option("--delay-max-ms")?.unwrap_or(*usual.delay_ms.end());
    settings.chaos = Chaos {
        seed: given.option("--seed")?.unwrap_or(usual.seed),
        delay_per_thousand: given.option("--delay-per-thousand")?.unwrap_or(usual.delay_per_thousand),
        delay_ms: delay_min_ms..=delay_max_ms,
        drop_per_thousand: given.option("--drop-per-thousand")?.unwrap_or(usual.drop_per_thousand),
    };
    settings.connections = given.option("--connections")?.unwrap_or(settings.connections);
    if delay_min_ms > delay_max_ms {
        return Err(UsageError::new("--delay-min-ms is above --delay-max-ms"));
    }
    let until_stdin_closes = given.flag("--until-stdin-closes");
    given.finish()?;
    Ok((settings, until_stdin_closes))
}

fn serve(settings: Settings) -> Result<(), super::RecorderError> {
    let recorder = Recorder::open(settings)?;
    let mut out = io::stdout();
    // Nobody may be listening to what we say; that is no reason to stop.
    drop(writeln!(out, "listening").and_then(|()| out.flush()));
    recorder.serve()
}

/// The parent holds the other end: when it dies, by whatever signal, this process goes too.
fn exit_at_end_of_stdin() {
    let mut buffer = [0; 64];
    let mut stdin = io::stdin();
    while !matches!(stdin.read(&mut buffer), Ok(0) | Err(_)) {}
    std::process::exit(0);
}
