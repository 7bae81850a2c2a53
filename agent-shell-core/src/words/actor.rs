//! Who acts, and whose data it is.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::digest::from_hex;
use super::name::{InvalidName, UserId};

/// Who submits, approves, resolves or purges. Every such act carries one and is journaled under it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Actor {
    /// The host application itself, when it names nobody.
    Host,
    /// The runtime: what follows from earlier records without anybody's act.
    Runtime,
    /// A person or a service that the host has authenticated, by the host's own id for it.
    Named(UserId),
}

impl Actor {
    /// The actor with the host's own id for it.
    ///
    /// # Errors
    /// [`InvalidName`] when the id is empty, longer than 256 bytes, or holds control characters.
    pub fn named(id: impl AsRef<str>) -> Result<Self, InvalidName> {
        UserId::new(id).map(Self::Named)
    }
}

/// An actor as a record's header shows it: a keyed hash, so that the name can be forgotten and the chain holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pseudonym([u8; 16]);

impl Pseudonym {
    /// The pseudonym of [`Actor::Host`].
    pub const HOST: Self = Self(*b"host............");
    /// The pseudonym of [`Actor::Runtime`].
    pub const RUNTIME: Self = Self(*b"runtime.........");

    /// The pseudonym with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the pseudonym.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Pseudonym {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pseudonym {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let invalid = || serde::de::Error::custom("a pseudonym is written as 32 hexadecimal digits");
        from_hex(&text).map(Self).ok_or_else(invalid)
    }
}

impl fmt::Debug for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pseudonym({self})")
    }
}

/// Whose data a session holds. It is always said, never guessed: a purge of a user erases by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A person: the data is sealed under the person's own key, and goes when that key is destroyed.
    User(UserId),
    /// Nobody: the data is sealed under the tenant's key and can't be purged alone.
    None,
}
