//! Every path in a Rust source, with its line. Groups (`use a::{b, c::d}`) are spread out, `self`,
//! `super` and `crate` are resolved, and what is compiled for tests only is left out.

use std::str::FromStr;

use proc_macro2::{Delimiter, LexError, TokenStream, TokenTree};

/// A path as it is written, or, if it is one of this crate, from its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mention {
    pub(super) line: usize,
    /// True if it begins with `crate`, `self` or `super`; then the parts are those below the root.
    pub(super) is_local: bool,
    pub(super) parts: Vec<String>,
}

/// What a source mentions, and which modules it declares for tests only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mentions {
    pub(super) paths: Vec<Mention>,
    /// Paths of modules from the root.
    pub(super) declared: Vec<Vec<String>>,
    pub(super) declared_for_tests: Vec<Vec<String>>,
}

/// Reads a source whose module is `module`, from the root.
pub(super) fn mentions(module: &[String], text: &str) -> Result<Mentions, LexError> {
    let mut found = Mentions::default();
    let tokens: Vec<TokenTree> = TokenStream::from_str(text)?.into_iter().collect();
    Walk { module: module.to_vec(), found: &mut found }.walk(&tokens);
    Ok(found)
}

struct Walk<'a> {
    module: Vec<String>,
    found: &'a mut Mentions,
}

impl Walk<'_> {
    fn walk(&mut self, tokens: &[TokenTree]) {
        let mut index = 0;
        while let Some(token) = tokens.get(index) {
            index = match token {
                _ if attribute(&tokens[index..])
                    .is_some_and(|(inner, content)| inner && is_test_only(content)) =>
                {
                    return;
                }
                _ if attribute(&tokens[index..]).is_some_and(|(_, content)| is_test_only(content)) => {
                    self.skip_item(tokens, index)
                }
                TokenTree::Ident(name) if name == "mod" => self.module(tokens, index),
                TokenTree::Ident(_) => self.path(tokens, index),
                TokenTree::Group(group) => {
                    self.walk(&children(group));
                    index + 1
                }
                _ => index + 1,
            };
        }
    }

    /// `mod name;` or `mod name { .. }`.
    fn module(&mut self, tokens: &[TokenTree], index: usize) -> usize {
        let Some(TokenTree::Ident(name)) = tokens.get(index + 1) else { return index + 1 };
        let module: Vec<String> = self.module.iter().cloned().chain([name.to_string()]).collect();
        match tokens.get(index + 2) {
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                self.found.declared.push(module.clone());
                Walk { module, found: self.found }.walk(&children(group));
                index + 3
            }
            Some(TokenTree::Punct(end)) if end.as_char() == ';' => {
                self.found.declared.push(module);
                index + 3
            }
            _ => index + 1,
        }
    }

    fn path(&mut self, tokens: &[TokenTree], index: usize) -> usize {
        let line = tokens[index].span().start().line;
        let mut paths = Vec::new();
        let end = spread(tokens, index, &[], &mut paths);
        let resolved = paths.into_iter().filter_map(|parts| resolve(&self.module, line, parts));
        self.found.paths.extend(resolved);
        end
    }

    /// Past an attribute that is for tests only, the attributes after it, and what they belong to.
    fn skip_item(&mut self, tokens: &[TokenTree], mut index: usize) -> usize {
        while attribute(&tokens[index..]).is_some() {
            index += 2;
        }
        let mut ends_at_comma = true;
        while let Some(token) = tokens.get(index) {
            index += 1;
            match token {
                TokenTree::Ident(name) if name == "mod" => {
                    if let Some(TokenTree::Ident(name)) = tokens.get(index) {
                        let module = self.module.iter().cloned().chain([name.to_string()]);
                        self.found.declared_for_tests.push(module.collect());
                    }
                    ends_at_comma = false;
                }
                TokenTree::Ident(name) if is_item_keyword(&name.to_string()) => ends_at_comma = false,
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
                TokenTree::Punct(end) if end.as_char() == ';' => break,
                TokenTree::Punct(end) if end.as_char() == ',' && ends_at_comma => break,
                _ => {}
            }
        }
        index
    }
}

