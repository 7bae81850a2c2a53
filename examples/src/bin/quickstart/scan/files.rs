//! Which files are reviewed, and what is left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bounded::ListLimit;
use super::{Bounded, Folder, FolderError, LeftOut, Reason};

const LEFT_OUT: ListLimit = ListLimit { max_items: 500, max_bytes: 128 * 1024 };

/// What the folder holds. All zero for an empty folder, which is a valid review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Files {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Folders below the folder itself.
    pub(crate) folders: u64,
    pub(crate) left_out: Bounded<LeftOut>,
    /// How many were left out for each reason, in full.
    pub(crate) left_out_by_reason: BTreeMap<Reason, u64>,
    /// The folder has more entries than are walked: what lies beyond is not even counted.
    pub(crate) ended_early: bool,
}

/// Lists the folder.
pub(crate) fn files(folder: &Folder) -> Result<Files, FolderError> {
    let listing = folder.listing()?;
    let mut left_out = Bounded::take(listing.left_out.iter().cloned(), LEFT_OUT);
    let listed = left_out.items.len() as u64;
    // The walk lists fewer than it counts; those beyond the limit of files are never listed.
    let nameable = listing.counts.iter().filter(|(reason, _)| **reason != Reason::BeyondFileLimit);
    left_out.left_out = nameable.map(|(_, count)| count).sum::<u64>() - listed;
    Ok(Files {
        files: listing.files.len() as u64,
        bytes: listing.files.iter().map(|file| file.bytes).sum(),
        folders: listing.folders,
        left_out,
        left_out_by_reason: listing.counts.clone(),
        ended_early: listing.ended_early,
    })
}
