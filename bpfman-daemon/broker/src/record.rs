//! Records of sessions, by which a daemon that was started again goes on with them. They are in memory, as sessions are.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bpfmand_calls::ObjectKind;
use serde::{Deserialize, Serialize};

use crate::session::RawProgram;

const CLIENT: &str = "session";
const IDS: &str = "ids";
/// Extension of the receiver's socket.
pub const SOCKET: &str = "sock";

/// Client of a session, as the kernel knew it at the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRecord {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub grant: Option<String>,
    /// Seconds since 1970.
    started: u64,
}

impl ClientRecord {
    pub fn new(uid: u32, gid: u32, groups: Vec<u32>, grant: Option<String>) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { uid, gid, groups, grant, started }
    }

    pub fn started(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.started)
    }
}

/// Line of the file with ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRecord {
    pub kind: ObjectKind,
    pub id: u32,
    pub program: Option<RawProgram>,
}

/// Files of one session.
#[derive(Debug)]
pub struct SessionRecord {
    folder: PathBuf,
    name: String,
    ids: Mutex<fs::File>,
}

fn path(folder: &Path, name: &str, extension: &str) -> PathBuf {
    folder.join(format!("{name}.{extension}"))
}

impl SessionRecord {
    /// Writes the record of a session that begins.
    pub fn create(folder: &Path, name: &str, client: &ClientRecord) -> io::Result<Self> {
        let mut options = fs::File::options();
        options.write(true).create_new(true).mode(0o600);
        let ids = Mutex::new(options.clone().append(true).open(path(folder, name, IDS))?);
        options.open(path(folder, name, CLIENT))?.write_all(&serde_json::to_vec(client)?)?;
        Ok(Self { folder: folder.to_owned(), name: name.to_owned(), ids })
    }

    /// Reads the record of a session. A line that a killed daemon left incomplete is skipped: its object ended with it.
    pub fn open(folder: &Path, name: &str) -> io::Result<(Self, ClientRecord, Vec<IdRecord>)> {
        let client = serde_json::from_slice(&fs::read(path(folder, name, CLIENT))?)?;
        let text = fs::read_to_string(path(folder, name, IDS))?;
        let known = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let ids = Mutex::new(fs::File::options().append(true).open(path(folder, name, IDS))?);
        Ok((Self { folder: folder.to_owned(), name: name.to_owned(), ids }, client, known))
    }

    /// Adds the id of an object, before its command gets it.
    pub fn add(&self, id: &IdRecord) -> io::Result<()> {
        let mut line = serde_json::to_vec(id)?;
        // An incomplete line before it stays alone.
        line.insert(0, b'\n');
        line.push(b'\n');
        self.ids.lock().unwrap_or_else(std::sync::PoisonError::into_inner).write_all(&line)
    }

    /// Removes the files, with the socket.
    pub fn remove(&self) {
        remove(&self.folder, &self.name);
    }
}

/// Removes the files of a session.
pub fn remove(folder: &Path, name: &str) {
    for extension in [CLIENT, IDS, SOCKET] {
        let _absent = fs::remove_file(path(folder, name, extension));
    }
}

/// Returns the names of all sessions with a record.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| {
        let path = PathBuf::from(entry.file_name());
        let is_session = path.extension().is_some_and(|extension| extension == CLIENT);
        path.file_stem().and_then(|stem| stem.to_str()).filter(|_| is_session).map(str::to_owned)
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn record_is_read_as_it_was_written_without_an_incomplete_line() {
        let folder = tempfile::tempdir().unwrap();
        let client = ClientRecord::new(1000, 100, vec![4], Some("tools".to_owned()));
        let record = SessionRecord::create(folder.path(), "a1", &client).unwrap();
        let loaded = RawProgram { program_type: 6, attach_type: 37 };
        let ids = [
            IdRecord { kind: ObjectKind::Map, id: 7, program: None },
            IdRecord { kind: ObjectKind::Program, id: 9, program: Some(loaded) },
        ];
        record.add(&ids[0]).unwrap();
        record.ids.lock().unwrap().write_all(b"{\"kind\":").unwrap();
        record.add(&ids[1]).unwrap();
        fs::write(folder.path().join("starter.sock"), "").unwrap();
        assert_eq!(names(folder.path()), ["a1"]);
        let (again, read, known) = SessionRecord::open(folder.path(), "a1").unwrap();
        assert_eq!((read, known), (client, ids.to_vec()));
        assert!(SessionRecord::create(folder.path(), "a1", &again_client()).is_err());
        again.remove();
        assert!(names(folder.path()).is_empty() && SessionRecord::open(folder.path(), "a1").is_err());
    }

    fn again_client() -> ClientRecord {
        ClientRecord::new(0, 0, Vec::new(), None)
    }
}
