//! Envelopes, which others read, and which wait in an outbox while the process that will publish them is replaced.

use agent_shell_core::Envelope;
use serde_json::Value;

use super::golden;

#[test]
fn envelopes_of_version_1_are_read_and_written_alike() {
    let text = golden("events-v1.jsonl");
    let envelopes: Vec<Envelope> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (line, envelope) in text.lines().zip(&envelopes) {
        assert_eq!(serde_json::to_string(envelope).unwrap(), line);
    }
    let [started, ended, late] = &envelopes[..] else { panic!("{envelopes:?}") };
    assert_eq!((started.event_type.as_str(), started.sequence), (Envelope::TURN_STARTED, 1));
    assert_eq!((ended.event_type.as_str(), ended.sequence), (Envelope::TURN_ENDED, 2));
    assert_eq!(ended.causation, Some(started.id.to_string()));
    assert_eq!(
        (started.subject.as_deref(), ended.subject.as_deref()),
        (Some("000102030405060708090a0b0c0d0e0f"), None)
    );
    assert_eq!((late.event_type.as_str(), late.sequence), (Envelope::LATENCY_BREACHED, 3));
    assert_eq!((&late.data["stage"], &late.data["took_ms"]), (&Value::from("tool"), &Value::from(501)));
    assert_eq!((&ended.data["outcome"], &ended.data["record"]), (&Value::from("failed"), &Value::from(9)));
}
