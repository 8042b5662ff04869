//! The shape of a program.

use std::collections::BTreeMap;

use bpfman_apply::content::hexadecimal;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::bytecode_location::Location;
use serde::Serialize;

use super::link::LinkJson;
use super::{application, filled};
use crate::args::load::PullPolicyFlag;
use crate::kernel_type;
use crate::show::json_shape::json_shape;
use crate::show::standing::{StandingWord, state_text};

/// A program.
#[derive(Clone, Debug, Serialize)]
pub struct ProgramJson {
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
    /// The same in one word, as of links; null for programs of others.
    pub standing: Option<StandingWord>,
    /// The daemon's own id: never reused, and kept over reboots.
    pub uid: Option<u64>,
    /// Where it came from.
    pub bytecode: Option<BytecodeJson>,
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
    /// Whose it is: `root`, `user:UID`, `grant:NAME` or `application:[NAMESPACE/]NAME`.
    pub owner: Option<String>,
    /// Most of a CPU that it may take, by its own limit: `5%`.
    pub cpu_limit: Option<String>,
    /// What follows if it takes more: `warn`, `detach` or `previous`.
    pub over_cpu: Option<String>,
    /// What it took, if that was more than it, or its owner's programs together, may.
    pub cpu_excess: Option<String>,
    /// What was done about that: `warn`, `detach` or `previous`.
    pub cpu_done: Option<String>,
    /// Seconds until it is unloaded; null if it stays.
    pub ttl_left: Option<u64>,
    /// Ids of its attachments.
    pub link_ids: Vec<u32>,
    /// Maps; null in lists.
    pub maps: Option<Vec<MapJson>>,
    /// Attachments; null in lists.
    pub links: Option<Vec<LinkJson>>,
    /// What the kernel says.
    pub kernel: Option<KernelJson>,
    /// The verifier's whole log; only in the answer to a load that asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verifier_log: Option<String>,
}

/// Where a program came from: a file or an image.
#[derive(Clone, Debug, Serialize)]
pub struct BytecodeJson {
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

json_shape! {
    /// What the kernel says of a program.
    pub struct KernelJson(kernel: &v1::KernelProgramInfo) {
        /// Kernel id.
        id: u32 = kernel.id,
        /// At most 15 bytes.
        name: String = kernel.name.clone(),
        /// Kernel type in snake case.
        #[serde(rename = "type")]
        kernel_type: String = kernel_type::name(kernel.program_type),
        /// `enum bpf_prog_type`.
        type_number: u32 = kernel.program_type,
        /// RFC 3339.
        loaded_at: String = kernel.loaded_at.clone(),
        /// 16 hexadecimal digits.
        tag: String = kernel.tag.clone(),
        /// Licence allows GPL-only kernel functions.
        gpl_compatible: bool = kernel.gpl_compatible,
        /// Kernel ids of its maps.
        map_ids: Vec<u32> = kernel.map_ids.clone(),
        /// 0 without BTF.
        btf_id: u32 = kernel.btf_id,
        /// Bytes after the verifier rewrote it.
        translated_bytes: u32 = kernel.bytes_xlated,
        /// Compiled to machine code.
        jited: bool = kernel.jited,
        /// Bytes of machine code.
        jited_bytes: u32 = kernel.bytes_jited,
        /// Bytes of kernel memory.
        memory_bytes: u32 = kernel.bytes_memlock,
        /// Instructions the verifier walked through.
        verified_instructions: u32 = kernel.verified_insns,
    }
}

json_shape! {
    /// A map of a program.
    pub struct MapJson(map: &ext::Map) {
        /// Kernel id.
        id: u32 = map.id,
        /// Name.
        name: String = map.name.clone(),
        /// `enum bpf_map_type`.
        type_number: u32 = map.map_type,
        /// Bytes of a key.
        key_bytes: u32 = map.key_size,
        /// Bytes of a value.
        value_bytes: u32 = map.value_size,
        /// Entries at most.
        max_entries: u32 = map.max_entries,
        /// Bytes of kernel memory.
        memory_bytes: u64 = map.bytes_memlock,
        /// Where it is pinned.
        pin_path: Option<String> = filled(&map.pin_path),
        /// Kernel ids of the daemon's programs that use it.
        used_by: Vec<u32> = map.used_by.clone(),
    }
}

impl ProgramJson {
    /// The shape of what the daemon answered.
    #[must_use]
    pub fn new(program: &ext::Program) -> Self {
        let info = program.info.clone().unwrap_or_default();
        let kernel = program.kernel_info.as_ref().map(KernelJson::new);
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
            standing: StandingWord::of(program.standing()),
            state: state_text(&program.state),
            uid: managed.then_some(program.uid),
            bytecode: info.bytecode.and_then(|bytecode| BytecodeJson::of(bytecode.location?, program)),
            metadata,
            global_data: info
                .global_data
                .iter()
                .map(|(name, value)| (name.clone(), hexadecimal(value)))
                .collect(),
            attach_target: filled(&program.attach_target),
            license: filled(&program.license),
            pin_path: filled(&program.pin_path),
            map_pin_path: filled(&info.map_pin_path),
            map_owner_id: info.map_owner_id,
            maps_used_by: info.map_used_by.iter().filter_map(|id| id.parse().ok()).collect(),
            loaded_by_uid: program.loaded_by_uid,
            owner: filled(&program.owner),
            cpu_limit: filled(&program.cpu_limit),
            over_cpu: filled(&program.over_cpu),
            cpu_excess: filled(&program.cpu_excess),
            cpu_done: filled(&program.cpu_done),
            ttl_left: program.ttl_left,
            link_ids: info.links,
            maps: Some(program.maps.iter().map(MapJson::new).collect()),
            links: Some(program.links.iter().map(LinkJson::new).collect()),
            kernel,
            verifier_log: None,
        }
    }

    /// A program as a list has it: the daemon leaves out what makes lists long.
    #[must_use]
    pub fn listed(program: &ext::Program) -> Self {
        Self { maps: None, links: None, ..Self::new(program) }
    }
}

impl BytecodeJson {
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
                pull_policy: Some(PullPolicyFlag::name(image.image_pull_policy)),
                ..empty
            },
        })
    }
}
