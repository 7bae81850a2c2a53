//! Canonical JSON, and what is hashed of it: idempotency keys, what approvals bind to, requirements, ids of keys.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use agent_shell_core::Shell;
use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::volatile::{VolatileKeys, VolatileStore};
use agent_shell_core::data::canonical::{canonical, canonical_digest};
use agent_shell_core::data::{
    Body, DataKey, EffectClass, KeyId, Mail, Plan, PlannerRef, Step, ToolContract, ToolTerms, WaitFor,
};
use agent_shell_core::machine::{Command, Entry, Env, Event, Folded, Live, PlanAnswer, fold, owed, react};
use agent_shell_core::ports::{KeyError, KeyStore};
use agent_shell_core::words::{Epoch, Limits, MailId, Pseudonym, SessionId, Timestamp, ToolName, TurnId};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{bytes, vector};

#[test]
fn canonical_json_is_one_text_for_one_value() {
    let pairs = [
        // As in RFC 8785, section 3.2.2.
        (
            r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#,
            r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#,
        ),
        // RFC 8785, section 3.2.3: names are sorted by their UTF-16 code units.
        (
            r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#,
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}",
        ),
        ("[-0, -0.0, 0.0, 1.0, 1e2, 100, 1.5e300]", "[0,0,0,1,100,100,1.5e+300]"),
        ("[1e20, 1e21, 1e-6, 1e-7, 5e-324]", "[100000000000000000000,1e+21,0.000001,1e-7,5e-324]"),
        // Where RFC 8785 would round: integers of 64 bits keep their digits.
        ("[9007199254740993, 18446744073709551615]", "[9007199254740993,18446744073709551615]"),
        ("[-9007199254740993, -9223372036854775808]", "[-9007199254740993,-9223372036854775808]"),
        // Beyond 64 bits an integer is a double.
        ("[18446744073709551616, 9007199254740993.0]", "[18446744073709552000,9007199254740992]"),
        (r#"["\u0000\u0008\t\u000b\f\r\u001f\u007f"]"#, "[\"\\u0000\\b\\t\\u000b\\f\\r\\u001f\u{7f}\"]"),
        (r#"{"b":{"d":1,"c":[]},"a":{}}"#, r#"{"a":{},"b":{"c":[],"d":1}}"#),
    ];
    for (text, expected) in pairs {
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(canonical(&value).unwrap(), expected);
        let again: Value = serde_json::from_str(expected).unwrap();
        assert_eq!(canonical(&again).unwrap(), expected, "the canonical text is its own canonical text");
    }
}

/// Without `arbitrary_precision` such a number is not read at all; with it, it has no canonical form.
#[test]
fn a_number_beyond_a_double_has_no_canonical_form() {
    let read = serde_json::from_str::<Value>("1e400");
    assert_eq!(read.is_ok(), cfg!(feature = "json-variants"));
    assert!(read.iter().all(|value| canonical(value).is_err() && canonical_digest(value).is_err()));
}

fn given() -> Value {
    let text =
        r#"{"order":17,"note":null,"lines":[{"sku":"ä€𝄞\n","cents":1999.50}],"exact":9007199254740993}"#;
    serde_json::from_str(text).unwrap()
}

/// The records of a turn of one step, up to where it acts or waits.
fn records_of(step: Step, ask_first: bool) -> Vec<Body> {
    let sixteen = |hex: &str| <[u8; 16]>::try_from(bytes(hex)).unwrap();
    let mut state = Folded::new(SessionId::from_bytes(sixteen("019ac5f0e1d27b3c4d5e6f708192a3b4")));
    let turn = TurnId::from_bytes(sixteen("019ac5f0e1d3aaaabbbbccccddddeeee"));
    let name = ToolName::new("charge").unwrap();
    let mut contract = ToolContract::new(name.clone(), "", EffectClass::Idempotent, json!({}));
    (contract.version, contract.ask_first) = (3, ask_first);
    let terms = BTreeMap::from([(name, ToolTerms::of(&contract, 1_000))]);
    let plan = Plan::new([step]).unwrap();

    let (limits, now) = (Limits::default(), Timestamp::from_millis(1_764_000_000_000));
    let env = Env {
        epoch: Epoch::new(1),
        now,
        heard: now,
        limits: &limits,
        random: 0,
        guards: Default::default(),
        latency: None,
    };
    let input = Value::Null.into();
    let mail = Mail::Submit {
        turn,
        input,
        planner: PlannerRef::Fixed(plan.clone()),
        by_default: false,
        deadline: None,
        wants: None,
        budget: None,
        untrusted: false,
    };
    let mut records = react(&state, Event::Mail { id: MailId::from_bytes([1; 16]), mail, posted: now }, &env);
    let mut all = Vec::new();
    loop {
        for body in records.drain(..) {
            let (seq, epoch) = (state.seq.next(), env.epoch);
            let entry = Entry { seq, epoch, time: now, actor: Pseudonym::RUNTIME, body };
            fold(&mut state, &entry).unwrap();
            all.push(entry.body);
        }
        let live = Live { durable: state.seq, ..Live::default() };
        let owed = owed(&state, &live, &env);
        records = match owed.commands.into_iter().next() {
            _ if !owed.records.is_empty() => owed.records,
            Some(Command::Plan) => {
                let answer = PlanAnswer::Plan {
                    plan: plan.clone(),
                    more: false,
                    terms: terms.clone(),
                    prompts: Default::default(),
                };
                react(&state, Event::Planned { dropped: 0, answer: Ok(answer), took: None }, &env)
            }
            Some(Command::Check { step, input, .. }) => {
                react(&state, Event::Checked { step, input, problem: None }, &env)
            }
            _ => return all,
        };
    }
}

#[test]
fn a_call_has_the_key_that_the_format_says() {
    let records = records_of(Step::tool("charge", "charge", given()), false);
    let Some(Body::StepStarted { key, .. }) = records.last() else { panic!("{records:?}") };
    assert_eq!(*key, vector("idempotency_key"));
}

#[test]
fn an_approval_binds_to_the_digest_that_the_format_says() {
    let asked = |step, vector_name: &str| {
        let records = records_of(step, true);
        let Some(Body::WaitOpened { wait: WaitFor::Approval { digest, .. }, .. }) = records.last() else {
            panic!("{records:?}")
        };
        assert_eq!(digest.to_string(), vector(vector_name));
    };
    asked(Step::tool("charge", "charge", given()), "approval_digest_of_a_call");
    asked(Step::approval("ask", given()), "approval_digest_of_a_question");
}

#[test]
fn a_contract_is_required_by_the_digest_that_the_format_says() {
    let name = ToolName::new("charge").unwrap();
    let mut contract =
        ToolContract::new(name, "Charges", EffectClass::Idempotent, json!({ "type": "object" }));
    contract.version = 3;
    assert_eq!(contract.requirement().0.to_string(), vector("requirement"));
    contract.description = "Charges a card".into();
    assert_eq!(contract.requirement().0.to_string(), vector("requirement"), "a description is not required");
}

/// Notes which keys are asked for.
#[derive(Default)]
struct NotedKeys(VolatileKeys, Mutex<Vec<KeyId>>);

#[async_trait]
impl KeyStore for NotedKeys {
    async fn create(&self, id: KeyId, fresh: DataKey) -> Result<DataKey, KeyError> {
        self.1.lock().unwrap().push(id);
        self.0.create(id, fresh).await
    }

    async fn fetch(&self, id: KeyId) -> Result<DataKey, KeyError> {
        self.0.fetch(id).await
    }

    async fn destroy(&self, id: KeyId) -> Result<(), KeyError> {
        self.0.destroy(id).await
    }
}

#[tokio::test]
async fn keys_are_found_under_the_ids_that_the_format_says() {
    let keys = Arc::new(NotedKeys::default());
    let store = VolatileStore::store(Arc::new(SystemClock::new()));
    let shell = Shell::on(store, keys.clone()).open().await.unwrap();
    shell.session("ada").unwrap().id().await.unwrap();
    let ids = keys.1.lock().unwrap().clone();
    let [tenant, subject] = ids[..] else { panic!("{ids:?}") };
    assert_eq!(tenant.0.to_string(), vector("tenant_key_id"));
    let tenant_key = keys.fetch(tenant).await.unwrap();
    assert_eq!(subject.0, tenant_key.digest("subject-key", &[b"ada"]));
}
