//! Decisions about calls: finds the objects that a call names, which a grant has to cover.

use std::borrow::Cow;
use std::fmt;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::LazyLock;

use bpfman_model::uapi::{attach_type as at, prog_type};
use bpfman_model::{Direction, Glob, HookKind, Interface, Owner, ProgramType};
use bpfmand_access::{AccessObject, AccessPolicy, AccessVerb, Denial, OwnedObject};
use bpfmand_calls::{CallAttr, ObjectKind, command, is_of_interface};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, openat2};

use crate::admission::AdmittedCommand;
use crate::instructions::LoadInstructions;
use crate::session::{BrokeredSession, RawProgram, SessionFacts};

/// Object of a call, which a grant has to cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawObject {
    /// Program type, by the kernel's number.
    Type(u32),
    Hook(HookKind, Interface),
    Target(&'static str, String),
    /// A target that has no name here: a grant has to cover all targets of the kind.
    AnyTarget(&'static str),
    /// An attach point that has no kind here: a grant must not restrict attach points.
    AnyPlace,
    /// A position before or after other programs.
    Position,
    /// Object of another owner.
    Other(ObjectKind, u32),
}

static ALL: LazyLock<Option<Glob>> = LazyLock::new(|| Glob::parse("*").ok());
/// Owner whose objects only a grant over all owners covers.
static ROOT: Owner = Owner::Root;

impl RawObject {
    /// Returns the object as grants name it. `chosen`: one of the program types for which a number of the kernel stands.
    fn in_grants(&self, chosen: Option<ProgramType>) -> Option<AccessObject<'_>> {
        Some(match self {
            Self::Type(number) => match chosen {
                Some(program_type) => AccessObject::Type(program_type),
                None => AccessObject::UnnamedType(*number),
            },
            Self::Hook(kind, interface) => {
                AccessObject::Hook { kind: *kind, interface, in_callers_netns: true }
            }
            Self::Target(kind, name) => AccessObject::Target { kind, name },
            Self::AnyTarget(kind) => return ALL.as_ref().map(|names| AccessObject::Targets { kind, names }),
            Self::AnyPlace => AccessObject::AnyHook,
            Self::Position => AccessObject::Position,
            Self::Other(kind, id) => {
                AccessObject::Owned { thing: OwnedObject::ByKernelId(kind.name(), *id), owner: &ROOT }
            }
        })
    }
}

/// Objects of a granted call, and the name of the program that it loads, as the history shows them.
#[derive(Default)]
pub struct GrantedObjects {
    pub objects: Vec<RawObject>,
    pub program: Option<String>,
}

impl fmt::Display for GrantedObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.objects.iter().filter_map(|object| object.in_grants(None));
        f.write_str(&named.map(|object| object.to_string()).collect::<Vec<_>>().join(", "))?;
        self.program.iter().try_for_each(|name| write!(f, " \"{name}\""))
    }
}

/// Returns the grants that decide about a session.
pub fn policy_of<'a>(facts: &SessionFacts, policy: &'a AccessPolicy) -> Cow<'a, AccessPolicy> {
    match &facts.grant {
        None => Cow::Borrowed(policy),
        Some(name) => Cow::Owned(AccessPolicy {
            grants: policy.grants.iter().filter(|grant| grant.name == *name).cloned().collect(),
            ..AccessPolicy::default()
        }),
    }
}

/// Decides whether one grant of the session covers all objects, and the program that the call loads, if it loads one.
pub fn decide(
    session: &BrokeredSession,
    policy: &AccessPolicy,
    objects: &[RawObject],
    loads: Option<&LoadInstructions<'_>>,
) -> Result<(), Denial> {
    let policy = policy_of(&session.facts, policy);
    let digest = session.command().and_then(AdmittedCommand::digest);
    let asks_for_digest = policy.grants.iter().any(|grant| grant.executables.is_some());
    // Each grant without a list allows any instructions.
    let loads = loads.filter(|_| policy.grants.iter().any(|grant| grant.programs.is_some()));
    let listed = loads.map(|text| text.lists_with(&policy, &session.facts.peer)).unwrap_or_default();
    let mut first = None;
    // A type of the kernel stands for several program types: a grant for any of them is enough.
    for chosen in choices(objects) {
        let executable = asks_for_digest.then_some(AccessObject::Executable(digest));
        let objects: Vec<AccessObject<'_>> = objects
            .iter()
            .filter_map(|object| object.in_grants(chosen))
            .chain(executable)
            .chain(loads.map(|text| AccessObject::Instructions { digest: text.digest(), listed: &listed }))
            .collect();
        match policy.decide(&session.facts.peer, AccessVerb::Raw, &objects) {
            Ok(_) => return Ok(()),
            Err(denial) => {
                first.get_or_insert(denial);
            }
        }
    }
    first.map_or(Ok(()), Err)
}

