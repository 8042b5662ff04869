//! Records of sessions, from which a restarted daemon continues them. They are on a tmpfs: sessions do not survive a reboot.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bpfman_model::Peer;
use bpfmand_calls::ObjectKind;
use serde::{Deserialize, Serialize};

use crate::admission::AdmittedCommand;
use crate::lasting::LastingRecord;
use crate::map_maker::{self, MapMaker};
use crate::session::{RawProgram, SessionFacts};

const CLIENT: &str = "session";
const IDS: &str = "ids";
/// Extension of the file with ids while it is being replaced.
const NEW_IDS: &str = "new-ids";
/// Maximum number of lines that are added to a file before it is replaced.
const MAX_LINES: usize = 8192;
/// Extension of the folder with pins that stay.
const PINS: &str = "pins";
/// Extension of the receiver's socket.
pub const SOCKET: &str = "sock";

/// Client of a session, as the kernel knew it at the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRecord {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub grant: Option<String>,
    pub unit: Option<String>,
    /// Seconds since 1970.
    started: u64,
}

impl ClientRecord {
    pub fn new(peer: &Peer, grant: Option<String>) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let unit = peer.unit().map(str::to_owned);
        Self { uid: peer.uid, gid: peer.gid, groups: peer.groups.clone(), grant, unit, started }
    }

    pub fn into_facts(self, name: &str, peer: Peer, receiver: u32) -> SessionFacts {
        let (name, started) = (name.to_owned(), self.started());
        SessionFacts { name, peer, grant: self.grant, unit: self.unit, started, receiver }
    }

    pub fn started(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.started)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRecord {
    pub kind: ObjectKind,
    pub id: u32,
    pub program: Option<RawProgram>,
    /// Memory of a full map, or size of types (BTF), in bytes.
    #[serde(default)]
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RecordLine {
    Object(IdRecord),
    Command { command: AdmittedCommand },
    Attached { attached: LastingRecord },
    Detached { detached: LastingRecord },
}

/// Open file with ids, and the number of lines that were added to it.
#[derive(Debug)]
struct IdFile {
    file: fs::File,
    lines: usize,
}

fn bytes_of(line: &RecordLine) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line)?;
    // Begins a line: the one before may be incomplete.
    bytes.insert(0, b'\n');
    bytes.push(b'\n');
    Ok(bytes)
}

#[derive(Debug)]
pub struct SessionRecord {
    folder: PathBuf,
    name: String,
    ids: Mutex<IdFile>,
}

fn path(folder: &Path, name: &str, extension: &str) -> PathBuf {
    folder.join(format!("{name}.{extension}"))
}

impl SessionRecord {
    /// Writes the record of a session that begins.
    pub fn create(folder: &Path, name: &str, client: &ClientRecord) -> io::Result<Self> {
        let mut options = fs::File::options();
        options.write(true).create_new(true).mode(0o600);
        let file = options.clone().append(true).open(path(folder, name, IDS))?;
        let ids = Mutex::new(IdFile { file, lines: 0 });
        options.open(path(folder, name, CLIENT))?.write_all(&serde_json::to_vec(client)?)?;
        Ok(Self { folder: folder.to_owned(), name: name.to_owned(), ids })
    }

    /// Reads the record of a session. A line that a killed daemon left incomplete is skipped: its object ended with it.
    pub fn open(folder: &Path, name: &str) -> io::Result<(Self, ClientRecord, Vec<RecordLine>)> {
        let client = serde_json::from_slice(&fs::read(path(folder, name, CLIENT))?)?;
        let text = fs::read_to_string(path(folder, name, IDS))?;
        let known = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let file = fs::File::options().append(true).open(path(folder, name, IDS))?;
        let ids = Mutex::new(IdFile { file, lines: 0 });
        Ok((Self { folder: folder.to_owned(), name: name.to_owned(), ids }, client, known))
    }

