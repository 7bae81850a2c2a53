//! The tools of these turns: of each class, most with a compensation. They act on the recorder, and so do compensations, some
//! of which refuse, so that a person must say how it goes on.

use std::sync::Arc;

use agent_shell_core::{Call, ProbeAnswer, Tool, ToolError, Undo};
use serde_json::{Value, json};

use crate::crash::scenario::Work;
use crate::crash::tools::{ATTEMPT, Act, RETRY, ask};
use crate::recorder::{Class, RecorderClient};

/// What undoes calls of a tool.
type Undoing = Option<(&'static str, Class)>;

/// A tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::crash) struct Kind {
    pub(in crate::crash) name: &'static str,
    pub(in crate::crash) class: Class,
    undo: Undoing,
    /// Whether its calls wait until all else has succeeded.
    pub(in crate::crash) held: bool,
}

const fn kind(name: &'static str, class: Class, undo: Undoing) -> Kind {
    Kind { name, class, undo, held: false }
}

/// All that plans call.
pub(in crate::crash) const KINDS: [Kind; 8] = [
    kind("peek", Class::Pure, None),
    kind("rent", Class::Idempotent, Some(("unrent", Class::Idempotent))),
    kind("seat", Class::Probed, Some(("unseat", Class::Probed))),
    kind("sign", Class::Irreversible, Some(("annul", Class::Irreversible))),
    kind("hire", Class::Idempotent, Some(("fire", Class::Probed))),
    kind("ship", Class::Probed, Some(("recall", Class::Idempotent))),
    kind("mark", Class::Idempotent, None),
    Kind { held: true, ..kind("mail", Class::Irreversible, Some(("unmail", Class::Idempotent))) },
];

/// The class of a tool, or of a compensation.
pub(in crate::crash) fn class_of(name: &str) -> Option<Class> {
    let acts = KINDS.iter().map(|kind| (kind.name, kind.class));
    let mut all = acts.chain(KINDS.iter().filter_map(|kind| kind.undo));
    all.find(|(of, _)| *of == name).map(|(_, class)| class)
}

/// Whether plans call a tool of this name.
pub(in crate::crash) fn is_called(name: &str) -> bool {
    KINDS.iter().any(|kind| kind.name == name)
}

/// The output of a call, when nobody changes it; null for what undoes another.
pub(in crate::crash) fn output_of(name: &str, input: &Value) -> Value {
    match serde_json::from_value::<Work>(input.clone()) {
        Ok(work) if is_called(name) => json!({ "n": number_of(&work) }),
        _ => Value::Null,
    }
}

fn number_of(work: &Work) -> u64 {
    work.of.iter().fold(work.own, |sum, of| sum.wrapping_mul(31).wrapping_add(*of)) % 1_000_003
}

/// Whether a compensation refuses. Some always do, some only at first.
fn refuses(own: u64, attempt: u32) -> bool {
    match own % 10 {
        0 => true,
        5 => attempt <= 1,
        _ => false,
    }
}

/// Every tool, acting on this recorder.
pub(in crate::crash) fn tools(client: &RecorderClient) -> Vec<Tool> {
    let client = Arc::new(client.clone().with_timeout(std::time::Duration::from_secs(2)));
    KINDS.iter().flat_map(|kind| [Some(acting(*kind, &client)), undoing(*kind, &client)]).flatten().collect()
}

fn acting(kind: Kind, client: &Arc<RecorderClient>) -> Tool {
    let (on, asked) = (client.clone(), client.clone());
    let run = move |work: Work, call: Call| {
        let client = on.clone();
        async move {
            if work.refuse {
                return Err(ToolError::refused("refused on purpose"));
            }
            let input = json!(work);
            let output = output_of(kind.name, &input);
            Act { class: kind.class, payload: json!({ "input": input }), output }.on(client, call).await
        }
    };
    let probe = move |work: Work, call: Call| ask(asked.clone(), output_of(kind.name, &json!(work)), call);
    let mut tool = made(kind.name, kind.class, run, probe);
    if let Some((undo, _)) = kind.undo {
        tool = tool.compensated_by(undo);
    }
    if kind.held {
        tool = tool.held();
    }
    tool
}

fn undoing(kind: Kind, client: &Arc<RecorderClient>) -> Option<Tool> {
    let (name, class) = kind.undo?;
    let (on, asked) = (client.clone(), client.clone());
    let run = move |undo: Undo<Work>, call: Call| {
        let client = on.clone();
        async move {
            if refuses(undo.input.own, call.attempt) {
                return Err(ToolError::refused("it can't be undone"));
            }
            let payload = json!({ "undoes": undo.key, "input": undo.input });
            Act { class, payload, output: Value::Null }.on(client, call).await
        }
    };
    let probe = move |_: Undo<Work>, call: Call| ask(asked.clone(), Value::Null, call);
    Some(made(name, class, run, probe))
}

/// A tool of a class.
fn made<I, R, P>(
    name: &str,
    class: Class,
    run: impl Fn(I, Call) -> R + Send + Sync + 'static,
    probe: impl Fn(I, Call) -> P + Send + Sync + 'static,
) -> Tool
where
    I: serde::de::DeserializeOwned + schemars::JsonSchema + Send + 'static,
    R: Future<Output = Result<Value, ToolError>> + Send + 'static,
    P: Future<Output = Result<ProbeAnswer, ToolError>> + Send + 'static,
{
    let description = "Acts on the recorder";
    let tool = match class {
        Class::Pure => Tool::pure(name, description, run),
        Class::Idempotent => Tool::idempotent(name, description, run),
        Class::Probed => Tool::probed(name, description, run, probe),
        Class::Irreversible => Tool::irreversible(name, description, run),
    };
    tool.attempt_deadline(ATTEMPT).retry(RETRY)
}
