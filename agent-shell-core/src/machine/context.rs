//! A turn's context: named values, changed only by the closed set of reducers.

use std::collections::BTreeMap;

use serde_json::Value;

use super::resolve::pointed;
use crate::data::canonical::canonical;
use crate::data::{Reducer, Write};
use crate::words::ContextKey;

/// The values of a turn, and how often they changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Context {
    /// Counts the records that changed it.
    pub version: u64,
    /// The values.
    pub values: BTreeMap<ContextKey, Value>,
    /// The version with which each key changed last, kept once a step may be outdated by that.
    pub changed: Option<BTreeMap<ContextKey, u64>>,
}

impl Context {
    /// Takes over merged values from a record.
    pub(super) fn take(&mut self, merged: &BTreeMap<ContextKey, Value>) {
        if !merged.is_empty() {
            self.version += 1;
            if let Some(changed) = &mut self.changed {
                let differs = |(key, value): &(&ContextKey, &Value)| self.values.get(*key) != Some(*value);
                changed.extend(merged.iter().filter(differs).map(|(key, _)| (key.clone(), self.version)));
            }
            self.values.extend(merged.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
    }

    /// What the context's keys become when a step with these writes ends with `output`.
    ///
    /// # Errors
    /// What does not fit, when a delta does not fit its reducer.
    pub(super) fn merged(
        &self,
        writes: &[Write],
        output: &Value,
    ) -> Result<BTreeMap<ContextKey, Value>, String> {
        let mut merged = BTreeMap::new();
        for write in writes {
            let delta = pointed(output, &write.pointer).ok_or_else(|| {
                format!("the output has nothing at `{}` for key `{}`", write.pointer, write.key)
            })?;
            let before = merged.get(&write.key).or_else(|| self.values.get(&write.key));
            let after = merge(write.reducer, before, delta)
                .map_err(|problem| format!("context key `{}`: {problem}", write.key))?;
            merged.insert(write.key.clone(), after);
        }
        Ok(merged)
    }
}

fn merge(reducer: Reducer, before: Option<&Value>, delta: &Value) -> Result<Value, String> {
    let before = before.filter(|value| !value.is_null());
    match reducer {
        Reducer::Replace => Ok(delta.clone()),
        Reducer::Append => {
            let mut list = before.map_or(Ok(Vec::new()), list)?;
            list.push(delta.clone());
            Ok(Value::Array(list))
        }
        Reducer::Sum => {
            let sum = before.map_or(Ok(0), integer)?.checked_add(integer(delta)?);
            sum.map(Value::from).ok_or_else(|| "the sum does not fit 64 bits".into())
        }
        Reducer::Max => extreme(before, delta, |order| order.is_gt()),
        Reducer::Min => extreme(before, delta, |order| order.is_lt()),
        Reducer::Union => {
            let items = before.map_or(Ok(Vec::new()), list)?.into_iter().chain(list(delta)?);
            let by_text: Result<BTreeMap<_, _>, _> =
                items.map(|item| canonical(&item).map(|text| (text, item))).collect();
            Ok(Value::Array(by_text.map_err(|error| error.to_string())?.into_values().collect()))
        }
    }
}

fn integer(value: &Value) -> Result<i64, String> {
    value.as_i64().ok_or_else(|| "a sum takes integers of 64 bits".into())
}

fn list(value: &Value) -> Result<Vec<Value>, String> {
    value.as_array().cloned().ok_or_else(|| "this reducer takes lists".into())
}

/// Equal numbers may be written in two ways (1 and 1.0); the canonical text decides between them, so that the
/// result does not depend on the order.
fn extreme(
    before: Option<&Value>,
    delta: &Value,
    wins: fn(std::cmp::Ordering) -> bool,
) -> Result<Value, String> {
    let number =
        |value: &Value| value.as_f64().ok_or_else(|| "a maximum or minimum takes numbers".to_owned());
    let of_delta = number(delta)?;
    let Some(before) = before else { return Ok(delta.clone()) };
    let exact = match (delta.as_i64(), before.as_i64()) {
        (Some(delta), Some(before)) => delta.cmp(&before),
        _ => of_delta.total_cmp(&number(before)?),
    };
    let order = exact.then_with(|| delta.to_string().cmp(&before.to_string()));
    Ok(if wins(order) { delta } else { before }.clone())
}
