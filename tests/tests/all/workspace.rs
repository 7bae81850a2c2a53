//! Where the workspace is, and what cargo says about it.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What `cargo` prints with these arguments: first offline, and where that does not do (a fresh clone
/// has not fetched what other platforms need) once more with the network.
pub(crate) fn cargo(arguments: &[&str]) -> String {
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        let output = command.args(arguments).arg("--locked").args(more).current_dir(root()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    };
    run(&["--offline"]).or_else(|_| run(&[])).unwrap_or_else(|error| panic!("cargo {arguments:?}: {error}"))
}

/// Every package in the tree, for all platforms, as `cargo metadata` describes them.
pub(crate) fn packages() -> Vec<Value> {
    let text = cargo(&["metadata", "--format-version", "1"]);
    let mut metadata: Value = serde_json::from_str(&text).unwrap();
    match metadata["packages"].take() {
        Value::Array(packages) => packages,
        other => panic!("cargo metadata: packages are {other}"),
    }
}
