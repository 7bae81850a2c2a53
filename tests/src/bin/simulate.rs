//! The simulation, as a program. See `agent_shell_tests::simulate`.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_shell_tests::simulate::run_program(std::env::args().skip(1))
}
