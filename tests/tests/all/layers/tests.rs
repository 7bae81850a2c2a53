//! The check of the layers finds what is planted, and only that.

use super::rules::{Source, check};

const LIB: &str =
    "mod words; mod data; mod ports; mod machine; mod runtime; mod backends; pub use runtime::Shell;";

#[track_caller]
fn expect(path: &str, text: &str, expected: &[&str]) {
    let sources = [("lib.rs", LIB), (path, text)];
    let found = check(&sources.map(|(path, text)| Source { path: path.into(), text: text.into() }));
    assert_eq!(found, expected, "in {path}: {text}");
}

#[test]
fn imports_from_above_and_from_oneself_are_fine() {
    expect(
        "words/id.rs",
        "use super::Error; use crate::words::{self, limits::Limit as L}; use std::fs;",
        &[],
    );
    expect(
        "data/mod.rs",
        "use crate::words; mod record { use super::super::words::Id; use super::Codec; }",
        &[],
    );
    expect("machine.rs", "use crate::{data::*, ports::Journal, words}; fn f(x: crate::words::Id) {}", &[]);
    expect(
        "runtime/mod.rs",
        "use crate::{machine::{self, fold::{fold, Folded}}, ports}; use tokio::spawn;",
        &[],
    );
    expect("backends/sqlite.rs", "use crate::ports::{Journal, Store}; use std::time::Instant;", &[]);
    expect("words/mod.rs", "pub(crate) fn f() {} pub(in crate::words) fn g() {}", &[]);
    expect("testing.rs", "use crate::{backends::volatile, runtime::Shell};", &[]);
}

#[test]
fn imports_from_below_are_found_however_they_are_written() {
    let words = |what: &str| format!("words/id.rs:{what} may not import");
    expect(
        "words/id.rs",
        "use crate::data::Record;",
        &[&format!("{} `crate::data::Record`", words("1: `words`"))],
    );
    expect(
        "words/id.rs",
        "\n\nuse super::super::ports;",
        &[&format!("{} `crate::ports`", words("3: `words`"))],
    );
    expect(
        "words/id.rs",
        "use crate::{words::Id, data::{Record, codec::{self, Codec}}};",
        &[
            "words/id.rs:1: `words` may not import `crate::data::Record`",
            "words/id.rs:1: `words` may not import `crate::data::codec`",
            "words/id.rs:1: `words` may not import `crate::data::codec::Codec`",
        ],
    );
    expect(
        "data.rs",
        "fn f() { vec![crate::machine::fold::<u8>(x)]; }",
        &["data.rs:1: `data` may not import `crate::machine::fold`"],
    );
    expect(
        "ports/mod.rs",
        "mod inner { fn f() -> super::super::runtime::Shell {} }",
        &["ports/mod.rs:1: `ports` may not import `crate::runtime::Shell`"],
    );
    expect(
        "machine/mod.rs",
        "use crate::runtime::*;",
        &["machine/mod.rs:1: `machine` may not import `crate::runtime::*`"],
    );
    for layer in ["machine", "runtime"] {
        expect(
            "backends/sqlite/mod.rs",
            &format!("use crate::{layer}::x;"),
            &[&format!("backends/sqlite/mod.rs:1: `backends` may not import `crate::{layer}::x`")],
        );
    }
    expect(
        "conformance.rs",
        "use crate::backends::volatile;",
        &["conformance.rs:1: `conformance` may not import `crate::backends::volatile`"],
    );
    expect(
        "ports.rs",
        "macro_rules! m { () => { $crate::runtime::Shell } }",
        &["ports.rs:1: `ports` may not import `crate::runtime::Shell`"],
    );
}

#[test]
fn ways_around_the_layers_are_found() {
    expect(
        "words.rs",
        "use crate::Shell;",
        &["words.rs:1: `crate::Shell` hides its layer; name it by its module"],
    );
    expect("words.rs", "use super::*;", &["words.rs:1: `crate::*` hides its layer; name it by its module"]);
    expect(
        "words.rs",
        "use agent_shell_core::runtime::Shell;",
        &["words.rs:1: `agent_shell_core::runtime::Shell` hides its layer; write `crate::`"],
    );
    expect("helpers.rs", "fn f() {}", &["helpers.rs: `helpers` is not one of the layers"]);
    expect("words.rs", "fn f( {", &["words.rs: can't be read: cannot parse string into token stream"]);
}

