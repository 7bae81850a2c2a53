//! Files, bytes and lines per language, and the largest files.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::bounded::ListLimit;
use super::read::each_text;
use super::walk::FileEntry;
use super::{Bounded, Coverage, Folder, FolderError};

/// From this size on a file is worth a finding.
pub(crate) const VERY_LARGE_BYTES: u64 = 1024 * 1024;
const LARGEST: ListLimit = ListLimit { max_items: 10, max_bytes: 32 * 1024 };
const VERY_LARGE: ListLimit = ListLimit { max_items: 100, max_bytes: 96 * 1024 };
/// A source file of more lines is worth a finding.
const LONG_FILE_LINES: u64 = 300;
const LONG: ListLimit = ListLimit { max_items: 100, max_bytes: 64 * 1024 };
/// Languages whose files are as long as what they tell, and nobody would split.
const NO_SOURCE: [&str; 11] =
    [OTHER, "JSON", "TOML", "YAML", "XML", "CSV", "Markdown", "reStructuredText", "AsciiDoc", "TeX", "Text"];
const OTHER: &str = "Other";

/// Languages by size, and the largest files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Languages {
    /// Most bytes first.
    pub(crate) languages: Vec<Language>,
    /// The largest files, largest first.
    pub(crate) largest: Vec<SizedFile>,
    /// Every file of at least [`VERY_LARGE_BYTES`], largest first.
    pub(crate) very_large: Bounded<SizedFile>,
    /// Source files of more than 300 lines, in the order of the walk.
    pub(crate) long: Bounded<LongFile>,
    pub(crate) coverage: Coverage,
}

/// One language's share of the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Language {
    pub(crate) name: String,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Line ends in the text that was read, one more where the last line has none. `None` when no
    /// text of this language was read.
    pub(crate) lines: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SizedFile {
    pub(crate) path: String,
    pub(crate) bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LongFile {
    pub(crate) path: String,
    pub(crate) lines: u64,
}

/// Measures the folder.
pub(crate) fn languages(folder: &Folder) -> Result<Languages, FolderError> {
    let listing = folder.listing()?;
    let mut by_name: BTreeMap<&str, Language> = BTreeMap::new();
    for file in &listing.files {
        let name = language_of(&file.path);
        let empty = || Language { name: name.to_owned(), files: 0, bytes: 0, lines: None };
        let language = by_name.entry(name).or_insert_with(empty);
        language.files += 1;
        language.bytes += file.bytes;
    }
    let mut long = Vec::new();
    let coverage = each_text(
        folder,
        |_| true,
        |file, text| {
            let (name, lines) = (language_of(&file.path), count_lines(text));
            if let Some(language) = by_name.get_mut(name) {
                *language.lines.get_or_insert(0) += lines;
            }
            if lines > LONG_FILE_LINES && !NO_SOURCE.contains(&name) {
                long.push(LongFile { path: file.name(), lines });
            }
        },
    )?;
    let mut languages: Vec<Language> = by_name.into_values().collect();
    languages.sort_by_key(|language| Reverse(language.bytes));
    let mut by_size: Vec<&FileEntry> = listing.files.iter().filter(|file| file.bytes > 0).collect();
    by_size.sort_by_key(|file| Reverse(file.bytes));
    let very_large = by_size.iter().take_while(|file| file.bytes >= VERY_LARGE_BYTES);
    Ok(Languages {
        languages,
        largest: Bounded::take(by_size.iter().map(|file| sized(file)), LARGEST).items,
        very_large: Bounded::take(very_large.map(|file| sized(file)), VERY_LARGE),
        long: Bounded::take(long, LONG),
        coverage,
    })
}

fn sized(file: &FileEntry) -> SizedFile {
    SizedFile { path: file.name(), bytes: file.bytes }
}

fn count_lines(text: &[u8]) -> u64 {
    let unended = text.last().is_some_and(|byte| *byte != b'\n');
    memchr::memchr_iter(b'\n', text).count() as u64 + u64::from(unended)
}

/// The language that a file's name tells.
pub(super) fn language_of(path: &Path) -> &'static str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name {
        "Dockerfile" | "Containerfile" => return "Dockerfile",
        "Makefile" | "GNUmakefile" | "makefile" => return "Makefile",
        "Cargo.lock" | "poetry.lock" | "uv.lock" => return "TOML",
        _ => {}
    }
    // A name such as `café.RS` whose stem is not UTF-8 still tells its language.
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "rs" => "Rust",
        "c" | "h" => "C",
        "cc" | "cpp" | "cxx" | "hpp" | "hh" | "hxx" => "C++",
        "cs" => "C#",
        "go" => "Go",
        "java" => "Java",
        "kt" | "kts" => "Kotlin",
        "scala" => "Scala",
        "swift" => "Swift",
        "py" | "pyi" => "Python",
        "rb" => "Ruby",
        "php" => "PHP",
        "pl" | "pm" => "Perl",
        "lua" => "Lua",
        "js" | "mjs" | "cjs" | "jsx" => "JavaScript",
        "ts" | "mts" | "cts" | "tsx" => "TypeScript",
        "vue" => "Vue",
        "html" | "htm" => "HTML",
        "css" | "scss" | "sass" | "less" => "CSS",
        "hs" => "Haskell",
        "ml" | "mli" => "OCaml",
        "ex" | "exs" => "Elixir",
        "erl" | "hrl" => "Erlang",
        "clj" | "cljs" => "Clojure",
        "zig" => "Zig",
        "dart" => "Dart",
        "r" => "R",
        "jl" => "Julia",
        "sql" => "SQL",
        "sh" | "bash" | "zsh" | "fish" => "Shell",
        "ps1" => "PowerShell",
        "proto" => "Protocol Buffers",
        "tf" | "hcl" => "HCL",
        "nix" => "Nix",
        "json" | "jsonl" => "JSON",
        "toml" => "TOML",
        "yaml" | "yml" => "YAML",
        "xml" | "svg" => "XML",
        "csv" | "tsv" => "CSV",
        "md" | "markdown" => "Markdown",
        "rst" => "reStructuredText",
        "adoc" | "asciidoc" => "AsciiDoc",
        "tex" => "TeX",
        "txt" => "Text",
        _ => OTHER,
    }
}
