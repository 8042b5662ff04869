//! Records of `exec_snoop.bpf.c` in its ring buffer, parsed by hand: the bytes are untrusted.

use std::fmt;

use serde_json::{Value, json};

const COMM_LENGTH: usize = 16;
const FILENAME_LENGTH: usize = 256;

/// Start of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecEvent {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// User id of the process.
    pub uid: u32,
    /// New name of the task, at most 15 bytes.
    pub comm: String,
    /// File as it was passed to execve, cut after 255 bytes.
    pub filename: String,
}

impl ExecEvent {
    /// Parses one record of the ring buffer. Returns `None` if it is too short.
    pub fn parse(record: &[u8]) -> Option<Self> {
        let (pid, rest) = record.split_first_chunk()?;
        let (uid, rest) = rest.split_first_chunk()?;
        let (comm, rest) = rest.split_at_checked(COMM_LENGTH)?;
        let filename = rest.get(..FILENAME_LENGTH)?;
        Some(Self {
            pid: u32::from_ne_bytes(*pid),
            uid: u32::from_ne_bytes(*uid),
            comm: text(comm),
            filename: text(filename),
        })
    }

    /// Returns the event as a JSON object `{"pid", "uid", "comm", "filename"}`.
    pub fn to_json(&self) -> Value {
        json!({ "pid": self.pid, "uid": self.uid, "comm": self.comm, "filename": self.filename })
    }
}

/// Any user can choose these names, so control characters of terminals are escaped.
impl fmt::Display for ExecEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, uid, comm, filename } = self;
        write!(f, "{pid:>8} {uid:>6} {:<16} {}", comm.escape_debug().to_string(), filename.escape_debug())
    }
}

fn text(bytes: &[u8]) -> String {
    let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(comm: &[u8], filename: &[u8]) -> Vec<u8> {
        let mut record = [7u32.to_ne_bytes(), 1000u32.to_ne_bytes()].concat();
        record.extend(comm);
        record.resize(8 + COMM_LENGTH, 0);
        record.extend(filename);
        record.resize(8 + COMM_LENGTH + FILENAME_LENGTH, 0);
        record
    }

    #[test]
    fn a_record_is_read_field_by_field() {
        let event = ExecEvent::parse(&record(b"cat\0old", b"/bin/cat\0older")).unwrap();
        let expected =
            ExecEvent { pid: 7, uid: 1000, comm: "cat".to_owned(), filename: "/bin/cat".to_owned() };
        assert_eq!(event, expected);
    }

    #[test]
    fn a_short_record_is_none() {
        let whole = record(b"cat", b"/bin/cat");
        assert!((0..whole.len()).all(|length| ExecEvent::parse(&whole[..length]).is_none()));
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let event = ExecEvent::parse(&record(b"\x1b[2J", b"/tmp/a\nb")).unwrap();
        assert!(!event.to_string().contains(['\x1b', '\n']));
    }
}
