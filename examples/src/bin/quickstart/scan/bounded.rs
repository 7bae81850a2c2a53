//! A list that ends at a limit and counts what did not fit.

use serde::{Deserialize, Serialize};

/// The first items of a longer list, and how many more there were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bounded<T> {
    pub(crate) items: Vec<T>,
    /// How many items came after the last one that is kept.
    pub(crate) left_out: u64,
}

/// Where a [`Bounded`] list ends, whichever comes first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListLimit {
    pub(crate) max_items: usize,
    /// The sum of the items' sizes as JSON.
    pub(crate) max_bytes: usize,
}

impl<T: Serialize> Bounded<T> {
    /// Keeps the items up to the first one that passes the limit, in their order, and counts the
    /// others.
    pub(crate) fn take(items: impl IntoIterator<Item = T>, limit: ListLimit) -> Self {
        let mut list = Self { items: Vec::new(), left_out: 0 };
        let mut bytes = 0_usize;
        for item in items {
            if list.left_out == 0 && list.items.len() < limit.max_items {
                bytes = bytes.saturating_add(json_bytes(&item));
                if bytes <= limit.max_bytes {
                    list.items.push(item);
                    continue;
                }
            }
            list.left_out += 1;
        }
        list
    }

    /// Whether every item is in the list.
    pub(crate) fn is_complete(&self) -> bool {
        self.left_out == 0
    }
}

/// The first `max_chars` characters of a text, with an ellipsis when something was cut.
pub(crate) fn shorten(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// The size of an item in a JSON array, its comma included. What can't be written fits nowhere.
pub(crate) fn json_bytes(item: &impl Serialize) -> usize {
    serde_json::to_vec(item).map_or(usize::MAX, |json| json.len() + 1)
}
