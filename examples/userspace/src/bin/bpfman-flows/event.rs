use serde_json::Value;

use crate::clock::Clock;
use crate::flow::{FLOW_BYTES, Flow, RECORD_BYTES, Record, Seen};
use crate::reasons::{DropReason, Reasons};

/// Order of `enum kind`.
const KINDS: [&str; 3] = ["new", "ended", "dropped"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    kind: &'static str,
    pub seen: Seen,
}

impl Event {
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (record, rest) = bytes.split_first_chunk::<RECORD_BYTES>()?;
        let (flow, rest) = rest.split_at_checked(FLOW_BYTES)?;
        let (kind, rest) = rest.split_first_chunk()?;
        let reason = DropReason(u32::from_ne_bytes(*rest.first_chunk()?));
        Some(Self {
            kind: KINDS.get(u32::from_ne_bytes(*kind) as usize)?,
            seen: Seen { flow: Flow::parse(flow, reason)?, record: Record::parse(record) },
        })
    }

    pub fn to_json(self, reasons: &Reasons, clock: Clock) -> Value {
        let mut object = self.seen.to_json(reasons, clock);
        object["event"] = self.kind.into();
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_short_or_of_no_kind_is_none() {
        let mut whole = vec![0; RECORD_BYTES + FLOW_BYTES + 8];
        assert_eq!(Event::parse(&whole).map(|event| event.kind), Some("new"));
        assert!((0..whole.len()).all(|length| Event::parse(&whole[..length]).is_none()));
        whole[RECORD_BYTES + FLOW_BYTES] = 3;
        whole[RECORD_BYTES + FLOW_BYTES + 1] = 3;
        assert_eq!(Event::parse(&whole), None);
    }
}
