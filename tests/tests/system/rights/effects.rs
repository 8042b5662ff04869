//! Effects of allowed calls: a change, an error about this object, or an answer that shows the object.

use tonic::{Code, Status};

use super::principals::Principal;
use super::table::{Foreign, Row};
use super::things::{SHARED, Things, UNCOVERED};

#[derive(Debug)]
pub enum Effect {
    /// Kinds of removed and new objects, by owner.
    Changes(String),
    Fails(Code, &'static str),
    Says(String),
}

impl Effect {
    fn changes(text: &str) -> Self {
        Self::Changes(text.to_owned())
    }

    fn says(text: &str) -> Self {
        assert_ne!(text, "", "every answer has an empty text");
        Self::Says(text.to_owned())
    }

    pub fn assert(
        &self,
        cell: &str,
        (caller, other): (Principal, Option<Principal>),
        answer: &Result<String, Status>,
        changes: &str,
    ) {
        match (self, answer) {
            (Self::Changes(expected), Ok(_)) => {
                assert_eq!(roles(changes, caller, other, expected), *expected, "{cell}");
            }
            (Self::Fails(code, says), Err(error)) => {
                assert!(error.code() == *code && error.message().contains(says), "{cell}: {error}");
            }
            (Self::Says(says), Ok(text)) => assert!(has(text, says), "{cell}: not \"{says}\": {text:.900}"),
            _ => panic!("{cell}: not {self:?}: {answer:?}"),
        }
    }
}

/// Searches a text; a number must be a word of its own, since short ids occur inside other numbers.
fn has(text: &str, says: &str) -> bool {
    match says.parse::<u32>() {
        Ok(_) => text.split(|one: char| !one.is_ascii_alphanumeric()).any(|word| word == says),
        Err(_) => text.contains(says),
    }
}

/// Leaves out pins, positions in chains, settings and maps, which follow from links and programs.
fn roles(changes: &str, caller: Principal, other: Option<Principal>, expected: &str) -> String {
    let role = |change: &str| {
        let Some((kind, owner)) = change.split_once(" of ") else {
            return expected.split(", ").any(|one| one == change).then(|| change.to_owned());
        };
        let owner = match Some(owner) {
            owner if other.is_some_and(|other| other.owner() == owner) => "theirs",
            owner if caller.owner() == owner => "own",
            _ => owner,
        };
        Some(format!("{kind} {owner}"))
    };
    changes.split(", ").filter_map(role).collect::<Vec<_>>().join(", ")
}

pub fn shown(row: &Row, foreign: Foreign, theirs: &Things) -> Effect {
    let name = row.call.rsplit_once('/').unwrap().1;
    let text = match (name, foreign) {
        ("InspectImage", _) => return Effect::Fails(Code::NotFound, "is not in the cache"),
        ("ListStrays", _) => "strays: []".to_owned(),
        ("ListImages", _) => "images: []".to_owned(),
        ("FindContainers", _) => "containers: []".to_owned(),
        ("Examine", _) => "findings: []".to_owned(),
        ("SurveyRadar", _) => "source: \"off\"".to_owned(),
        ("Watch", _) => "Streaming".to_owned(),
        ("Explain", Foreign::Program | Foreign::Link) => "xdp_member".to_owned(),
        ("ShowChain", Foreign::Bytecode) => "image_digest".to_owned(),
        ("ListHooks", Foreign::Program | Foreign::Link) => format!("xdp:{SHARED}"),
        ("List" | "ListPrograms" | "Get" | "GetProgram", Foreign::Interface) => theirs.elsewhere.to_string(),
        ("ListMatching", Foreign::Link) => theirs.matching.to_string(),
        ("ListMatching", Foreign::Interface) => theirs.interface.clone(),
        (_, Foreign::Program) => theirs.program.to_string(),
        (_, Foreign::Link) => theirs.link.to_string(),
        (_, Foreign::Map) => theirs.map.to_string(),
        (_, Foreign::Bytecode) => theirs.file.display().to_string(),
        (_, Foreign::Interface) => UNCOVERED.to_owned(),
        _ => SHARED.to_owned(),
    };
    Effect::Says(text)
}

/// Expected effect of a call whose verb the caller has; `foreign` is the part that belongs to another owner.
pub fn effect(
    row: &Row,
    foreign: Option<Foreign>,
    caller: Principal,
    other: Principal,
    own: &Things,
) -> Effect {
    use Foreign::{Application, Bytecode, Interface, Link, Map, Program, Type};
    let (service, name) = row.call.rsplit_once('/').unwrap();
    let is_published = service.ends_with(".Bpfman");
    let whose = if matches!(foreign, Some(Program | Link)) { "theirs" } else { "own" };
    match (name, foreign) {
        ("Load", Some(Program)) => Effect::Fails(Code::InvalidArgument, "is declared as freplace"),
        ("Load" | "ReplaceLoad", Some(Type)) => {
            Effect::Fails(Code::InvalidArgument, "is declared as tracepoint")
        }
        ("Load", Some(Application)) => {
            Effect::changes("+maps application:bank/filter, +program application:bank/filter")
        }
        ("Load", _) => Effect::changes("+maps own, +program own"),
        ("Unload", _) => {
            Effect::Changes(format!("-link {whose}, -maps {whose}, -matching {whose}, -program {whose}"))
        }

        ("Attach", Some(Program)) if other.claim().is_some() => Effect::changes("+link theirs"),
        ("Attach", Some(Program)) => Effect::changes("+link own"),
        ("Attach", _) if is_published => Effect::changes("+link own"),
        ("Attach", _) => Effect::Fails(Code::FailedPrecondition, "is already attached at"),
        ("Detach", _) => Effect::Changes(format!("-link {whose}")),
        ("UpdateLink", _) => Effect::Changes(format!("-link {whose}, +link {whose}")),
        ("AttachMatching", _) => Effect::Changes(format!("+matching {whose}")),
        ("DetachMatching", _) => Effect::Changes(format!("-matching {whose}")),
        ("ReplaceLoad", Some(Map)) => {
            Effect::Fails(Code::InvalidArgument, "cannot share the maps of program")
        }
        ("ReplaceProgram" | "ReplaceLoad", Some(Interface)) => {
            // Root attached the program at this interface.
            let links = match (caller, other) {
                (Principal::Root, _) => "own",
                (_, Principal::Root) => "theirs",
                _ => "root",
            };
            Effect::Changes(format!(
                "-link {links}, -maps own, -program own, +link {links}, +maps own, +program own"
            ))
        }
        ("ReplaceProgram" | "ReplaceLoad", _) => Effect::Changes(format!(
            "-link {whose}, -maps {whose}, -matching {whose}, -program {whose}, +link {whose}, +maps {whose}, \
             +matching {whose}, +program {whose}"
        )),
        ("RollbackProgram", _) => Effect::Fails(Code::FailedPrecondition, "has no earlier version"),
        ("SetHook", _) => Effect::changes("-settings, +settings"),
        ("SetMapEntry", _) => Effect::changes("-map, +map"),
        ("DeleteMapEntries", _) => {
            Effect::Fails(Code::InvalidArgument, "the entries of an array are always there")
        }
        ("Pull" | "PullBytecode" | "VerifyImage", _) => {
            Effect::Fails(Code::Unavailable, "cannot be fetched from the registry")
        }
        ("ReadIterator", _) => Effect::Fails(Code::InvalidArgument, "only those of type iter can be read"),
        ("Adopt", _) => Effect::Fails(Code::Aborted, "cannot open pin"),
        ("RemoveStray", _) => Effect::Fails(Code::NotFound, "there is no stray"),
        ("ImportImages", _) => Effect::Fails(Code::Internal, "no-layout: No such file"),
        ("List", _) if service.ends_with("BpfmanSessions") => Effect::says("sessions: []"),
        ("Remove", _) if caller == Principal::Scoped => Effect::Fails(Code::PermissionDenied, "may not raw"),
        ("Remove", _) => Effect::Fails(Code::NotFound, "no session \"none\" left anything"),
        ("Start", _) if caller == Principal::Root => {
            Effect::Fails(Code::InvalidArgument, "root needs no session")
        }
        ("Start", _) if caller == Principal::Scoped => Effect::Fails(Code::PermissionDenied, "may not raw"),
        ("Start", _) => Effect::Fails(Code::Unimplemented, "the starter of sessions does not listen"),
        ("StartRadar", _) => Effect::Fails(Code::Internal, "the radar is not switched"),
        ("DryRun", Some(Program | Type)) => Effect::says("accepted: false"),
        // The agent may load only its own files; a file of another owner is none.
        ("DryRun", Some(Bytecode)) if caller == Principal::Agent => Effect::says("accepted: false"),
        ("DryRun", _) => Effect::says("accepted: true"),
        ("VerifyChain", _) => Effect::says("matches: true"),
        ("TraceChain", _) => Effect::says("program_name: \"xdp_member\""),
        ("TimeMembers", _) => Effect::says("TimeMembersEvent"),
        ("FollowPrints", _) => Effect::says("Streaming"),
        ("PruneImages", _) => Effect::says("images: []"),
        ("OpenForReading" | "OpenForWriting", _) => Effect::says("name: \"hits\""),
        ("ReadMap", _) => Effect::says("MapContent"),
        ("DumpMap", _) => Effect::says("DumpMapResponse"),
        ("GetMapEntry", _) => Effect::says("value: Some(["),
        ("StopRadar", _) => Effect::says("StopRadarResponse"),
        ("HoldLease", _) => Effect::says("LeaseEvent"),
        ("Info", _) => Effect::says("kernel_release"),
        ("Features", _) => Effect::says("features: ["),
        ("CheckProvenance", _) => Effect::says("findings: []"),
        ("History", _) => Effect::says("HistoryResponse"),
        ("FollowEvents", _) => Effect::says("FollowEventsResponse"),
        ("WhoAmI", _) => Effect::Says(format!("uid: {},", caller.user())),
        ("CanI", _) => Effect::says("allowed: true"),
        _ => {
            let shows = row.foreign().next().unwrap_or_else(|| panic!("say here what {name} does"));
            shown(row, shows, own)
        }
    }
}
