//! Budgets under load, as a program. See `agent_shell_tests::spend`.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_shell_tests::spend::run(std::env::args().skip(1))
}
