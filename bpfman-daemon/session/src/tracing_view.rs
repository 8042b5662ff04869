//! A view of tracefs for users: an instance in which every user can read the ids and formats of events.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

const TRACEFS: &str = "/sys/kernel/tracing";
const INSTANCE: &str = "instances/bpfman-sessions";
/// Files of an event that programs read.
const READ: [&str; 2] = ["id", "format"];
/// Lists of names, which only the machine's tracefs has, not an instance.
pub const LISTS: [&str; 2] = ["available_events", "available_filter_functions"];
/// Files beside the events, without which `perf record` stores no tracepoints.
const HEADERS: [&str; 2] = ["header_page", "header_event"];

/// Returns the folder of the view, which is made once per boot; `None` if there is no tracefs.
///
/// Only root can enter the folder of tracefs. A command sees the instance and the lists through its own mounts.
pub fn open() -> io::Result<Option<PathBuf>> {
    let folder = Path::new(TRACEFS).join(INSTANCE);
    if !Path::new(TRACEFS).join("instances").is_dir() {
        return Ok(None);
    }
    match fs::create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for list in LISTS {
        add(&Path::new(TRACEFS).join(list), 0o444)?;
    }
    for file in HEADERS {
        add(&folder.join("events").join(file), 0o444)?;
    }
    // The folder's own mode is set last, so that it shows whether the rest is done.
    if fs::metadata(&folder)?.mode() & 0o005 != 0o005 {
        let events = folder.join("events");
        for category in folders(&events)? {
            for event in folders(&category)? {
                for file in READ {
                    add(&event.join(file), 0o444)?;
                }
                add(&event, 0o555)?;
            }
            add(&category, 0o555)?;
        }
        add(&events, 0o555)?;
        add(&folder, 0o555)?;
    }
    Ok(Some(folder))
}

fn folders(of: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(of)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Adds permissions to a file. A missing one is skipped: some events have no id.
fn add(path: &Path, mode: u32) -> io::Result<()> {
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    fs::set_permissions(path, fs::Permissions::from_mode(found.mode() & 0o7777 | mode))
}
