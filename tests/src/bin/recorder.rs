//! The external effect recorder, as a program. See `agent_shell_tests::recorder`.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_shell_tests::recorder::run(std::env::args().skip(1))
}
