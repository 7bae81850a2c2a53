//! An owner, as a program. See `agent_shell_tests::owner`.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_shell_tests::owner::run()
}
