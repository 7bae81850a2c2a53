//! Every dependency may be used under a licence of the list in `deny.toml`, which is also what
//! cargo-deny reads where it is installed.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::workspace;

#[test]
fn every_dependency_has_a_licence_of_the_list() {
    let policy = Policy::parse(&fs::read_to_string(workspace::root().join("deny.toml")).unwrap());
    let packages = workspace::packages();
    assert!(packages.len() > 20, "only {} packages", packages.len());
    let violations = check(&policy, &packages);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// What `[licenses]` in `deny.toml` allows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Policy {
    allow: Vec<String>,
    /// More for one package alone.
    exceptions: BTreeMap<String, Vec<String>>,
}

impl Policy {
    /// Reads `allow = [..]` and lines such as `{ crate = "x", allow = [..] },`: the part of TOML that the
    /// file uses.
    fn parse(text: &str) -> Self {
        let without_comments: Vec<&str> =
            text.lines().map(|line| line.split('#').next().unwrap_or("")).collect();
        let text = without_comments.join("\n");
        let licences = text.split("[licenses]").nth(1).unwrap_or("").split("\n[").next().unwrap_or("");
        let mut policy = Self::default();
        let (allow, exceptions) = licences.split_once("exceptions = [").unwrap_or((licences, ""));
        if let Some((_, allow)) = allow.split_once("allow = [") {
            policy.allow = strings(allow.split(']').next().unwrap_or(""));
        }
        for exception in exceptions.split('{').skip(1) {
            let (name, allow) = exception.split_once("allow = [").unwrap_or((exception, ""));
            let name = strings(name).pop().unwrap_or_default();
            policy.exceptions.insert(name, strings(allow.split(']').next().unwrap_or("")));
        }
        policy
    }

    fn allows(&self, package: &str, licence: &str) -> bool {
        let is = |allowed: &String| allowed == licence;
        self.allow.iter().any(is) || self.exceptions.get(package).is_some_and(|more| more.iter().any(is))
    }
}

/// What stands between quotes.
fn strings(text: &str) -> Vec<String> {
    text.split('"').skip(1).step_by(2).map(String::from).collect()
}

fn check(policy: &Policy, packages: &[Value]) -> Vec<String> {
    let violation = |package: &Value| {
        let name = package["name"].as_str().unwrap_or("?");
        let Some(expression) = package["license"].as_str() else {
            return Some(format!("{name}: names no licence"));
        };
        match satisfiable(expression, &|licence| policy.allows(name, licence)) {
            Ok(true) => None,
            Ok(false) => Some(format!("{name}: {expression} is not on the list")),
            Err(error) => Some(format!("{name}: {expression}: {error}")),
        }
    };
    packages.iter().filter_map(violation).collect()
}

/// Whether an SPDX expression can be satisfied with licences that are allowed. `A/B` is an old way of
/// saying `A OR B`. An exception after `WITH` only permits more, so the licence alone decides.
fn satisfiable(expression: &str, is_allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (satisfied, rest) = any_of(&words, is_allowed)?;
    if rest.is_empty() { Ok(satisfied) } else { Err(format!("`{}` was not expected", rest.join(" "))) }
}

type Parsed<'a> = Result<(bool, &'a [&'a str]), String>;

fn any_of<'a>(words: &'a [&'a str], is_allowed: &dyn Fn(&str) -> bool) -> Parsed<'a> {
    let (mut satisfied, mut rest) = all_of(words, is_allowed)?;
    while let ["OR", tail @ ..] = rest {
        let (other, tail) = all_of(tail, is_allowed)?;
        (satisfied, rest) = (satisfied | other, tail);
    }
    Ok((satisfied, rest))
}

fn all_of<'a>(words: &'a [&'a str], is_allowed: &dyn Fn(&str) -> bool) -> Parsed<'a> {
    let (mut satisfied, mut rest) = one(words, is_allowed)?;
    while let ["AND", tail @ ..] = rest {
        let (other, tail) = one(tail, is_allowed)?;
        (satisfied, rest) = (satisfied & other, tail);
    }
    Ok((satisfied, rest))
}

fn one<'a>(words: &'a [&'a str], is_allowed: &dyn Fn(&str) -> bool) -> Parsed<'a> {
    match words {
        ["(", tail @ ..] => match any_of(tail, is_allowed)? {
            (satisfied, [")", rest @ ..]) => Ok((satisfied, rest)),
            _ => Err("`)` is missing".into()),
        },
        [] | [")" | "OR" | "AND" | "WITH", ..] => Err("a licence is missing".into()),
        [licence, "WITH", _, rest @ ..] | [licence, rest @ ..] => Ok((is_allowed(licence), rest)),
    }
}

mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn expressions() {
        let check =
            |expression: &str| satisfiable(expression, &|licence| ["MIT", "Apache-2.0"].contains(&licence));
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0 OR MIT",
            "MIT/GPL-3.0",
            "MIT AND Apache-2.0",
            "GPL-3.0 OR MIT AND Apache-2.0",
            "(GPL-3.0 OR MIT) AND Apache-2.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
        ] {
            assert_eq!(check(good), Ok(true), "{good}");
        }
        for bad in
            ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND GPL-3.0", "MIT AND (GPL-3.0 OR AGPL-3.0)"]
        {
            assert_eq!(check(bad), Ok(false), "{bad}");
        }
        for broken in ["", "MIT OR", "(MIT", "MIT)", "MIT GPL-3.0"] {
            assert!(check(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn planted_packages_are_found() {
        let policy = Policy::parse(
            "[advisories]\nallow = [\"X\"]\n[licenses]\n# \"GPL-3.0\"\nallow = [\n \"MIT\", # \"Y\"\n]\n\
             exceptions = [\n { crate = \"file\", allow = [\"MPL-2.0\"] },\n]\n[bans]\nallow = [\"Z\"]\n",
        );
        assert_eq!(policy.allow, ["MIT"]);
        assert_eq!(policy.exceptions, BTreeMap::from([("file".into(), vec!["MPL-2.0".into()])]));
        let packages = [
            json!({ "name": "good", "license": "MIT" }),
            json!({ "name": "file", "license": "MPL-2.0" }),
            json!({ "name": "other", "license": "MPL-2.0" }),
            json!({ "name": "none", "license": null }),
        ];
        assert_eq!(
            check(&policy, &packages),
            ["other: MPL-2.0 is not on the list", "none: names no licence"]
        );
    }
}