    /// Adds an object or attachment, before its command gets it. A long file mostly describes objects that are gone: it is
    /// replaced by the `known` lines.
    pub fn add(&self, line: &RecordLine, known: impl FnOnce() -> Vec<RecordLine>) -> io::Result<()> {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.file.write_all(&bytes_of(line)?)?;
        ids.lines += 1;
        if ids.lines <= MAX_LINES {
            return Ok(());
        }
        let (file, new) = (path(&self.folder, &self.name, IDS), path(&self.folder, &self.name, NEW_IDS));
        let known: Vec<Vec<u8>> = known().iter().map(bytes_of).collect::<io::Result<_>>()?;
        fs::write(&new, known.concat())?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
        let again = fs::File::options().append(true).open(&new)?;
        fs::rename(&new, &file)?;
        *ids = IdFile { file: again, lines: 0 };
        Ok(())
    }

    /// Returns the process that makes the session's maps, which is not connected yet.
    pub fn map_maker(&self) -> MapMaker {
        MapMaker::of(&self.folder, &self.name)
    }

    /// Removes the files, with the sockets.
    pub fn remove(&self) {
        remove(&self.folder, &self.name);
    }
}

/// Removes the files of a session.
pub fn remove(folder: &Path, name: &str) {
    for extension in [CLIENT, IDS, NEW_IDS, SOCKET, map_maker::SOCKET] {
        let _absent = fs::remove_file(path(folder, name, extension));
    }
}

/// Returns the names of all sessions with a record or a folder of pins.
pub fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| {
        let path = PathBuf::from(entry.file_name());
        let is_session = path.extension().is_some_and(|extension| extension == CLIENT || extension == PINS);
        path.file_stem().and_then(|stem| stem.to_str()).filter(|_| is_session).map(str::to_owned)
    });
    names.collect()
}

pub fn has_pins(folder: &Path, name: &str) -> bool {
    path(folder, name, PINS).exists()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::held_place::HeldPlace;
    use crate::lasting::LastingPlace;

    #[test]
    fn record_is_read_as_it_was_written_without_an_incomplete_line() {
        let folder = tempfile::tempdir().unwrap();
        let peer = Peer { uid: 1000, gid: 100, groups: vec![4], ..Peer::default() };
        let client = ClientRecord::new(&peer, Some("tools".to_owned()));
        let record = SessionRecord::create(folder.path(), "a1", &client).unwrap();
        let loaded = RawProgram { program_type: 6, attach_type: 37 };
        let attached = LastingRecord {
            program: 9,
            place: LastingPlace::Call { attach_type: 1, interface: 0 },
            held: HeldPlace::Map(3),
        };
        let ids = [
            RecordLine::Object(IdRecord { kind: ObjectKind::Map, id: 7, program: None, bytes: 64 }),
            RecordLine::Object(IdRecord {
                kind: ObjectKind::Program,
                id: 9,
                program: Some(loaded),
                bytes: 0,
            }),
            RecordLine::Command { command: AdmittedCommand::default() },
            RecordLine::Attached { attached: attached.clone() },
            RecordLine::Detached { detached: attached },
        ];
        record.add(&ids[0], Vec::new).unwrap();
        record.ids.lock().unwrap().file.write_all(b"{\"kind\":").unwrap();
        ids[1..].iter().for_each(|line| record.add(line, Vec::new).unwrap());
        fs::write(folder.path().join("starter.sock"), "").unwrap();
        fs::create_dir(folder.path().join("b2.pins")).unwrap();
        assert_eq!(names(folder.path()), ["a1", "b2"].map(str::to_owned).into());
        assert!(has_pins(folder.path(), "b2") && !has_pins(folder.path(), "a1"));
        let (again, read, known) = SessionRecord::open(folder.path(), "a1").unwrap();
        assert_eq!((read, known), (client, ids.to_vec()));
        assert!(SessionRecord::create(folder.path(), "a1", &again_client()).is_err());
        for _ in 0..2 * MAX_LINES {
            again.add(&ids[0], || ids[1..3].to_vec()).unwrap();
        }
        let (again, _, known) = SessionRecord::open(folder.path(), "a1").unwrap();
        assert_eq!(known[..2], ids[1..3]);
        assert!(known.len() < MAX_LINES + 2, "{}", known.len());
        again.remove();
        assert!(!names(folder.path()).contains("a1") && SessionRecord::open(folder.path(), "a1").is_err());
    }

    fn again_client() -> ClientRecord {
        ClientRecord::new(&Peer::default(), None)
    }
}
