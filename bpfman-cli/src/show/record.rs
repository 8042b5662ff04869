//! The JSON and YAML shapes: an interface of this client, described in `docs/cli.md`.
//!
//! Names are snake case and stay. Fields may be added, never removed or given another meaning. Every field is
//! always there: what is absent is `null`, an empty list or an empty map. Lists and maps are in a fixed order.

use std::collections::BTreeMap;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::attach_info::Info;
use bpfman_proto::v1::bytecode_location::Location;
use bpfman_proto::{APPLICATION_KEY, APPLICATION_KEY_NEWER};
use serde::Serialize;

use crate::args::load::PullPolicy;
use crate::kernel_type;
use crate::verdict;

/// A program.
#[derive(Clone, Debug, Serialize)]
pub struct ProgramRecord {
    /// Kernel id.
    pub program_id: u32,
    /// Whether the daemon loaded it. Of programs of others only `type` and `kernel` say something.
    pub managed: bool,
    /// Exact type (`kretprobe`, `tcx`, ...); of programs of others the kernel's type.
    #[serde(rename = "type")]
    pub program_type: String,
    /// Function name, uncut.
    pub name: String,
    /// Application in the metadata.
    pub application: Option<String>,
    /// `ok`, or what differs between what was asked and what the kernel has.
    pub state: String,
    /// The daemon's own id: never reused, and kept over reboots.
    pub uid: Option<u64>,
    /// Where it came from.
    pub bytecode: Option<BytecodeRecord>,
    /// Metadata given at load.
    pub metadata: BTreeMap<String, String>,
    /// Global variables given at load, as lower case hexadecimal bytes.
    pub global_data: BTreeMap<String, String>,
    /// Function or hook that fentry, fexit and LSM programs were loaded for.
    pub attach_target: Option<String>,
    /// Licence of the object file.
    pub license: Option<String>,
    /// Where the program is pinned.
    pub pin_path: Option<String>,
    /// Folder of its pinned maps.
    pub map_pin_path: Option<String>,
    /// Program whose maps it uses, if asked for.
    pub map_owner_id: Option<u32>,
    /// Kernel ids of the programs that share its maps.
    pub maps_used_by: Vec<u32>,
    /// User id of the process that asked for it.
    pub loaded_by_uid: Option<u32>,
    /// Ids of its attachments.
    pub link_ids: Vec<u32>,
    /// Maps; null in lists.
    pub maps: Option<Vec<MapRecord>>,
    /// Attachments; null in lists.
    pub links: Option<Vec<LinkRecord>>,
    /// What the kernel says.
    pub kernel: Option<KernelRecord>,
    /// The verifier's whole log; only in the answer to a load that asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verifier_log: Option<String>,
}

/// Where a program came from: a file or an image.
#[derive(Clone, Debug, Serialize)]
pub struct BytecodeRecord {
    /// Path of the object file.
    pub path: Option<String>,
    /// Reference of the image.
    pub image_url: Option<String>,
    /// `Always`, `IfNotPresent` or `Never`; of images.
    pub pull_policy: Option<&'static str>,
    /// Digest of the image.
    pub image_digest: Option<String>,
    /// Policy rule and signer that let the image in.
    pub verified_by: Option<String>,
    /// SHA-256 of the object file, hexadecimal.
    pub sha256: Option<String>,
}

/// What the kernel says of a program.
#[derive(Clone, Debug, Serialize)]
pub struct KernelRecord {
    /// Kernel id.
    pub id: u32,
    /// At most 15 bytes.
    pub name: String,
    /// Kernel type in snake case.
    #[serde(rename = "type")]
    pub kernel_type: String,
    /// `enum bpf_prog_type`.
    pub type_number: u32,
    /// RFC 3339.
    pub loaded_at: String,
    /// 16 hexadecimal digits.
    pub tag: String,
    /// Licence allows GPL-only kernel functions.
    pub gpl_compatible: bool,
    /// Kernel ids of its maps.
    pub map_ids: Vec<u32>,
    /// 0 without BTF.
    pub btf_id: u32,
    /// Bytes after the verifier rewrote it.
    pub translated_bytes: u32,
    /// Compiled to machine code.
    pub jited: bool,
    /// Bytes of machine code.
    pub jited_bytes: u32,
    /// Bytes of kernel memory.
    pub memory_bytes: u32,
    /// Instructions the verifier walked through.
    pub verified_instructions: u32,
}

