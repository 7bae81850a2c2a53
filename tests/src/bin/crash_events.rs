//! Events under SIGKILL, as a program. See `agent_shell_tests::events`.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_shell_tests::events::run(std::env::args().skip(1))
}
