//! Which module may import which, and what the pure machine may not name.

use super::paths::{self, Mention};

/// A file of the crate, with its path from `src`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) path: String,
    pub(super) text: String,
}

/// Each module at the root of the crate, and the other ones that it may import from.
const LAYERS: [(&str, &[&str]); 12] = [
    ("words", &[]),
    ("data", &["words"]),
    ("ports", &["words", "data"]),
    ("machine", &["words", "data", "ports"]),
    ("runtime", &["words", "data", "ports", "machine"]),
    // A backend knows no runtime, so that whoever writes one needs the ports alone.
    ("backends", &["words", "data", "ports"]),
    ("conformance", &["words", "data", "ports"]),
    // The front door puts the runtime onto the backends that come with the crate.
    ("embed", &["words", "data", "ports", "machine", "runtime", "backends"]),
    ("simulation", &["words", "data", "ports"]),
    // The kit of a host's tests: a whole shell, simulated.
    ("testing", &["words", "data", "ports", "machine", "runtime", "backends", "embed", "simulation"]),
    // Whole shells too, compared with one another, in time as it is.
    ("evaluation", &["words", "data", "ports", "machine", "runtime", "backends", "embed"]),
    // Names of places, which any layer may mark.
    (FAILPOINT, &[]),
];

/// The layer that every other one may import from.
const FAILPOINT: &str = "failpoint";

/// What the machine may not name, as the beginning of a path or as one name in it.
const IMPURE_PATHS: [&[&str]; 7] = [
    &["std", "fs"],
    &["std", "net"],
    &["std", "thread"],
    &["std", "process"],
    &["std", "env"],
    &["std", "io"],
    &["getrandom"],
];
const IMPURE_WORDS: [&str; 6] = ["tokio", "Instant", "SystemTime", "async", "await", "spawn"];

/// Every violation, one sentence each. `lib.rs` may import anything.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    let mut read = Vec::new();
    for source in sources {
        let module = module_of(&source.path);
        match paths::mentions(&module, &source.text) {
            Ok(mentions) => read.push((source, module, mentions)),
            Err(error) => violations.push(format!("{}: can't be read: {error}", source.path)),
        }
    }
    let for_tests: Vec<Vec<String>> =
        read.iter().flat_map(|(_, _, mentions)| mentions.declared_for_tests.iter().cloned()).collect();
    let macros = exported_macros(sources);
    for (source, module, mentions) in &read {
        let is_for_tests = module.last().is_some_and(|name| name == "tests")
            || for_tests.iter().any(|test| module.starts_with(test));
        if is_for_tests {
            continue;
        }
        match module.first() {
            None => violations.extend(unknown_layers(&mentions.declared)),
            Some(layer) => violations.extend(check_file(source, layer, &mentions.paths, &macros)),
        }
    }
    violations
}

/// Once there are layers, every one of the first five is there, and no other module beside them.
fn unknown_layers(declared: &[Vec<String>]) -> Vec<String> {
    let modules: Vec<&str> =
        declared.iter().filter(|path| path.len() == 1).map(|path| path[0].as_str()).collect();
    let unknown = modules.iter().filter(|module| allowed(module).is_none());
    let mut violations: Vec<String> = unknown
        .map(|module| format!("lib.rs: `{module}` is not one of the layers; give it a place in one"))
        .collect();
    if !modules.is_empty() {
        let missing = LAYERS[..5].iter().filter(|(layer, _)| !modules.contains(layer));
        violations.extend(missing.map(|(layer, _)| format!("lib.rs: the layer `{layer}` is missing")));
    }
    violations
}

/// An exported macro stands at the root of the crate, whichever layer it is of: each name with its layer.
fn exported_macros(sources: &[Source]) -> Vec<(String, String)> {
    let mut macros = Vec::new();
    for source in sources {
        let Some(layer) = module_of(&source.path).into_iter().next() else { continue };
        for after in source.text.split("#[macro_export]\nmacro_rules! ").skip(1) {
            let name = after.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next();
            macros.push((name.unwrap_or_default().to_owned(), layer.clone()));
        }
    }
    macros
}

fn check_file(
    source: &Source,
    layer: &str,
    mentions: &[Mention],
    macros: &[(String, String)],
) -> Vec<String> {
    let Some(allowed) = allowed(layer) else {
        return vec![format!("{}: `{layer}` is not one of the layers", source.path)];
    };
    let mut violations = Vec::new();
    for mention in mentions {
        let place = format!("{}:{}", source.path, mention.line);
        let path = mention.parts.join("::");
        if mention.is_local {
            let first = mention.parts.first().map_or("", String::as_str);
            let of_macro = macros.iter().find(|(name, _)| name == first).map(|(_, layer)| layer.as_str());
            let target = of_macro.unwrap_or(first);
            if target != layer && target != FAILPOINT && !allowed.contains(&target) {
                violations.push(match self::allowed(target) {
                    Some(_) => format!("{place}: `{layer}` may not import `crate::{path}`"),
                    None => format!("{place}: `crate::{path}` hides its layer; name it by its module"),
                });
            }
        } else if mention.parts.first().is_some_and(|first| first == "agent_shell_core") {
            violations.push(format!("{place}: `{path}` hides its layer; write `crate::`"));
        }
        if layer == "machine" && is_impure(mention) {
            violations.push(format!("{place}: `{path}` has no place in the pure machine"));
        }
    }
    violations
}

fn allowed(layer: &str) -> Option<&'static [&'static str]> {
    LAYERS.iter().find(|(name, _)| *name == layer).map(|(_, allowed)| *allowed)
}

fn is_impure(mention: &Mention) -> bool {
    let begins_with = |path: &&[&str]| {
        path.iter().zip(&mention.parts).filter(|(word, part)| word == part).count() == path.len()
    };
    IMPURE_PATHS.iter().any(begins_with)
        || mention.parts.iter().any(|part| IMPURE_WORDS.contains(&part.as_str()))
}

/// `machine/plan.rs` is `machine::plan`, `machine/mod.rs` is `machine`, `lib.rs` is the root.
fn module_of(path: &str) -> Vec<String> {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut module: Vec<String> = path.split('/').map(String::from).collect();
    if module.last().is_some_and(|last| last == "mod" || (module.len() == 1 && last == "lib")) {
        module.pop();
    }
    module
}
