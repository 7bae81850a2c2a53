//! Names that hosts choose. All are checked when they are made, so that nothing behind has to.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name that can't be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {why}")]
pub struct InvalidName {
    what: &'static str,
    why: String,
}

fn check(what: &'static str, text: &str, max_bytes: usize) -> Result<(), InvalidName> {
    let invalid = |why: String| Err(InvalidName { what, why });
    if text.is_empty() {
        return invalid("is empty: give it at least one character".into());
    }
    if text.len() > max_bytes {
        return invalid(format!("has {} bytes: at most {max_bytes} are allowed", text.len()));
    }
    if text.chars().any(char::is_control) {
        return invalid("holds a control character: remove it".into());
    }
    Ok(())
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident: $what:literal, $max:literal),+ $(,)?) => {$(
        $(#[$doc])*
        #[doc = concat!("\n\nOne to ", stringify!($max), " bytes of UTF-8 without control characters. Cheap to clone.")]
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest name allowed, in bytes.
            pub const MAX_BYTES: usize = $max;

            /// Checks `text` and makes it a name.
            ///
            /// # Errors
            /// [`InvalidName`] when it is empty, too long, or holds a control character.
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidName> {
                check($what, text.as_ref(), $max)?;
                Ok(Self(text.as_ref().into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), &self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidName;

            fn try_from(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }
    )+};
}

names! {
    /// A customer of the host whose sessions, keys and quotas are kept apart. Not personal data: it stands in
    /// record headers, in the clear.
    Tenant: "the tenant's name", 64,
    /// A person whose data a session holds.
    UserId: "the user's id", 256,
    /// The name by which a host finds a session again, within its tenant.
    SessionName: "the session's name", 256,
    /// A step's name, unique within its turn.
    StepId: "the step's id", 64,
    /// A tool's name, unique within its shell.
    ToolName: "the tool's name", 64,
    /// A planner's name, unique within its shell.
    PlannerName: "the planner's name", 64,
    /// A model's name, unique within its shell.
    ModelName: "the model's name", 64,
    /// A guard's name, unique within its shell.
    GuardName: "the guard's name", 64,
    /// The name of a signal that a step waits for.
    SignalName: "the signal's name", 128,
    /// A key of a turn's context.
    ContextKey: "the context key", 64,
    /// A lock within a turn: steps that name the same one run one after another.
    LockName: "the lock's name", 64,
    /// The caller's own name for a request, by which a repeat of it is recognised.
    DedupeKey: "the dedupe key", 256,
    /// A topic of a bus.
    TopicName: "the topic's name", 128,
    /// A group of consumers: each event of a topic is for one member of each group.
    GroupName: "the group's name", 128,
}

impl Default for Tenant {
    fn default() -> Self {
        Self("default".into())
    }
}
