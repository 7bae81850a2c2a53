//! The layers of agent-shell-core: a module imports only from itself and from the layers above it
//! (docs/ARCHITECTURE.md), and the pure machine has neither clock nor I/O nor tasks.
//!
//! The sources are read as tokens, so that comments, strings and layout don't matter, and paths inside
//! macros do. What is compiled for tests only is left out. A module that is named here and not there
//! yet is no error; one that is there and not named here is.

mod paths;
mod rules;
mod tests;

use std::fs;
use std::path::Path;

use self::rules::Source;
use crate::workspace;

#[test]
fn no_module_of_the_core_imports_from_below() {
    let sources = read(&workspace::root().join("agent-shell-core/src"));
    assert!(sources.iter().any(|source| source.path == "lib.rs"), "no lib.rs among {} files", sources.len());
    let violations = rules::check(&sources);
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

/// What is simulated has one order: where several branches of a wait are ready, none is drawn by lot.
#[test]
fn every_wait_has_an_order() {
    let sources = read(&workspace::root().join("agent-shell-core/src"));
    let mut waits = 0;
    for Source { path, text } in &sources {
        let code = text.lines().map(str::trim).filter(|line| !line.starts_with("//"));
        let code = code.collect::<Vec<_>>().join(" ");
        for wait in code.split("select!").skip(1) {
            let ordered = wait
                .trim_start()
                .strip_prefix('{')
                .is_some_and(|wait| wait.trim_start().starts_with("biased;"));
            assert!(ordered, "{path}: a `select!` without `biased;`: {}", &wait[..wait.len().min(60)]);
            waits += 1;
        }
    }
    assert!(waits > 10, "{waits} waits were found");
}

/// Every `.rs` file below the folder, with its path from there.
fn read(folder: &Path) -> Vec<Source> {
    fn visit(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(root, &path, sources);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                sources.push(Source { path: relative, text: fs::read_to_string(&path).unwrap() });
            }
        }
    }
    let mut sources = Vec::new();
    visit(folder, folder, &mut sources);
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    sources
}
