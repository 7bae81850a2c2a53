//! The crash harness, as a program. See `agent_shell_tests::crash`.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_shell_tests::crash::run(std::env::args().skip(1))
}
