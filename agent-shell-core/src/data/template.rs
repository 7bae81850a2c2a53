//! Templates: how a step's input is made from the turn's input, earlier outputs and the context.

use std::collections::{BTreeMap, BTreeSet};

use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::words::{ContextKey, InvalidName, StepId};

/// A JSON value with places that are filled in when the step starts. Anything that is JSON is a template of itself.
///
/// Objects and lists with such places are made by [`Template::object`] and [`Template::list`]:
///
/// ```
/// use agent_shell_core::{Step, Template, from, input};
/// use serde_json::json;
///
/// let order = Template::object([
///     ("order", input("/order")),
///     ("cents", from("price", "/cents")),
///     ("lines", Template::list([input("/first"), json!("a text that is always the same").into()])),
/// ]);
/// let step = Step::tool("charge", "charge", order);
/// ```
///
/// A template is no value, so it can't stand inside `json!`, which would take it for a literal. It is written as a part
/// of its [`Plan`](crate::Plan) alone:
///
/// ```compile_fail,E0277
/// # use agent_shell_core::input;
/// let order = serde_json::json!({ "order": input("/order") });
/// ```
///
/// ```compile_fail,E0277
/// # use agent_shell_core::{Template, input};
/// let order = serde_json::json!([Template::object([("order", input("/order"))])]);
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
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

    /// The first text in the template that should be a pointer and is none.
    pub(super) fn no_pointer(&self) -> Option<&str> {
        let mut found = None;
        self.walk(&mut |place| {
            if let Self::Output { pointer, .. } | Self::Input { pointer } = place
                && !is_pointer(pointer)
            {
                found.get_or_insert(pointer.as_str());
            }
        });
        found
    }
}

/// Whether a text is a pointer: RFC 6901, section 3. Each reference token begins with `/`, and `~` in it is followed by
/// `0` or `1`.
pub(super) fn is_pointer(text: &str) -> bool {
    let begins = text.is_empty() || text.starts_with('/');
    begins && text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

/// A template as it stands in a plan. [`Template`] itself must not be [`Serialize`], or `json!` would take it.
struct Written<'a>(&'a Template);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Tagged as the derived `Deserialize` of [`Template`] reads it.
        #[derive(Serialize)]
        #[serde(rename_all = "snake_case")]
        enum Form<'a> {
            Value(&'a Value),
            Object(BTreeMap<&'a str, Written<'a>>),
            List(Vec<Written<'a>>),
            Output { step: &'a StepId, pointer: &'a str },
            Context { key: &'a ContextKey },
            Input { pointer: &'a str },
        }
        let form = match self.0 {
            Template::Value(value) => Form::Value(value),
            Template::Object(members) => {
                Form::Object(members.iter().map(|(name, member)| (name.as_str(), Written(member))).collect())
            }
            Template::List(items) => Form::List(items.iter().map(Written).collect()),
            Template::Output { step, pointer } => Form::Output { step, pointer },
            Template::Context { key } => Form::Context { key },
            Template::Input { pointer } => Form::Input { pointer },
            Template::Invalid(error) => return Err(S::Error::custom(error)),
        };
        form.serialize(serializer)
    }
}

/// Writes a template as a part of a plan.
pub(super) fn written<S: Serializer>(template: &Template, serializer: S) -> Result<S::Ok, S::Error> {
    Written(template).serialize(serializer)
}

/// Writes a template that a plan may lack.
pub(super) fn maybe_written<S: Serializer>(
    template: &Option<Template>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    template.as_ref().map(Written).serialize(serializer)
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