/// A map of a program.
#[derive(Clone, Debug, Serialize)]
pub struct MapRecord {
    /// Kernel id.
    pub id: u32,
    /// Name.
    pub name: String,
    /// `enum bpf_map_type`.
    pub type_number: u32,
    /// Bytes of a key.
    pub key_bytes: u32,
    /// Bytes of a value.
    pub value_bytes: u32,
    /// Entries at most.
    pub max_entries: u32,
    /// Bytes of kernel memory.
    pub memory_bytes: u64,
    /// Where it is pinned.
    pub pin_path: Option<String>,
    /// Kernel ids of the daemon's programs that use it.
    pub used_by: Vec<u32>,
}

/// An attachment.
#[derive(Clone, Debug, Serialize)]
pub struct LinkRecord {
    /// The daemon's own id.
    pub link_id: u32,
    /// Kernel id of the program.
    pub program_id: u32,
    /// Function name of the program.
    pub program_name: String,
    /// Exact type of the program.
    #[serde(rename = "type")]
    pub program_type: String,
    /// The attach point in one line.
    pub attachment: String,
    /// Application of the program.
    pub application: Option<String>,
    /// `ok`, or what differs between what was asked and what the kernel has.
    pub state: String,
    /// The hook as `chain show` takes it.
    pub hook: Option<String>,
    /// Place in the chain, from 0.
    pub position: Option<u32>,
    /// Kernel's link that makes it run.
    pub kernel_link_id: Option<u32>,
    /// Program that the hook runs: this one, or the chain it is part of.
    pub running_program_id: Option<u32>,
    /// Where the kernel's link is pinned.
    pub pin_path: Option<String>,
    /// Metadata of the link.
    pub metadata: BTreeMap<String, String>,
    /// The attach point as it was asked for.
    pub attach: AttachRecord,
}

/// An attach point as it was asked for. Fields that the type does not have are `null` or empty.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AttachRecord {
    /// Network interface.
    pub iface: Option<String>,
    /// `ingress` or `egress`.
    pub direction: Option<String>,
    /// Lower runs earlier.
    pub priority: Option<i32>,
    /// Verdicts after which the next program runs, by name.
    pub proceed_on: Vec<String>,
    /// Network namespace file.
    pub netns: Option<String>,
    /// `category/name` of a trace point.
    pub tracepoint: Option<String>,
    /// Function that a probe is on.
    pub fn_name: Option<String>,
    /// Bytes from the function's start.
    pub offset: Option<u64>,
    /// Binary or library of a user-space probe.
    pub target: Option<String>,
    /// Only this process.
    pub pid: Option<i32>,
    /// Process whose view of files counts.
    pub container_pid: Option<i32>,
}

/// An empty string on the wire is an absent value.
fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Lower case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The application that a program's metadata names, under either of its keys.
#[must_use]
pub fn application<'a>(get: impl Fn(&str) -> Option<&'a String>) -> Option<String> {
    get(APPLICATION_KEY).or_else(|| get(APPLICATION_KEY_NEWER)).cloned()
}

impl From<&v1::KernelProgramInfo> for KernelRecord {
    fn from(kernel: &v1::KernelProgramInfo) -> Self {
        Self {
            id: kernel.id,
            name: kernel.name.clone(),
            kernel_type: kernel_type::name(kernel.program_type),
            type_number: kernel.program_type,
            loaded_at: kernel.loaded_at.clone(),
            tag: kernel.tag.clone(),
            gpl_compatible: kernel.gpl_compatible,
            map_ids: kernel.map_ids.clone(),
            btf_id: kernel.btf_id,
            translated_bytes: kernel.bytes_xlated,
            jited: kernel.jited,
            jited_bytes: kernel.bytes_jited,
            memory_bytes: kernel.bytes_memlock,
            verified_instructions: kernel.verified_insns,
        }
    }
}

impl From<&ext::Map> for MapRecord {
    fn from(map: &ext::Map) -> Self {
        Self {
            id: map.id,
            name: map.name.clone(),
            type_number: map.map_type,
            key_bytes: map.key_size,
            value_bytes: map.value_size,
            max_entries: map.max_entries,
            memory_bytes: map.bytes_memlock,
            pin_path: filled(&map.pin_path),
            used_by: map.used_by.clone(),
        }
    }
}

