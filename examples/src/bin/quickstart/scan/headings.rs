//! The outlines of documents: Markdown, reStructuredText and AsciiDoc.

mod outline;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::bounded::ListLimit;
use super::languages::language_of;
use super::read::each_text;
use super::{Bounded, Coverage, Folder, FolderError, shorten};

const DOCUMENTS: ListLimit = ListLimit { max_items: 500, max_bytes: 160 * 1024 };
const WITHOUT_HEADING: ListLimit = ListLimit { max_items: 500, max_bytes: 64 * 1024 };
const MAX_HEADINGS_PER_DOCUMENT: usize = 20;
const MAX_HEADING_CHARS: usize = 120;

/// The outlines of the folder's documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Headings {
    /// Documents with a heading, in the order of the walk.
    pub(crate) documents: Bounded<Document>,
    /// Paths of documents that have none.
    pub(crate) without_heading: Bounded<String>,
    pub(crate) coverage: Coverage,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Document {
    pub(crate) path: String,
    /// The first headings.
    pub(crate) headings: Vec<Heading>,
    /// How many headings there are in all.
    pub(crate) total: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heading {
    /// 1 is the highest.
    pub(crate) level: u8,
    pub(crate) text: String,
    /// The first line is 1.
    pub(crate) line: u64,
}

/// Reads the headings of every document.
pub(crate) fn headings(folder: &Folder) -> Result<Headings, FolderError> {
    let (mut documents, mut without_heading) = (Vec::new(), Vec::new());
    let coverage = each_text(
        folder,
        |file| outline::reader(language_of(&file.path)).is_some(),
        |file, text| {
            let Some(read) = outline::reader(language_of(&file.path)) else { return };
            let found = read(&String::from_utf8_lossy(text));
            if found.is_empty() {
                without_heading.push(file.name());
            } else {
                documents.push(document(file.name(), found));
            }
        },
    )?;
    Ok(Headings {
        documents: Bounded::take(documents, DOCUMENTS),
        without_heading: Bounded::take(without_heading, WITHOUT_HEADING),
        coverage,
    })
}

fn document(path: String, found: Vec<Heading>) -> Document {
    let total = found.len() as u64;
    let shortened = |heading: Heading| Heading { text: shorten(&heading.text, MAX_HEADING_CHARS), ..heading };
    let headings = found.into_iter().take(MAX_HEADINGS_PER_DOCUMENT).map(shortened).collect();
    Document { path, headings, total }
}
