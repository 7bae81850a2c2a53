//! Which command lines are understood.

use super::*;

fn check(line: &str) -> Result<Arguments, ArgumentError> {
    parse(line.split_whitespace().map(OsString::from), "default".into())
}

fn options(line: &str) -> Options {
    match check(line) {
        Ok(Arguments::Run(options)) => options,
        other => panic!("{line}: {other:?}"),
    }
}

fn error(line: &str) -> String {
    check(line).unwrap_err().to_string()
}

#[test]
fn without_arguments_all_has_its_default() {
    let expected = Options {
        folder: "default".into(),
        state: ".agent-shell".into(),
        mode: Mode::Review,
        yes: false,
        json: false,
        model: false,
        fail_publish: false,
        crashes: 0,
        worker: None,
    };
    assert_eq!(options(""), expected);
}

#[test]
fn options_stand_anywhere() {
    let all = options("--yes --state=s folder --crash 7 --json");
    assert_eq!((all.folder, all.state), ("folder".into(), "s".into()));
    assert_eq!((all.yes, all.json, all.crashes), (true, true, 7));
    assert!(options("--model auto").model && options("--model=auto x").model);
    assert!(options("--fail publish").fail_publish && options("x --crash 2 --fail=publish").fail_publish);
    assert_eq!(options("--verify").mode, Mode::Verify);
    assert_eq!(options("x --history").mode, Mode::History);
    let html = |folder: Option<&str>| Mode::Html { file: "f".into(), folder: folder.map(PathBuf::from) };
    assert_eq!(options("--html f").mode, html(None));
    assert_eq!(options("x --html=f").mode, html(Some("x")));
    assert_eq!(options("-- --yes").folder, PathBuf::from("--yes"));
    assert_eq!(check("x --help --nonsense"), Ok(Arguments::Help));
}

#[test]
fn the_ledger_is_a_command_and_also_a_name() {
    let ledger = |refuses_publications| Ok(Arguments::Ledger { file: "f".into(), refuses_publications });
    assert_eq!(check("ledger --file f"), ledger(false));
    assert_eq!(check("ledger --file f --refuse publish"), ledger(true));
    assert_eq!(error("ledger --file f --refuse tickets"), "there is no option --file: see --help");
    assert_eq!(options("ledger --yes").folder, PathBuf::from("ledger"));
}

#[test]
fn mistakes_are_named() {
    assert_eq!(error("--nonsense"), "there is no option --nonsense: see --help");
    assert_eq!(error("--nonsense=1"), "there is no option --nonsense: see --help");
    assert_eq!(error("--yes=1"), "--yes takes no value");
    assert_eq!(error("--state"), "--state needs a folder after it");
    assert_eq!(error("--state="), "--state needs a folder after it");
    assert_eq!(error("--model"), "--model needs auto after it");
    assert_eq!(error("--model large"), "--model takes auto, not \"large\"");
    assert_eq!(error("--fail"), "--fail needs publish after it");
    assert_eq!(error("--fail other"), "--fail takes publish, not \"other\"");
    assert_eq!(error("--fail=publish --html f"), "--fail and --html can't go together");
    assert_eq!(error("--fail publish --history"), "--fail and --history can't go together");
    assert_eq!(error("--verify --fail publish"), "--fail and --verify can't go together");
    assert_eq!(error("--crash many"), "--crash takes a number from 0 to 1000, not \"many\"");
    assert_eq!(error("--crash 1001"), "--crash takes a number from 0 to 1000, not \"1001\"");
    assert_eq!(error("a b"), "there is one folder to review, but \"a\" and \"b\" were given");
    assert_eq!(error("--history --verify"), "--history and --verify can't go together");
    assert_eq!(error("--crash 1 --verify"), "--crash and --verify can't go together");
    assert_eq!(error("--html f --crash 1"), "--crash and --html can't go together");
    assert_eq!(error("--html f --history"), "--history and --html can't go together");
    assert_eq!(error("--html"), "--html needs a file after it");
}

#[test]
fn a_worker_does_the_same_work() {
    let parent = options("--yes --json --model auto --fail publish --crash 5 --state s -- --odd");
    let worker = parse(parent.worker_arguments(3), "default".into()).unwrap();
    assert_eq!(worker, Arguments::Run(Options { worker: Some(3), ..parent }));
}

#[test]
#[cfg(unix)]
fn a_folder_need_not_be_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let name = OsStr::from_bytes(b"caf\xe9");
    let Ok(Arguments::Run(options)) = parse([name.to_owned()], "default".into()) else { panic!() };
    assert_eq!(options.folder.as_os_str(), name);
    let Ok(Arguments::Run(options)) = parse(["--state".into(), name.to_owned()], ".".into()) else {
        panic!()
    };
    assert_eq!(options.state.as_os_str(), name);
}

#[test]
fn the_default_folder_is_the_repository_under_cargo() {
    assert_eq!(default_folder(Some(OsStr::new("/repo/examples"))), PathBuf::from("/repo"));
    assert_eq!(default_folder(None), PathBuf::from("."));
}
