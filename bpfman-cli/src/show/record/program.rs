//! The shape of a program.

use std::collections::BTreeMap;

use bpfman_apply::content::hexadecimal;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::bytecode_location::Location;
use serde::Serialize;

use super::link::LinkRecord;
use super::{application, filled};
use crate::args::load::PullPolicy;
use crate::kernel_type;
use crate::show::standing::StandingWord;

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
    /// The same in one word, as of links; null for programs of others.
    pub standing: Option<StandingWord>,
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
            standing: StandingWord::of(program.standing()),
            state: if program.state.is_empty() { "ok".to_owned() } else { program.state.clone() },
            uid: managed.then_some(program.uid),
            bytecode: info.bytecode.and_then(|bytecode| BytecodeRecord::of(bytecode.location?, program)),
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
