//! Templates: how a step's input is made from the turn's input, earlier outputs and the context.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::words::{ContextKey, InvalidName, StepId};

/// A JSON value with places that are filled in when the step starts. Anything that is JSON is a template of itself.
///
/// Places stand in templates, never in `json!`: there, a template would be written out as the JSON that stores it, and the
/// step would get that as its input. The members of an object, and the items of a list, are of one type; a plain
/// value among templates is made one by [`Template::from`].
///
/// ```
/// use agent_shell_core::{Plan, Step, Template, from, input};
///
/// let mail = Template::object([
///     ("to", input("/customer/mail")),
///     ("lines", Template::list([from("left", "/text"), from("right", "/text")])),
///     ("greeting", Template::from("Dear customer")),
/// ]);
/// let look = |id| Step::tool(id, "look", input("/article"));
/// let plan = Plan::new([look("left"), look("right"), Step::tool("mail", "mail", mail)]);
/// assert!(plan.is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Template {
    /// The value itself.
    Value(Value),
    /// An object of templates.
    Object(BTreeMap<String, Template>),
    /// A list of templates.
    List(Vec<Template>),
    /// The output of a step, or the part of it that an RFC 6901 pointer names. The step becomes a dependency.
    Output {
        /// The step.
        step: StepId,
        /// The pointer; empty for the whole.
        pointer: String,
    },
    /// The value of a context key when the step starts, null when it has none.
    Context {
        /// The key.
        key: ContextKey,
    },
    /// The turn's input, or the part of it that an RFC 6901 pointer names.
    Input {
        /// The pointer; empty for the whole.
        pointer: String,
    },
    /// A name that was not valid when the template was written; a plan with it is refused.
    #[serde(skip)]
    Invalid(InvalidName),
}

impl Template {
    /// An object of templates.
    pub fn object<K: Into<String>, T: Into<Template>>(members: impl IntoIterator<Item = (K, T)>) -> Self {
        Self::Object(members.into_iter().map(|(name, member)| (name.into(), member.into())).collect())
    }

    /// A list of templates.
    pub fn list<T: Into<Template>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }

    /// Calls `see` with each place in the template.
    pub(crate) fn walk<'a>(&'a self, see: &mut dyn FnMut(&'a Template)) {
        see(self);
        match self {
            Self::Object(members) => members.values().for_each(|member| member.walk(see)),
            Self::List(items) => items.iter().for_each(|item| item.walk(see)),
            _ => {}
        }
    }

    /// The steps whose output the template takes.
    pub fn steps(&self) -> BTreeSet<&StepId> {
        let mut steps = BTreeSet::new();
        self.walk(&mut |place| {
            if let Self::Output { step, .. } = place {
                steps.insert(step);
            }
        });
        steps
    }

    /// The context keys that the template reads.
    pub fn reads(&self) -> BTreeSet<&ContextKey> {
        let mut keys = BTreeSet::new();
        self.walk(&mut |place| {
            if let Self::Context { key } = place {
                keys.insert(key);
            }
        });
        keys
    }

    /// The first invalid name in the template.
    pub(crate) fn invalid(&self) -> Option<&InvalidName> {
        let mut found = None;
        self.walk(&mut |place| {
            if let Self::Invalid(error) = place {
                found.get_or_insert(error);
            }
        });
        found
    }
}

impl<T: Into<Value>> From<T> for Template {
    fn from(value: T) -> Self {
        Self::Value(value.into())
    }
}

/// The whole output of a step, which becomes a dependency. Not for use within `json!`: see [`Template`].
pub fn output(step: impl AsRef<str>) -> Template {
    from(step, "")
}

/// The part of a step's output that an RFC 6901 pointer such as `/order/id` names; the step becomes a dependency. Where
/// there is nothing, the step that asks fails with `UnresolvedInput`. Not for use within `json!`: see [`Template`].
pub fn from(step: impl AsRef<str>, pointer: impl Into<String>) -> Template {
    match StepId::new(step) {
        Ok(step) => Template::Output { step, pointer: pointer.into() },
        Err(error) => Template::Invalid(error),
    }
}

/// The value of a context key when the step starts, null when it has none. Not for use within `json!`: see [`Template`].
pub fn context(key: impl AsRef<str>) -> Template {
    match ContextKey::new(key) {
        Ok(key) => Template::Context { key },
        Err(error) => Template::Invalid(error),
    }
}

/// The part of the turn's input that an RFC 6901 pointer such as `/order/id` names; the whole for an empty pointer. Where
/// there is nothing, the step fails with `UnresolvedInput`. Not for use within `json!`: see [`Template`].
pub fn input(pointer: impl Into<String>) -> Template {
    Template::Input { pointer: pointer.into() }
}