fn choices(objects: &[RawObject]) -> Vec<Option<ProgramType>> {
    let number = objects.iter().find_map(|object| match object {
        RawObject::Type(number) => Some(*number),
        _ => None,
    });
    let known: Vec<_> =
        ProgramType::ALL.into_iter().filter(|one| number == Some(one.kernel_type())).map(Some).collect();
    if known.is_empty() { vec![None] } else { known }
}

/// Returns the name of an attach type that has its target from the load, by the kernel's number.
const fn load_target(attach_type: u32) -> Option<&'static str> {
    Some(match attach_type {
        at::TRACE_RAW_TP => "tp_btf",
        at::TRACE_FENTRY => "fentry",
        at::TRACE_FEXIT => "fexit",
        at::MODIFY_RETURN => "fmod_ret",
        at::LSM_MAC => "lsm",
        at::TRACE_ITER => "iter",
        at::LSM_CGROUP => "lsm_cgroup",
        _ => return None,
    })
}

/// A call's attribute, and facts about what it names.
pub struct NamedThings<'a> {
    pub attr: &'a CallAttr,
    /// Texts of the call: a tracepoint, or functions.
    pub texts: Vec<String>,
    pub program: Option<RawProgram>,
    /// Name of the interface, if the call is about one.
    pub interface: Option<String>,
    /// Second descriptor of an attachment.
    pub target: Option<&'a OwnedFd>,
}

/// `BPF_MAP_TYPE_DEVMAP` and `BPF_MAP_TYPE_DEVMAP_HASH`.
const DEVICE_MAPS: [u32; 2] = [14, 25];
/// `BPF_MAP_TYPE_STRUCT_OPS`: setting the map's value registers the struct_ops.
const STRUCT_OPS_MAP: u32 = 26;

/// Returns the objects of a call of bpf(2). Includes the type of an attached program, which others may have loaded.
pub fn objects_of(number: u32, named: &NamedThings<'_>) -> Vec<RawObject> {
    let mut objects = places_of(number, named);
    let attaches =
        matches!(number, command::LINK_CREATE | command::PROG_ATTACH | command::RAW_TRACEPOINT_OPEN);
    if let (true, Some(program)) = (attaches, named.program) {
        objects.push(RawObject::Type(program.program_type));
    }
    objects
}

fn places_of(number: u32, named: &NamedThings<'_>) -> Vec<RawObject> {
    let attr = named.attr;
    match number {
        command::PROG_LOAD => vec![RawObject::Type(attr.word(0))],
        command::MAP_CREATE if attr.word(0) == STRUCT_OPS_MAP => vec![RawObject::AnyTarget("struct_ops")],
        // Programs can send packets to each interface of such a map.
        command::MAP_CREATE if DEVICE_MAPS.contains(&attr.word(0)) => vec![RawObject::AnyPlace],
        // The packets of a test run can be sent on.
        command::PROG_TEST_RUN => vec![RawObject::AnyPlace],
        command::ENABLE_STATS => vec![RawObject::AnyPlace],
        command::RAW_TRACEPOINT_OPEN => match (named.texts.first(), named.program) {
            (Some(name), Some(RawProgram { program_type: prog_type::RAW_TRACEPOINT, .. })) => {
                vec![RawObject::Target("raw_tracepoint", name.clone())]
            }
            (_, Some(program)) => vec![of_load(program)],
            (_, None) => vec![RawObject::AnyPlace],
        },
        command::LINK_CREATE | command::PROG_ATTACH | command::PROG_DETACH => {
            place(number, attr.word(8), attr.word(12), named)
        }
        _ => Vec::new(),
    }
}

fn of_load(program: RawProgram) -> RawObject {
    match (program.program_type, load_target(program.attach_type)) {
        (prog_type::TRACING | prog_type::LSM, Some(kind)) => RawObject::AnyTarget(kind),
        (prog_type::EXT, _) => RawObject::AnyTarget("freplace"),
        _ => RawObject::AnyPlace,
    }
}

