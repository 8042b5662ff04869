//! Records of `watchdog.bpf.c` in its ring buffer, parsed by hand: the bytes are untrusted.

use bpfman_examples::protocol;
use serde_json::{Value, json};

use crate::capability;
use crate::compile::{Rules, narrowed};
use crate::rule::Action;
use crate::tables::{Named, Revision};

const COMM_LENGTH: usize = 16;
const PATH_LENGTH: usize = 252;
const ENFORCED: u8 = 1;
const KILLED: u8 = 2;
const FORBIDDEN: u8 = 4;
/// Order of `enum event_kind`.
const KINDS: [&str; 5] = ["exec", "open", "open", "connect", "privileges"];
const OPEN_TO_WRITE: u8 = 2;
const CONNECT: u8 = 3;
const PRIVILEGES: u8 = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub revision: Revision,
    pub rules: Rules,
    cgroup: u64,
    pid: u32,
    parent: u32,
    uid: u32,
    comm: String,
    parent_comm: String,
    gains: u64,
    new_uid: u32,
    port: u16,
    kind: u8,
    flags: u8,
    address: [u8; 16],
    protocol: u32,
    path: String,
    given: String,
}

impl Event {
    pub fn parse(record: &[u8]) -> Option<Self> {
        let mut rest = record;
        let (cgroup, pid, parent, uid) =
            (long(&mut rest)?, word(&mut rest)?, word(&mut rest)?, word(&mut rest)?);
        let _unused = word(&mut rest)?;
        let (comm, parent_comm) = (text(&mut rest, COMM_LENGTH)?, text(&mut rest, COMM_LENGTH)?);
        let (revision, rules, gains) = (long(&mut rest)?, long(&mut rest)?, long(&mut rest)?);
        let new_uid = word(&mut rest)?;
        let port = u16::from_ne_bytes(take(&mut rest)?);
        let [kind, flags] = take(&mut rest)?;
        let (address, protocol) = (take(&mut rest)?, word(&mut rest)?);
        let (path, given) = (text(&mut rest, PATH_LENGTH)?, text(&mut rest, PATH_LENGTH)?);
        let revision = Revision(revision);
        (usize::from(kind) < KINDS.len()).then_some(Self {
            revision,
            rules,
            cgroup,
            pid,
            parent,
            uid,
            comm,
            parent_comm,
            gains,
            new_uid,
            port,
            kind,
            flags,
            address,
            protocol,
            path,
            given,
        })
    }

    pub fn alerts(&self, names: Option<&[Named]>) -> Vec<Value> {
        let matched = (0..64).filter(|number| self.rules & (1 << number) != 0);
        matched.map(|number| self.alert(number, names.and_then(|names| names.get(number)))).collect()
    }

    fn alert(&self, number: usize, named: Option<&Named>) -> Value {
        let mut alert = json!({
            "rule": named.map(|named| &named.name),
            "number": number + 1,
            "revision": self.revision.0,
            "outcome": named.map(|named| self.outcome(named.action)),
            "event": KINDS[usize::from(self.kind)],
            "pid": self.pid,
            "comm": self.comm,
            "parent": { "pid": self.parent, "comm": self.parent_comm },
            "uid": self.uid,
            "cgroup": self.cgroup,
        });
        match self.kind {
            CONNECT => {
                alert["destination"] = narrowed(self.address).to_string().into();
                alert["port"] = self.port.into();
                alert["protocol"] = protocol::name_of(self.protocol).into();
            }
            PRIVILEGES => {
                alert["new_uid"] = self.new_uid.into();
                alert["gains"] = capability::names(self.gains).into();
            }
            _ => {
                // The program found no path if the file is in memory, or its path is too deep.
                alert["path"] = (!self.path.is_empty()).then_some(self.path.as_str()).into();
                if !self.given.is_empty() {
                    alert["given"] = self.given.clone().into();
                }
                if self.kind == OPEN_TO_WRITE {
                    alert["access"] = "write".into();
                }
            }
        }
        alert
    }

    fn outcome(&self, action: Action) -> &'static str {
        let enforced = self.flags & ENFORCED != 0;
        match action {
            Action::Alert => "alert",
            Action::Kill if self.flags & KILLED != 0 => "killed",
            Action::Kill if enforced => "not killed",
            Action::Kill => "would kill",
            Action::Forbid if self.flags & FORBIDDEN != 0 => "forbidden",
            Action::Forbid if enforced => "not forbidden",
            Action::Forbid => "would forbid",
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*first)
}

fn word(rest: &mut &[u8]) -> Option<u32> {
    take(rest).map(u32::from_ne_bytes)
}

fn long(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_ne_bytes)
}

fn text(rest: &mut &[u8], length: usize) -> Option<String> {
    let (field, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    let bytes = field.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Vec<u8> {
        let mut record =
            [9_u64.to_ne_bytes().as_slice(), &[7, 6, 1000, 0].map(u32::to_ne_bytes).concat()].concat();
        record.extend(b"cat\0............bash\0...........");
        record.extend([3_u64, 0b11, 1 << 21].map(u64::to_ne_bytes).concat());
        record.extend(0_u32.to_ne_bytes());
        record.extend(443_u16.to_ne_bytes());
        record.extend([CONNECT, ENFORCED | KILLED]);
        record.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 1]);
        record.extend(17_u32.to_ne_bytes());
        record.resize(612, 0);
        record
    }

    #[test]
    fn each_rule_that_matched_is_an_alert() {
        let names = [
            Named { name: "first".to_owned(), action: Action::Kill },
            Named { name: "second".to_owned(), action: Action::Forbid },
        ];
        let alerts = Event::parse(&record()).unwrap().alerts(Some(&names));
        let told: Vec<_> = alerts.iter().map(|one| (one["rule"].as_str(), one["outcome"].as_str())).collect();
        assert_eq!(told, [(Some("first"), Some("killed")), (Some("second"), Some("not forbidden"))]);
        assert_eq!((alerts[0]["destination"].as_str(), &alerts[0]["port"]), (Some("192.0.2.1"), &json!(443)));
        assert_eq!(alerts[0]["protocol"], "udp");
        assert_eq!(alerts[0]["parent"], json!({ "pid": 6, "comm": "bash" }));
        assert_eq!(
            (&alerts[0]["pid"], &alerts[0]["uid"], &alerts[0]["cgroup"]),
            (&json!(7), &json!(1000), &json!(9))
        );
    }

    #[test]
    fn a_short_record_is_none() {
        let whole = record();
        assert!((0..whole.len()).all(|length| Event::parse(&whole[..length]).is_none()));
    }
}
