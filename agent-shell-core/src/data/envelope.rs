//! The envelope: what leaves a process for others.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::words::{OutgoingId, SessionId, Tenant};

/// An event in the structured mode of CloudEvents 1.0 (JSON), with the extensions of Agent Shell. Members that
/// hold personal data are sealed, or are references.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Envelope {
    /// Always `1.0`.
    pub specversion: String,
    /// Unique within `source`; the same in every delivery.
    pub id: OutgoingId,
    /// The shell that sent it, as a URI reference.
    pub source: String,
    /// The payload's name and version, such as `agent-shell.turn-ended.v1`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// What the event is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it happened, RFC 3339.
    pub time: String,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// The payload's schema, as a URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataschema: Option<String>,
    /// What keeps events in order: the session.
    pub partitionkey: String,
    /// The W3C trace context, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The session's tenant.
    pub tenant: Tenant,
    /// The session.
    pub session: SessionId,
    /// Contiguous from 1 within the session; a consumer drops what it has seen and asks for what it misses.
    pub sequence: u64,
    /// The id of the event that caused this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causation: Option<String>,
    /// What a whole exchange has in common, such as the turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// The payload.
    pub data: Value,
}

impl Envelope {
    /// A turn has left the mailbox and runs. `data`: `turn`, and `record`, the place of the record that says so.
    pub const TURN_STARTED: &str = "agent-shell.turn-started.v1";
    /// A step of a turn waits for a person. `data`: `turn`, `record`, and `needs`: `approval` or `resolution`.
    pub const REST_OPENED: &str = "agent-shell.rest-opened.v1";
    /// A rest is over. `causation` names the event that told of it. `data`: `turn`, `record`, and `how`: `approved`,
    /// `denied`, `expired`, `applied`, `retried`, `given_up`, `failed`, `succeeded` or `turn_ended`.
    pub const REST_ENDED: &str = "agent-shell.rest-ended.v1";
    /// A turn has ended. `data`: `turn`, `record`, `outcome`: `answered`, `failed`, `cancelled`, `expired`,
    /// `abandoned` or `purged`, and for a failure its `code`.
    pub const TURN_ENDED: &str = "agent-shell.turn-ended.v1";
    /// A stage of a turn took longer than its latency budget. `data`: `turn`, `record`, `stage` as
    /// [`LatencyStage::name`](super::LatencyStage::name), `budget_ms` and `took_ms`.
    pub const LATENCY_BREACHED: &str = "agent-shell.latency-breached.v1";

    /// An envelope with its required members.
    pub fn new(
        id: OutgoingId,
        source: impl Into<String>,
        event_type: impl Into<String>,
        time: crate::words::Timestamp,
        (tenant, session, sequence): (Tenant, SessionId, u64),
        data: Value,
    ) -> Self {
        Self {
            specversion: "1.0".into(),
            id,
            source: source.into(),
            event_type: event_type.into(),
            subject: None,
            time: time.to_string(),
            datacontenttype: "application/json".into(),
            dataschema: None,
            partitionkey: session.to_string(),
            traceparent: None,
            tenant,
            session,
            sequence,
            causation: None,
            correlation: None,
            data,
        }
    }
}