fn place(number: u32, attach_type: u32, flags: u32, named: &NamedThings<'_>) -> Vec<RawObject> {
    // `BPF_F_REPLACE`, `BPF_F_BEFORE`, `BPF_F_AFTER`, `BPF_F_PREORDER`.
    const ORDERED: u32 = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6;
    let hook = |kind: HookKind| match &named.interface {
        Some(name) => RawObject::Hook(kind, Interface { name: name.clone(), netns: None }),
        None => RawObject::AnyPlace,
    };
    if number == command::LINK_CREATE
        && let Some(
            program @ RawProgram {
                program_type: prog_type::TRACING | prog_type::LSM | prog_type::EXT, ..
            },
        ) = named.program
    {
        return vec![of_load(program)];
    }
    let at = match attach_type {
        at::XDP => hook(HookKind::Xdp),
        at::TCX_INGRESS => hook(HookKind::Tcx(Direction::Ingress)),
        at::TCX_EGRESS => hook(HookKind::Tcx(Direction::Egress)),
        at::NETKIT_PRIMARY | at::NETKIT_PEER => RawObject::AnyTarget("netkit"),
        // The right to the event was checked when it was opened.
        at::PERF_EVENT => return Vec::new(),
        at::TRACE_KPROBE_MULTI | at::TRACE_KPROBE_SESSION if named.texts.is_empty() => {
            RawObject::AnyTarget("kprobe")
        }
        at::TRACE_KPROBE_MULTI | at::TRACE_KPROBE_SESSION => {
            return named.texts.iter().map(|name| RawObject::Target("kprobe", name.clone())).collect();
        }
        at::TRACE_UPROBE_MULTI | at::TRACE_UPROBE_SESSION => {
            let file = named.target.and_then(file_name);
            file.map_or(RawObject::AnyTarget("uprobe"), |file| RawObject::Target("uprobe", file))
        }
        at::NETFILTER => RawObject::AnyTarget("netfilter"),
        at::STRUCT_OPS => RawObject::AnyTarget("struct_ops"),
        at::SK_SKB_STREAM_PARSER | at::SK_SKB_STREAM_VERDICT | at::SK_MSG_VERDICT | at::SK_SKB_VERDICT => {
            RawObject::AnyTarget("sockmap")
        }
        at::FLOW_DISSECTOR | at::SK_LOOKUP => RawObject::AnyTarget("netns"),
        _ => named
            .target
            .and_then(group_name)
            .map_or(RawObject::AnyPlace, |group| RawObject::Target("cgroup", group)),
    };
    let mut objects = vec![at];
    if flags & ORDERED != 0
        && (is_of_interface(attach_type) || matches!(objects[0], RawObject::Target("cgroup", _)))
    {
        objects.push(RawObject::Position);
    }
    objects
}

/// Returns the path of a file if it leads to the same file for the daemon: the caller may have other mounts.
pub fn file_name(file: &OwnedFd) -> Option<String> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    // A link by this name would lead to any file that its owner chooses.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let named = openat2(CWD, &path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).ok()?;
    let identity = |file: &OwnedFd| fstat(file).map(|found| (found.st_dev, found.st_ino));
    let is_it = identity(&named).ok()? == identity(file).ok()?;
    is_it.then(|| path.to_str().map(str::to_owned)).flatten()
}

fn group_name(folder: &OwnedFd) -> Option<String> {
    let name = file_name(folder)?;
    // Only cgroups are folders that a program can be attached to.
    Path::new(&name).is_dir().then_some(name)
}

/// Returns the kind of object that a command names by id, and whether it is to return the next id.
pub const fn kind_by_id(number: u32) -> Option<(ObjectKind, bool)> {
    Some(match number {
        command::PROG_GET_NEXT_ID => (ObjectKind::Program, true),
        command::MAP_GET_NEXT_ID => (ObjectKind::Map, true),
        command::BTF_GET_NEXT_ID => (ObjectKind::Btf, true),
        command::LINK_GET_NEXT_ID => (ObjectKind::Link, true),
        command::PROG_GET_FD_BY_ID => (ObjectKind::Program, false),
        command::MAP_GET_FD_BY_ID => (ObjectKind::Map, false),
        command::BTF_GET_FD_BY_ID => (ObjectKind::Btf, false),
        command::LINK_GET_FD_BY_ID => (ObjectKind::Link, false),
        _ => return None,
    })
}
