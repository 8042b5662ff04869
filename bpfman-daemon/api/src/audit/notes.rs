//! Notes for the journal entry of the call that the current task works for.

use std::fmt::Display;
use std::sync::Arc;

use bpfman_model::{
    AttachPoint, AttachRequest, BytecodeSource, HookKind, Interface, LinkId, LoadRequest, MatchingId, Owner,
    Peer, ProgramId,
};
use bpfman_proto::Method;
use bpfmand_access::By;
use bpfmand_engine::{ProgramDetails, RecordSummary, SourceRecord, WantedMap};
use bpfmand_journal::HistoryEntry;
use tonic::{Code, Status};

use super::{CALL, Call, CallFacts};
use crate::status::denied;

fn note(note: impl FnOnce(&mut CallFacts)) {
    // Calls that do not come from a socket have no entry.
    let _by_nobody = CALL.try_with(|call| note(&mut call.about()));
}

fn note_entry(noted: impl FnOnce(&mut HistoryEntry)) {
    note(|about| noted(&mut about.entry));
}

/// Leaves recording the entry to the caller, because the work continues after the answer began. Returns the call.
pub(crate) fn defer_entry() -> Option<Arc<Call>> {
    note(|about| about.is_continued = true);
    CALL.try_with(Arc::clone).ok()
}

pub(crate) fn method() -> Option<Method> {
    CALL.try_with(|call| call.method).ok().flatten()
}

pub(crate) fn allowed_by(by: &By) {
    note_entry(|entry| entry.grant = by.to_string());
}

pub(crate) fn owner(owner: &Owner) {
    let owner = owner.to_string();
    note_entry(|entry| {
        if !entry.owners.contains(&owner) {
            entry.owners.push(owner);
        }
    });
}

/// Returns the calling process.
///
/// # Errors
/// The process cannot be identified.
pub(crate) fn caller() -> Result<Peer, Status> {
    peer().ok_or_else(|| denied("the calling process cannot be identified"))
}

pub(crate) fn peer() -> Option<Peer> {
    CALL.try_with(|call| call.peer.clone()).ok()
}

pub(crate) fn object(what: impl Display) {
    note_entry(|entry| entry.object = what.to_string());
}

pub(crate) fn program(id: ProgramId) {
    object(format_args!("program {id}"));
    note_entry(|entry| entry.programs.push(id.0));
}

pub(crate) fn link(id: LinkId) {
    object(format_args!("link {id}"));
    note_entry(|entry| entry.links.push(id.0));
}

pub(crate) fn matching(id: MatchingId) {
    object(format_args!("matching {id}"));
}

pub(crate) fn about_program(was: RecordSummary) {
    note_entry(|entry| entry.before = was.text);
}

pub(crate) fn about_link(was: RecordSummary) {
    note_entry(|entry| {
        entry.programs.extend(was.program.map(|id| id.0));
        entry.hooks.extend(was.hook);
        entry.before = was.text;
    });
}

pub(crate) fn now(is: RecordSummary) {
    note_entry(|entry| entry.after = is.text);
}

pub(crate) fn load(request: &LoadRequest) {
    let names: Vec<&str> = request.programs.iter().map(|program| program.name.as_str()).collect();
    object(format_args!("{} {}", named(&request.source), names.join(" ")));
}

pub(crate) fn replacement(programs: &[ProgramId], source: &BytecodeSource) {
    let ids: Vec<String> = programs.iter().map(ToString::to_string).collect();
    object(format_args!("program {} by {}", ids.join(" "), named(source)));
    note_entry(|entry| entry.programs.extend(programs.iter().map(|id| id.0)));
}

pub(crate) fn source(source: &BytecodeSource) {
    object(named(source));
}

fn named(source: &BytecodeSource) -> String {
    match source {
        BytecodeSource::File(path) => format!("file {}", path.display()),
        BytecodeSource::Image { url, .. } => format!("image {url}"),
    }
}

pub(crate) fn attach(request: &AttachRequest) {
    object(format_args!("program {} at {}", request.program, place(&request.point)));
    note_entry(|entry| {
        entry.programs.push(request.program.0);
        entry.hooks.extend(request.point.hook().map(|(interface, kind)| kind.at(interface)));
    });
}

fn place(point: &AttachPoint) -> String {
    let kind = point.type_name();
    let mut text = match point {
        // The load determines the target, so the type suffices.
        _ if point.is_of_load() => kind.to_owned(),
        _ => format!("{kind} {point}"),
    };
    if let Some((interface, _)) = point.hook() {
        text.extend(interface.netns.as_ref().map(|netns| format!(" in {}", netns.display())));
    }
    if let AttachPoint::Uprobe { offset, .. } = point {
        text.push_str(&format!(" offset {offset}"));
    }
    if let AttachPoint::Uprobe { scope, .. }
    | AttachPoint::UprobeMulti { scope, .. }
    | AttachPoint::Usdt { scope, .. } = point
    {
        text.extend(scope.pid.map(|pid| format!(" pid {pid}")));
        text.extend(scope.container_pid.map(|pid| format!(" as process {pid} sees it")));
    }
    text
}

pub(crate) fn map(wanted: &WantedMap) {
    match wanted {
        WantedMap::Id(id) => object(format_args!("map {id}")),
        WantedMap::OfProgram { program, name } => {
            object(format_args!("map {name} of program {program}"));
        }
    }
}

pub(crate) fn hook(interface: &Interface, kind: HookKind) {
    let netns = interface.netns.as_ref().map(|netns| format!(" in {}", netns.display()));
    object(format_args!("{} {}{}", kind.name(), interface.name, netns.unwrap_or_default()));
    note_entry(|entry| entry.hooks.push(kind.at(interface)));
}

pub(crate) fn origin(digest: String, rule: String) {
    note_entry(|entry| (entry.digest, entry.rule) = (digest, rule));
}

pub(crate) fn made(what: impl Display) {
    note_entry(|entry| entry.made = what.to_string());
}

pub(crate) fn made_link(id: LinkId) {
    made(format_args!("link {id}"));
    note_entry(|entry| entry.links.push(id.0));
}

/// Notes a failure of a call that returns an answer instead of a status.
pub(crate) fn failed(code: i32, why: &str) {
    note(|about| about.failed = Some((Code::from_i32(code), why.to_owned())));
}

pub(crate) fn programs<'p>(programs: impl IntoIterator<Item = &'p ProgramDetails>) {
    let (mut names, mut ids, mut origin) = (Vec::new(), Vec::new(), None);
    for program in programs {
        if let Some(managed) = &program.managed {
            names.push(format!("program {} {}", program.id, managed.record.name));
            ids.push(program.id.0);
            origin = Some(match &managed.record.source {
                SourceRecord::Image { digest, verified_by, .. } => (digest.clone(), verified_by.clone()),
                _ => (format!("sha256:{}", managed.record.bytecode_sha256()), String::new()),
            });
        }
    }
    let (digest, rule) = origin.unwrap_or_default();
    note_entry(|entry| {
        (entry.made, entry.digest, entry.rule) = (names.join(", "), digest, rule);
        entry.programs.extend(ids);
    });
}
