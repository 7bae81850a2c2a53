//! A host on a disk that may fail, as a program. See `agent_shell_tests::disk`.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_shell_tests::disk::run()
}
