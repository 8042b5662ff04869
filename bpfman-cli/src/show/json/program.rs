//! Programs as JSON.

use std::collections::BTreeMap;

use bpfman_model::{PullPolicy, hexadecimal};
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::bytecode_location::Location;
use serde::Serialize;

use super::link::LinkJson;
use super::{application, filled};
use crate::kernel_type;
use crate::show::json_shape::json_shape;
use crate::show::standing::{StandingWord, state_text};

#[derive(Clone, Debug, Serialize)]
pub struct ProgramJson {
    pub program_id: u32,
    /// True if the daemon loaded it. For third-party programs, only `type`, `kernel` and perhaps `owner` are set.
    pub managed: bool,
    /// Exact type (`kretprobe`, `tcx`, ...); the kernel's type for third-party programs.
    #[serde(rename = "type")]
    pub program_type: String,
    pub name: String,
    pub application: Option<String>,
    /// `ok`, or the difference between the record and the kernel.
    pub state: String,
    /// State in one word, as for links; null for third-party programs.
    pub standing: Option<StandingWord>,
    /// Id of the daemon: never reused, and kept across reboots.
    pub uid: Option<u64>,
    pub bytecode: Option<BytecodeJson>,
    pub metadata: BTreeMap<String, String>,
    /// Global variables of the load, as lower case hexadecimal bytes.
    pub global_data: BTreeMap<String, String>,
    /// Global variables of the load as text, if they are numbers, booleans or enumerations.
    pub globals: BTreeMap<String, String>,
    /// Target of the load: function or hook of fentry, fexit and LSM programs.
    pub attach_target: Option<String>,
    /// Licence of the object file.
    pub license: Option<String>,
    pub pin_path: Option<String>,
    /// Folder of its pinned maps.
    pub map_pin_path: Option<String>,
    /// Program that shares its maps with this one, if requested.
    pub map_owner_id: Option<u32>,
    /// Kernel ids of the programs that share its maps.
    pub maps_used_by: Vec<u32>,
    /// User id of the process that requested the load.
    pub loaded_by_uid: Option<u32>,
    /// Owner: `root`, `user:UID`, `grant:NAME` or `application:[NAMESPACE/]NAME`; `session NAME of user UID` or
    /// `left by COMMAND of user UID` for programs of `run-as`, null for other third-party programs.
    pub owner: Option<String>,
    /// Maximum share of a CPU, by its own limit: `5%`.
    pub cpu_limit: Option<String>,
    /// Action above the limit: `warn`, `detach` or `previous`.
    pub over_cpu: Option<String>,
    /// CPU usage above the program's limit or the owner's.
    pub cpu_excess: Option<String>,
    /// Action that was taken: `warn`, `detach` or `previous`.
    pub cpu_done: Option<String>,
    /// Seconds until it is unloaded; null if it stays.
    pub ttl_left: Option<u64>,
    pub link_ids: Vec<u32>,
    /// Maps; null in lists.
    pub maps: Option<Vec<MapJson>>,
    /// Attachments; null in lists.
    pub links: Option<Vec<LinkJson>>,
    pub kernel: Option<KernelJson>,
    /// Complete verifier log; only in the answer to a load that requested it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verifier_log: Option<String>,
}

/// Source of a program: a file or an image.
#[derive(Clone, Debug, Serialize)]
pub struct BytecodeJson {
    /// Path of the object file.
    pub path: Option<String>,
    pub image_url: Option<String>,
    /// Pull policy of an image: `Always`, `IfNotPresent` or `Never`.
    pub pull_policy: Option<&'static str>,
    pub image_digest: Option<String>,
    /// Policy rule and signer that verified the image.
    pub verified_by: Option<String>,
    /// SHA-256 of the object file, hexadecimal.
    pub sha256: Option<String>,
}

json_shape! {
    /// Information of the kernel about a program.
    pub struct KernelJson(kernel: &v1::KernelProgramInfo) {
        id: u32 = kernel.id,
        /// Name, at most 15 bytes.
        name: String = kernel.name.clone(),
        /// Kernel type in snake case.
        #[serde(rename = "type")]
        kernel_type: String = kernel_type::name(kernel.program_type),
        /// Number in `enum bpf_prog_type`.
        type_number: u32 = kernel.program_type,
        /// Time of load (RFC 3339).
        loaded_at: String = kernel.loaded_at.clone(),
        tag: String = kernel.tag.clone(),
        /// True if the licence allows GPL-only kernel functions.
        gpl_compatible: bool = kernel.gpl_compatible,
        map_ids: Vec<u32> = kernel.map_ids.clone(),
        /// BTF id; 0 without BTF.
        btf_id: u32 = kernel.btf_id,
        /// Size after the verifier's changes, in bytes.
        translated_bytes: u32 = kernel.bytes_xlated,
        /// True if it is compiled to machine code.
        jited: bool = kernel.jited,
        /// Size of the machine code, in bytes.
        jited_bytes: u32 = kernel.bytes_jited,
        memory_bytes: u32 = kernel.bytes_memlock,
        /// Number of instructions that the verifier processed.
        verified_instructions: u32 = kernel.verified_insns,
    }
}

json_shape! {
    /// Map of a program.
    pub struct MapJson(map: &ext::Map) {
        id: u32 = map.id,
        name: String = map.name.clone(),
        /// Number in `enum bpf_map_type`.
        type_number: u32 = map.map_type,
        key_bytes: u32 = map.key_size,
        value_bytes: u32 = map.value_size,
        max_entries: u32 = map.max_entries,
        /// Kernel memory, in bytes.
        memory_bytes: u64 = map.bytes_memlock,
        pin_path: Option<String> = filled(&map.pin_path),
        /// Kernel ids of the daemon's programs that use it.
        used_by: Vec<u32> = map.used_by.clone(),
    }
}

impl ProgramJson {
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
            globals: program.global_texts.clone().into_iter().collect(),
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

    /// Converts a program of a list, in which the daemon omits maps and links.
    #[must_use]
    pub fn listed(program: &ext::Program) -> Self {
        Self { maps: None, links: None, ..Self::new(program) }
    }
}

impl BytecodeJson {
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
                pull_policy: Some(
                    PullPolicy::of_number(image.image_pull_policy).unwrap_or(PullPolicy::IfNotPresent).name(),
                ),
                ..empty
            },
        })
    }
}