impl From<&ext::Program> for ProgramRecord {
    fn from(program: &ext::Program) -> Self {
        let info = program.info.clone().unwrap_or_default();
        let kernel = program.kernel_info.as_ref().map(KernelRecord::from);
        let managed = program.info.is_some();
        let kernel_name = || kernel.as_ref().map(|kernel| kernel.name.clone()).unwrap_or_default();
        let kernel_type = || kernel.as_ref().map(|kernel| kernel.kernel_type.clone()).unwrap_or_default();
        let metadata: BTreeMap<_, _> = info.metadata.into_iter().collect();
        Self {
            program_id: kernel.as_ref().map_or(0, |kernel| kernel.id),
            managed,
            program_type: if managed { program.program_type.clone() } else { kernel_type() },
            name: if managed { info.name } else { kernel_name() },
            application: application(|key| metadata.get(key)),
            state: if program.state.is_empty() { "ok".to_owned() } else { program.state.clone() },
            uid: managed.then_some(program.uid),
            bytecode: info.bytecode.and_then(|bytecode| BytecodeRecord::of(bytecode.location?, program)),
            metadata,
            global_data: info.global_data.iter().map(|(name, value)| (name.clone(), hex(value))).collect(),
            attach_target: filled(&program.attach_target),
            license: filled(&program.license),
            pin_path: filled(&program.pin_path),
            map_pin_path: filled(&info.map_pin_path),
            map_owner_id: info.map_owner_id,
            maps_used_by: info.map_used_by.iter().filter_map(|id| id.parse().ok()).collect(),
            loaded_by_uid: program.loaded_by_uid,
            link_ids: info.links,
            maps: Some(program.maps.iter().map(MapRecord::from).collect()),
            links: Some(program.links.iter().map(LinkRecord::from).collect()),
            kernel,
            verifier_log: None,
        }
    }
}

impl ProgramRecord {
    /// A program as a list has it: the daemon leaves out what makes lists long.
    #[must_use]
    pub fn listed(program: &ext::Program) -> Self {
        Self { maps: None, links: None, ..Self::from(program) }
    }
}

impl BytecodeRecord {
    /// What the wire says of a location, with what the daemon found out about it.
    fn of(location: Location, program: &ext::Program) -> Option<Self> {
        let empty = Self {
            path: None,
            image_url: None,
            pull_policy: None,
            image_digest: filled(&program.image_digest),
            verified_by: filled(&program.verified_by),
            sha256: filled(&program.bytecode_sha256),
        };
        Some(match location {
            Location::File(path) => Self { path: Some(path), ..empty },
            Location::Image(image) => Self {
                image_url: Some(image.url),
                pull_policy: Some(PullPolicy::name(image.image_pull_policy)),
                ..empty
            },
        })
    }
}

impl From<&ext::Link> for LinkRecord {
    fn from(link: &ext::Link) -> Self {
        let info = link.attach_info.as_ref().and_then(|attach| attach.info.as_ref());
        Self {
            link_id: link.id,
            program_id: link.program_id,
            program_name: link.program_name.clone(),
            program_type: link.program_type.clone(),
            attachment: link.attachment.clone(),
            application: filled(&link.application),
            state: if link.state.is_empty() { "ok".to_owned() } else { link.state.clone() },
            hook: filled(&link.hook),
            position: link.position,
            kernel_link_id: link.kernel_link_id,
            running_program_id: link.running_program_id,
            pin_path: filled(&link.pin_path),
            metadata: link.metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            attach: info.map(AttachRecord::from).unwrap_or_default(),
        }
    }
}

impl From<&Info> for AttachRecord {
    fn from(info: &Info) -> Self {
        match info {
            Info::XdpAttachInfo(xdp) => Self {
                iface: filled(&xdp.iface),
                priority: Some(xdp.priority),
                proceed_on: verdict::names(verdict::XDP, &xdp.proceed_on, verdict::XDP_DEFAULT),
                netns: xdp.netns.clone(),
                ..Self::default()
            },
            Info::TcAttachInfo(tc) => Self {
                iface: filled(&tc.iface),
                direction: filled(&tc.direction),
                priority: Some(tc.priority),
                proceed_on: verdict::names(verdict::TC, &tc.proceed_on, verdict::TC_DEFAULT),
                netns: tc.netns.clone(),
                ..Self::default()
            },
            Info::TcxAttachInfo(tcx) => Self {
                iface: filled(&tcx.iface),
                direction: filled(&tcx.direction),
                priority: Some(tcx.priority),
                netns: tcx.netns.clone(),
                ..Self::default()
            },
            Info::TracepointAttachInfo(tracepoint) => {
                Self { tracepoint: filled(&tracepoint.tracepoint), ..Self::default() }
            }
            Info::KprobeAttachInfo(kprobe) => Self {
                fn_name: filled(&kprobe.fn_name),
                offset: Some(kprobe.offset),
                container_pid: kprobe.container_pid,
                ..Self::default()
            },
            Info::UprobeAttachInfo(uprobe) => Self {
                fn_name: uprobe.fn_name.as_deref().and_then(filled),
                offset: Some(uprobe.offset),
                target: filled(&uprobe.target),
                pid: uprobe.pid,
                container_pid: uprobe.container_pid,
                ..Self::default()
            },
            Info::FentryAttachInfo(_) | Info::FexitAttachInfo(_) | Info::LsmAttachInfo(_) => Self::default(),
        }
    }
}