/// A path that begins with `crate`, `self` or `super` from the root; a name alone of these says nothing.
fn resolve(module: &[String], line: usize, parts: Vec<String>) -> Option<Mention> {
    let mut base = match parts.first().map(String::as_str) {
        Some("crate") => Vec::new(),
        Some("self" | "super") => module.to_vec(),
        _ => {
            let is_group_itself = parts.len() > 1 && parts.last().is_some_and(|last| last == "self");
            let length = parts.len() - usize::from(is_group_itself);
            return Some(Mention { line, is_local: false, parts: parts[..length].to_vec() });
        }
    };
    if parts.len() == 1 {
        return None;
    }
    for part in &parts {
        match part.as_str() {
            "crate" | "self" => {}
            "super" => drop(base.pop()),
            name => base.push(name.to_owned()),
        }
    }
    Some(Mention { line, is_local: true, parts: base })
}

/// Follows a path from `index`, and returns where it ends. A group or a `*` after `::` is part of it.
fn spread(tokens: &[TokenTree], index: usize, before: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut parts = before.to_vec();
    let mut index = index;
    while let Some(TokenTree::Ident(name)) = tokens.get(index) {
        parts.push(name.to_string());
        index += 1;
        if !is_double_colon(&tokens[index..]) {
            break;
        }
        match tokens.get(index + 2) {
            Some(TokenTree::Ident(_)) => index += 2,
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                spread_group(&children(group), &parts, paths);
                return index + 3;
            }
            Some(TokenTree::Punct(all)) if all.as_char() == '*' => {
                parts.push("*".to_owned());
                index += 3;
                break;
            }
            // A turbofish or a type in `<>`: the path ends, what follows is read on its own.
            _ => {
                index += 2;
                break;
            }
        }
    }
    paths.push(parts);
    index
}

fn spread_group(tokens: &[TokenTree], before: &[String], paths: &mut Vec<Vec<String>>) {
    for tokens in tokens.split(|token| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ',')) {
        match tokens.first() {
            // `as name` after the path is a new name, not a mention.
            Some(TokenTree::Ident(_)) => drop(spread(tokens, 0, before, paths)),
            Some(TokenTree::Punct(all)) if all.as_char() == '*' => {
                paths.push(before.iter().cloned().chain(["*".to_owned()]).collect());
            }
            _ => {}
        }
    }
}

fn children(group: &proc_macro2::Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

fn is_double_colon(tokens: &[TokenTree]) -> bool {
    let is_colon = |token: &TokenTree| matches!(token, TokenTree::Punct(colon) if colon.as_char() == ':');
    matches!(tokens, [one, two, ..] if is_colon(one) && is_colon(two))
}

/// The content of `#[..]` or `#![..]` at the start, and whether it is the second, inner kind.
fn attribute(tokens: &[TokenTree]) -> Option<(bool, TokenStream)> {
    let is = |token: &TokenTree, mark| matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark);
    match tokens {
        [hash, TokenTree::Group(group), ..] if is(hash, '#') && group.delimiter() == Delimiter::Bracket => {
            Some((false, group.stream()))
        }
        [hash, bang, TokenTree::Group(group), ..] if is(hash, '#') && is(bang, '!') => {
            Some((true, group.stream()))
        }
        _ => None,
    }
}

/// `cfg(test)`, or `cfg(all(.., test, ..))`.
fn is_test_only(attribute: TokenStream) -> bool {
    fn needs_test(tokens: &[TokenTree]) -> bool {
        tokens.split(|token| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ',')).any(|part| {
            match part {
                [TokenTree::Ident(name)] => name == "test",
                [TokenTree::Ident(name), TokenTree::Group(group)] => {
                    name == "all" && needs_test(&children(group))
                }
                _ => false,
            }
        })
    }
    let tokens: Vec<TokenTree> = attribute.into_iter().collect();
    match &tokens[..] {
        [TokenTree::Ident(name), TokenTree::Group(group)] => name == "cfg" && needs_test(&children(group)),
        _ => false,
    }
}

fn is_item_keyword(word: &str) -> bool {
    let words = [
        "use",
        "fn",
        "struct",
        "enum",
        "union",
        "impl",
        "trait",
        "const",
        "static",
        "type",
        "extern",
        "macro_rules",
    ];
    words.contains(&word)
}