#[test]
fn lib_names_the_layers() {
    let check = |text: &str| check(&[Source { path: "lib.rs".into(), text: text.into() }]);
    assert_eq!(check("//! Nothing yet."), [""; 0]);
    assert_eq!(
        check(&format!("{LIB} mod util;")),
        ["lib.rs: `util` is not one of the layers; give it a place in one"]
    );
    assert_eq!(check(&LIB.replace("mod ports;", "")), ["lib.rs: the layer `ports` is missing"]);
}

#[test]
fn comments_strings_and_tests_do_not_count() {
    expect(
        "words.rs",
        "// use crate::data::X;\n/* crate::ports */ /// [`crate::runtime::Shell`]\nfn f() {}",
        &[],
    );
    expect("words.rs", r##"const A: &str = "crate::data::X"; const B: &str = r#"crate::data"#;"##, &[]);
    expect("words.rs", "#[cfg(test)] mod tests { use crate::runtime::Shell; }", &[]);
    expect("words.rs", "#[cfg(test)] #[allow(x)] use crate::{runtime::Shell, data::X}; fn f() {}", &[]);
    expect(
        "words.rs",
        "#[cfg(all(test, unix))] fn f<A, B>(a: A) -> crate::data::X { crate::data::f() }",
        &[],
    );
    expect("words.rs", "struct S { #[cfg(test)] a: crate::data::X, b: u8 }", &[]);
    expect("words.rs", "#![cfg(test)] use crate::data::X;", &[]);
    expect("words/tests.rs", "use crate::runtime::Shell;", &[]);
    let sources = [
        ("lib.rs", LIB),
        ("words/mod.rs", "#[cfg(test)] mod checks;"),
        ("words/checks/deep.rs", "use crate::data;"),
    ];
    assert_eq!(check(&sources.map(|(path, text)| Source { path: path.into(), text: text.into() })), [""; 0]);
}

#[test]
fn what_is_not_for_tests_only_counts() {
    let data = "words.rs:1: `words` may not import `crate::data::X`";
    expect("words.rs", "#[cfg(test)] mod tests {} use crate::data::X;", &[data]);
    expect("words.rs", "#[cfg(test)] use crate::data::Y; use crate::data::X;", &[data]);
    expect("words.rs", "#[cfg(not(test))] use crate::data::X;", &[data]);
    expect("words.rs", r#"#[cfg(any(test, feature = "x"))] use crate::data::X;"#, &[data]);
    expect("words.rs", "struct S { #[cfg(test)] a: u8, b: crate::data::X }", &[data]);
}

#[test]
fn the_machine_has_no_clock_no_files_and_no_tasks() {
    let planted = [
        ("use tokio::sync::mpsc;", "tokio::sync::mpsc"),
        ("use std::time::{Duration, Instant};", "std::time::Instant"),
        ("fn f() { let t = std::time::SystemTime::now(); }", "std::time::SystemTime::now"),
        ("fn f() { let t = Instant::now(); }", "Instant::now"),
        ("async fn f() {}", "async"),
        ("fn f() { x.await }", "await"),
        ("fn f() { pool.spawn(x) }", "spawn"),
        ("use std::{collections::BTreeMap, fs::{self, File}};", "std::fs"),
        ("use std::net::TcpStream;", "std::net::TcpStream"),
        ("use std::thread;", "std::thread"),
    ];
    for (text, path) in planted {
        let sources = [("lib.rs", LIB), ("machine/x.rs", text)];
        let found = check(&sources.map(|(path, text)| Source { path: path.into(), text: text.into() }));
        let expected = format!("machine/x.rs:1: `{path}` has no place in the pure machine");
        assert!(found.contains(&expected), "{text}: {found:?}");
        expect("runtime/x.rs", text, &[]);
    }
    expect("machine/x.rs", "use std::time::Duration; fn respawn() {} // async spawn tokio", &[]);
}
