//! Entries as fields of systemd's journal in its native protocol: one datagram of `NAME=value` lines to its socket.
//!
//! <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>. Entries have a few kilobytes: none needs a file.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use crate::{EntryActor, HistoryEntry};

#[derive(Debug)]
pub(crate) struct Journald {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journald {
    /// Opens a socket. Each message looks up journald's path again, since journald may restart.
    pub fn open(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // Never wait for a slow journald.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path: path.to_owned() })
    }

    pub fn send(&self, entry: &HistoryEntry) -> io::Result<()> {
        self.socket.send_to(&datagram(entry), &self.path).map(drop)
    }
}

fn datagram(entry: &HistoryEntry) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    let failure = entry.result.failure();
    let message = format!(
        "{} {}: {}{}",
        entry.verb,
        entry.object,
        entry.result.name(),
        failure.map(|failure| format!(": {}", failure.message)).unwrap_or_default()
    );
    // Syslog priorities: 6 is informational, 5 is notice.
    let priority = if failure.is_some() { "5" } else { "6" };
    let mut field = |name: &str, value: &str| put(&mut bytes, name, value);
    field("MESSAGE", &message);
    field("PRIORITY", priority);
    field("SYSLOG_IDENTIFIER", "bpfmand");
    field("BPFMAN_NUMBER", &entry.number.to_string());
    field("BPFMAN_TIME", &entry.time);
    match &entry.by {
        EntryActor::Caller { uid, gid, pid, cgroup, unit, pod, account_uid: _ } => {
            field("BPFMAN_UID", &uid.to_string());
            field("BPFMAN_GID", &gid.to_string());
            field("BPFMAN_PID", &pid.map(|pid| pid.to_string()).unwrap_or_default());
            field("BPFMAN_CGROUP", cgroup);
            field("BPFMAN_UNIT", unit);
            field("BPFMAN_POD", pod);
        }
        EntryActor::Daemon(part) => field("BPFMAN_BY", part.name()),
        EntryActor::Stranger(who) => {
            field("BPFMAN_BY", "radar");
            field("BPFMAN_UID", &who.uid.to_string());
            field("BPFMAN_GID", &who.gid.to_string());
            field("BPFMAN_PID", &who.pid.to_string());
            field("BPFMAN_COMMAND", &who.command);
            field("BPFMAN_EXECUTABLE", &who.executable);
            field("BPFMAN_CGROUP", &who.cgroup);
            field("BPFMAN_UNIT", &who.unit);
            field("BPFMAN_POD", &who.pod);
            field("BPFMAN_CONTAINER", &who.container);
        }
    }
    field("BPFMAN_VERB", &entry.verb);
    field("BPFMAN_OBJECT", &entry.object);
    field("BPFMAN_MADE", &entry.made);
    field("BPFMAN_DIGEST", &entry.digest);
    field("BPFMAN_RULE", &entry.rule);
    field("BPFMAN_GRANT", &entry.grant);
    field("BPFMAN_BEFORE", &entry.before);
    field("BPFMAN_AFTER", &entry.after);
    field("BPFMAN_RESULT", entry.result.name());
    if entry.count > 0 {
        field("BPFMAN_COUNT", &entry.count.to_string());
        field("BPFMAN_FIRST", &entry.first);
    }
    for (name, values) in [("BPFMAN_HOOK", &entry.hooks), ("BPFMAN_OWNER", &entry.owners)] {
        values.iter().for_each(|value| field(name, value));
    }
    for (name, ids) in [("BPFMAN_PROGRAM", &entry.programs), ("BPFMAN_LINK", &entry.links)] {
        ids.iter().for_each(|id| field(name, &id.to_string()));
    }
    if let Some(failure) = failure {
        field("BPFMAN_CODE", &failure.code);
        field("BPFMAN_REASON", &failure.reason);
        field("BPFMAN_WHY", &failure.message);
    }
    bytes
}

fn put(bytes: &mut Vec<u8>, name: &str, value: &str) {
    let value = bpfman_model::audit_text(value);
    if value.is_empty() {
        return;
    }
    bytes.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        bytes.push(b'\n');
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        bytes.push(b'=');
    }
    bytes.extend_from_slice(value.as_bytes());
    bytes.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EntryFailure, EntryResult};

    #[test]
    fn an_entry_comes_as_fields_and_no_text_makes_one_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let entry = HistoryEntry {
            number: 7,
            verb: "Load".to_owned(),
            object: "file /x\nBPFMAN_UID=0".to_owned(),
            by: EntryActor::of(&bpfman_model::Peer { uid: 1000, ..Default::default() }),
            result: EntryResult::Denied(EntryFailure { reason: "denied".to_owned(), ..Default::default() }),
            ..HistoryEntry::default()
        };
        Journald::open(&path).unwrap().send(&entry).unwrap();
        let mut bytes = [0; 4096];
        let length = journald.recv(&mut bytes).unwrap();
        let fields = fields(&bytes[..length]);
        let of = |name: &str| {
            fields.iter().filter(|(of, _)| of == name).map(|(_, v)| v.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(of("BPFMAN_UID"), ["1000"]);
        assert_eq!(of("BPFMAN_OBJECT"), ["file /x\nBPFMAN_UID=0"]);
        assert_eq!(
            (of("BPFMAN_NUMBER"), of("BPFMAN_REASON"), of("PRIORITY")),
            (vec!["7"], vec!["denied"], vec!["5"])
        );
    }

    fn fields(mut bytes: &[u8]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
            let line = std::str::from_utf8(&bytes[..end]).unwrap();
            if let Some((name, value)) = line.split_once('=') {
                found.push((name.to_owned(), value.to_owned()));
                bytes = &bytes[end + 1..];
            } else {
                let length = u64::from_le_bytes(bytes[end + 1..end + 9].try_into().unwrap()) as usize;
                let value = std::str::from_utf8(&bytes[end + 9..end + 9 + length]).unwrap();
                found.push((line.to_owned(), value.to_owned()));
                bytes = &bytes[end + 10 + length..];
            }
        }
        found
    }
}
