//! State of the kernel, read with `bpftool`.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::command::run;
use crate::{Outcome, wait};

fn bpftool(words: &[&str]) -> Outcome {
    Outcome::of(Command::new("bpftool").arg("-j").args(words))
}

#[must_use]
pub fn entry_of(call: &str) -> String {
    let wrapper = if cfg!(target_arch = "aarch64") { "__arm64_sys_" } else { "__x64_sys_" };
    format!("{wrapper}{call}")
}

#[must_use]
pub fn has_program(id: u32) -> bool {
    bpftool(&["prog", "show", "id", &id.to_string()]).code == 0
}

// The following three wait: a listing of all objects, as by another test's daemon, holds each of them for a moment.
pub fn program_ends(id: u32) {
    wait::until("the kernel freed the program", || !has_program(id));
}

pub fn map_ends(id: u32) {
    wait::until("the kernel freed the map", || !has_map(id));
}

pub fn link_ends(id: u32) {
    wait::until("the kernel freed the link", || !has_link(id));
}

#[must_use]
pub fn has_map(id: u32) -> bool {
    bpftool(&["map", "show", "id", &id.to_string()]).code == 0
}

#[must_use]
pub fn has_link(id: u32) -> bool {
    bpftool(&["link", "show", "id", &id.to_string()]).code == 0
}

#[must_use]
pub fn programs_of_group(folder: &Path) -> Vec<u32> {
    let shown = bpftool(&["cgroup", "show", &folder.display().to_string()]).json();
    let ids =
        shown.as_array().into_iter().flatten().map(|program| program["id"].as_u64().unwrap_or_default());
    ids.map(|id| u32::try_from(id).unwrap_or_default()).collect()
}

#[must_use]
pub fn program(id: u32) -> Value {
    bpftool(&["prog", "show", "id", &id.to_string()]).json()
}

#[must_use]
pub fn link(id: u32) -> Value {
    bpftool(&["link", "show", "id", &id.to_string()]).json()
}

#[must_use]
pub fn map(id: u32) -> Value {
    bpftool(&["map", "show", "id", &id.to_string()]).json()
}

#[must_use]
pub fn array_value(map: u32, index: u32) -> u64 {
    let bytes = array_bytes(map, index);
    let mut number = [0; 8];
    number[..bytes.len()].copy_from_slice(&bytes);
    u64::from_le_bytes(number)
}

#[must_use]
pub fn array_bytes(map: u32, index: u32) -> Vec<u8> {
    let id = map.to_string();
    let mut words = vec!["map".to_owned(), "lookup".into(), "id".into(), id, "key".into()];
    words.extend(index.to_ne_bytes().iter().map(u8::to_string));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let entry = bpftool(&words).json();
    entry["value"].as_array().unwrap().iter().map(byte).collect()
}

fn byte(value: &Value) -> u8 {
    let text = value.as_str().unwrap().trim_start_matches("0x");
    u8::from_str_radix(text, 16).unwrap()
}

/// Returns the id of the map with a name. Some ids may be gone: a replaced program keeps only some maps.
#[must_use]
pub fn map_named(ids: &[u32], name: &str) -> u32 {
    let is_named = |id: &u32| has_map(*id) && map(*id)["name"] == name;
    *ids.iter().find(|id| is_named(id)).unwrap_or_else(|| panic!("no map \"{name}\" among {ids:?}"))
}

#[must_use]
pub fn hooks(netns: &Path) -> Value {
    let text = run(&["nsenter", &format!("--net={}", netns.display()), "bpftool", "-j", "net", "show"]);
    serde_json::from_str(&text).unwrap()
}

#[must_use]
pub fn held_by(pid: u32) -> Vec<String> {
    let folder = format!("/proc/{pid}/fd");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    entries
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.display().to_string())
        // Open BTF objects are ignored; only programs, maps and links keep programs alive.
        .filter(|target| {
            target.contains("bpf-prog") || target.contains("bpf-map") || target.contains("bpf_link")
        })
        .collect()
}

#[must_use]
pub fn pins(bpffs: &Path) -> Vec<String> {
    let mut found = Vec::new();
    walk(bpffs, bpffs, &mut found);
    found.sort();
    found
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        // The daemon removed the folder after its parent was read.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => panic!("{}: {error}", folder.display()),
    };
    for entry in entries {
        let entry = entry.unwrap();
        let path = entry.path();
        // Every bpffs contains two iterators of the kernel; their names contain a dot, which names of pins cannot.
        if path.extension().is_some() {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            walk(root, &path, found);
        } else {
            found.push(path.strip_prefix(root).unwrap().display().to_string());
        }
    }
}
