//! The benchmarks, as a program. See `agent_shell_tests::bench`.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_shell_tests::bench::run(std::env::args().skip(1))
}
