//! Writing bodies down and reading them back, in this version and every earlier one.

use std::borrow::Cow;

use serde::Serialize;

use super::body::Body;

/// The version in which this library writes bodies. A reader upcasts every earlier one; a golden file of each
/// version is read back by a test for ever.
pub const RECORD_VERSION: u16 = 1;

/// Why a body can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The record is of a version, or a kind, that this library does not know.
    #[error(
        "a record of kind `{kind}` version {version} was written by a newer version: upgrade agent-shell-core"
    )]
    Newer {
        /// The kind.
        kind: String,
        /// The version.
        version: u16,
    },
    /// The JSON is not what the kind and version say.
    #[error("the body of a `{kind}` record is not what its version says: the journal is damaged")]
    Malformed {
        /// The kind.
        kind: String,
        /// What the JSON reader found.
        source: serde_json::Error,
    },
}

/// The JSON of a body's members, in the current version.
pub fn encode(body: &Body) -> Vec<u8> {
    // An externally tagged enum is `{"Variant":{..}}`; the tag is the record's kind, so only the inside is kept.
    let mut text = Vec::with_capacity(512);
    body.serialize(&mut serde_json::Serializer::new(&mut text))
        .expect("a body has string keys and finite numbers, so it is always JSON");
    let start = text.iter().position(|&byte| byte == b':').map_or(0, |colon| colon + 1);
    text.truncate(text.len() - 1);
    text.drain(..start);
    text
}

/// Reads the body of a record of any version.
///
/// # Errors
/// [`CodecError::Newer`] for a kind or version of the future, [`CodecError::Malformed`] for a damaged body.
pub fn decode(kind: &str, version: u16, json: &[u8]) -> Result<Body, CodecError> {
    let newer = || CodecError::Newer { kind: kind.into(), version };
    if version == 0 || version > RECORD_VERSION {
        return Err(newer());
    }
    let variant = Body::variant(kind).ok_or_else(newer)?;
    let members: Cow<'_, [u8]> =
        if version == RECORD_VERSION { json.into() } else { upcast(kind, version, json) };
    // The kind stands in the header; put back as the tag, it lets one pass read the members.
    let mut tagged = Vec::with_capacity(members.len() + variant.len() + 5);
    tagged.extend_from_slice(b"{\"");
    tagged.extend_from_slice(variant.as_bytes());
    tagged.extend_from_slice(b"\":");
    tagged.extend_from_slice(&members);
    tagged.push(b'}');
    serde_json::from_slice(&tagged).map_err(|source| CodecError::Malformed { kind: kind.into(), source })
}

/// Brings the members of an earlier version to the current form. There is only one version so far, so no text gets
/// here; a change of a body adds an arm, and a golden file of the version that it replaces.
fn upcast<'a>(_kind: &str, _version: u16, members: &'a [u8]) -> Cow<'a, [u8]> {
    members.into()
}
