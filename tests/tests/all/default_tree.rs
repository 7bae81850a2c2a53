//! What a host gets that adds agent-shell-core with its default features: at most 80 crates, no server,
//! and no C++ (SQLite is C).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::workspace;

/// Of normal dependencies, agent-shell-core included.
const CRATE_LIMIT: usize = 80;

/// Crates that bring C++ with them or build it.
const CPP: [&str; 10] = [
    "cxx",
    "cxx-build",
    "duckdb",
    "grpcio",
    "libduckdb-sys",
    "librocksdb-sys",
    "link-cplusplus",
    "ort-sys",
    "protobuf-src",
    "rocksdb",
];

/// Crates that speak to a server.
const SERVERS: [&str; 14] = [
    "async-nats",
    "deadpool-postgres",
    "iggy",
    "lapin",
    "mongodb",
    "mysql",
    "postgres",
    "qdrant-client",
    "rdkafka",
    "redis",
    "sqlx-mysql",
    "sqlx-postgres",
    "tiberius",
    "tokio-postgres",
];

#[test]
fn the_default_tree_is_small_and_needs_no_server_and_no_cpp() {
    let tree =
        |edges: &str| workspace::cargo(&["tree", "-p", "agent-shell-core", "-e", edges, "--prefix", "none"]);
    let normal = crates(&tree("normal"));
    assert!(normal.contains("agent-shell-core"), "{normal:?}");
    let with_build = crates(&tree("normal,build"));
    let packages = workspace::packages();
    let folder_of = |name: &str| {
        let package = packages.iter().find(|package| package["name"] == name)?;
        Path::new(package["manifest_path"].as_str()?).parent()
    };
    let linked = packages
        .iter()
        .filter(|package| package["links"].is_string())
        .filter_map(|package| package["name"].as_str());
    let with_cpp = linked
        .filter(|name| with_build.contains(*name))
        .filter(|name| folder_of(name).is_some_and(holds_cpp));
    let violations = check(&normal, &with_build, &with_cpp.collect::<Vec<_>>());
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// The names in `cargo tree --prefix none`, where a crate may appear often.
fn crates(tree: &str) -> BTreeSet<String> {
    tree.lines().filter_map(|line| line.split_whitespace().next()).map(String::from).collect()
}

fn check(normal: &BTreeSet<String>, with_build: &BTreeSet<String>, with_cpp: &[&str]) -> Vec<String> {
    let mut violations = Vec::new();
    if normal.len() > CRATE_LIMIT {
        violations.push(format!("{} crates, and {CRATE_LIMIT} are allowed", normal.len()));
    }
    let listed = |names: &[&'static str]| {
        names.iter().copied().filter(|name| with_build.contains(*name)).collect::<Vec<_>>()
    };
    violations.extend(listed(&CPP).into_iter().map(|name| format!("{name} brings C++")));
    violations.extend(with_cpp.iter().map(|name| format!("{name} holds C++ sources")));
    violations.extend(listed(&SERVERS).into_iter().map(|name| format!("{name} needs a server")));
    violations
}

/// Whether there is a C++ source in the folder or below.
fn holds_cpp(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        let is_cpp = |extension: &std::ffi::OsStr| ["cc", "cpp", "cxx"].iter().any(|cpp| extension == *cpp);
        if path.is_dir() { holds_cpp(&path) } else { path.extension().is_some_and(is_cpp) }
    })
}

mod tests {
    use super::*;

    fn named(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_tree_is_read() {
        let tree =
            "agent-shell-core v0.1.0 (/x)\nserde v1.0.0\nserde v1.0.0 (*)\nserde_derive v1 (proc-macro)\n";
        assert_eq!(crates(tree), named(&["agent-shell-core", "serde", "serde_derive"]));
    }

    #[test]
    fn planted_crates_are_found() {
        let small = named(&["serde"]);
        assert_eq!(check(&small, &small, &[]), [""; 0]);
        let many: BTreeSet<String> = (0..=CRATE_LIMIT).map(|number| format!("crate-{number}")).collect();
        assert_eq!(check(&many, &many, &[]), ["81 crates, and 80 are allowed"]);
        let bad = named(&["cxx-build", "redis"]);
        assert_eq!(
            check(&small, &bad, &["z3-sys"]),
            ["cxx-build brings C++", "z3-sys holds C++ sources", "redis needs a server"]
        );
    }

    #[test]
    fn planted_sources_are_found() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("src/deep")).unwrap();
        fs::write(folder.path().join("src/deep/a.c"), "").unwrap();
        assert!(!holds_cpp(folder.path()));
        fs::write(folder.path().join("src/deep/b.cc"), "").unwrap();
        assert!(holds_cpp(folder.path()));
    }
}
