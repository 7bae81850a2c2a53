//! Sealing: what a person may want forgotten is stored only under a key that can be destroyed.
//!
//! AES-256-GCM-SIV (RFC 8452): a repeated nonce reveals only that two equal texts are equal. A sealed text is one
//! version byte, twelve bytes of nonce, then the ciphertext with its tag of sixteen bytes.

use std::fmt;

use aes_gcm_siv::aead::{Aead, AeadInOut, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Key};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::words::Digest;

/// What must be unique for each text sealed under a key: twelve bytes, random.
pub type Nonce = [u8; 12];

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// Names a key in a key store, without naming whose it is: a digest that only the key store's owner can compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub Digest);

/// A secret of 32 bytes from which a subject's sealing and hashing keys are derived. Wiped when dropped, never
/// shown.
#[derive(Clone)]
pub struct DataKey(Zeroizing<[u8; 32]>);

impl DataKey {
    /// The key with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key's bytes, for a key store to keep.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// A key for one purpose: HMAC-SHA-256 of the purpose's name, so that no two purposes share a key.
    fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(*keyed_digest(&self.0, "agent-shell/derive/1", &[purpose.as_bytes()]).as_bytes())
    }

    /// The keyed digest of `parts` for one purpose. Equal inputs have equal digests; without the key a digest says
    /// nothing of its input.
    pub fn digest(&self, purpose: &str, parts: &[&[u8]]) -> Digest {
        keyed_digest(&self.derive("digest"), purpose, parts)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(..)")
    }
}

/// HMAC-SHA-256 under `key` of a domain and parts, each with its length before it, so that no two lists of parts
/// run together.
pub fn keyed_digest(key: &[u8; 32], domain: &str, parts: &[&[u8]]) -> Digest {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in std::iter::once(domain.as_bytes()).chain(parts.iter().copied()) {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    Digest::from_bytes(mac.finalize().into_bytes().into())
}

/// Seals and opens under one subject's key.
#[derive(Clone)]
pub struct Sealer(Box<Aes256GcmSiv>);

/// A sealed text that can't be opened: another key, another context, or damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a sealed text does not open: it is damaged, or sealed under another key or for another place")]
pub struct OpenError;

impl Sealer {
    /// A sealer under the sealing key derived from `key`.
    pub fn new(key: &DataKey) -> Self {
        Self(Box::new(Aes256GcmSiv::new(&Key::<Aes256GcmSiv>::from(*key.derive("seal")))))
    }

    /// Seals `text` for the place that `context` names. Only the same context opens it.
    pub fn seal(&self, nonce: Nonce, context: &[u8], text: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + NONCE_BYTES + text.len() + TAG_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(text);
        let tag = self
            .0
            .encrypt_inout_detached(&nonce.into(), context, (&mut bytes[1 + NONCE_BYTES..]).into())
            .expect("AES-GCM-SIV refuses only texts above 64 GiB, and every text is bounded by the limits");
        bytes.extend_from_slice(&tag);
        bytes
    }

    /// Opens what [`Sealer::seal`] sealed under the same key and context.
    ///
    /// # Errors
    /// [`OpenError`] when the text is damaged, or sealed under another key or for another context.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (&version, rest) = sealed.split_first().ok_or(OpenError)?;
        if version != VERSION {
            return Err(OpenError);
        }
        let (nonce, msg) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError)?;
        self.0.decrypt(&(*nonce).into(), Payload { msg, aad: context }).map_err(|_| OpenError)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}
