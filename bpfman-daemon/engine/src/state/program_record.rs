//! Records of programs: their sources, versions, and maps.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bpfman_model::{
    KernelLinkId, MapId, OperationId, Owner, ProgramId, ProgramRequest, ProgramType, ProgramUid, PullPolicy,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::state::budget_record::ProgramBudget;
use crate::state::declared_bytes::DeclaredBytes;
use crate::state::guard_record::ProgramGuard;
use crate::state::paths;
use crate::state::{BlobId, ExtendsRecord, MapGroup, recorded_application};

/// Source of a program's bytecode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum SourceRecord {
    File {
        path: String,
    },
    /// No source: a third party had loaded and attached the program.
    Adopted {
        /// The link that attached it.
        link: KernelLinkId,
        /// Pin of that link, if the request named it by the pin.
        pin: Option<String>,
    },
    Image {
        /// Image reference of the request.
        url: String,
        pull_policy: PullPolicy,
        /// Digest of the verified image, `sha256:…`.
        digest: String,
        /// Policy rule and signer.
        verified_by: String,
        /// Evidence of the verification, in the format of the crate `image`.
        #[serde(default)]
        evidence: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapRecord {
    pub name: String,
    /// Kernel id, as of this boot; `None` if no program uses the map and it was left out.
    #[serde(serialize_with = "write_map", deserialize_with = "read_map")]
    pub id: Option<MapId>,
    /// Pinned for applications (globals are not).
    pub public: bool,
    pub shared: bool,
    #[serde(default, skip_serializing_if = "MapGroup::is_machine")]
    pub group: MapGroup,
    /// Kernel memory of the full map, in bytes; 0 in records of earlier versions.
    #[serde(default, skip_serializing_if = "is_unknown")]
    pub bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
const fn is_unknown(bytes: &u64) -> bool {
    *bytes == 0
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptText {
    pub lists: BlobId,
    /// Blob with the BTF, which all programs of an object share; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<BlobId>,
}

impl KeptText {
    pub fn blobs(&self) -> impl Iterator<Item = &BlobId> {
        std::iter::once(&self.lists).chain(&self.types)
    }
}

/// A loaded program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramRecord {
    /// Key in the records, which is never reused.
    pub uid: ProgramUid,
    /// Load that created it; all programs of one load have the same.
    pub operation: OperationId,
    /// Load that its maps came from, if another: a program that was replaced alone still shares maps of its load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<OperationId>,
    /// Function name, uncut.
    pub name: String,
    pub program_type: ProgramType,
    pub source: SourceRecord,
    pub blob: BlobId,
    pub license: String,
    pub metadata: BTreeMap<String, String>,
    /// Global variables that the user set.
    #[serde(serialize_with = "write_bytes", deserialize_with = "read_bytes")]
    pub global_data: BTreeMap<String, Vec<u8>>,
    /// Text of variables that are numbers, booleans or enumerations; empty in records of earlier versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub global_texts: BTreeMap<String, String>,
    /// Sizes of maps that the user set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub map_sizes: BTreeMap<String, u32>,
    /// Map owner of the load request.
    pub map_owner: Option<ProgramId>,
    /// Uid of that owner, to find it again after a reboot.
    pub map_owner_uid: Option<ProgramUid>,
    /// Function or hook of fentry, fexit and LSM programs.
    pub target: Option<String>,
    pub caller_uid: u32,
    /// Owner; `None` in records from before owners existed: see [`ProgramRecord::owner`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Boot to which the ids below belong. Empty in records from before this field existed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot: String,
    /// The kernel's id, as of this boot.
    pub id: ProgramId,
    /// The kernel's tag.
    pub tag: [u8; 8],
    /// Id that names the folder of the maps: the program's own, or that of the map owner.
    pub map_folder: ProgramId,
    /// All maps of the object.
    pub maps: Vec<MapRecord>,
    /// Stack size of each function in bytes, if the kernel reported it.
    pub stack_depths: Option<Vec<u32>>,
    /// Guard of the program, if its owner is a tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<ProgramGuard>,
    /// Stored text, which chains splice; `None` if it is not stored, as in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<KeptText>,
    /// Memory of the declared maps. If a later read of the object declares more, limits are checked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<DeclaredBytes>,
    /// CPU limit and lifetime.
    #[serde(default, skip_serializing_if = "ProgramBudget::is_empty")]
    pub budget: ProgramBudget,
    /// Replaced function, if this is an extension. `target` names the program by its kernel id at the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<ExtendsRecord>,
    /// Parts that the load left out; those of the last load, if a reboot repeated it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl ProgramRecord {
    /// Returns the owner. In records from before owners existed, the metadata name it, whichever caller wrote them.
    #[must_use]
    pub fn owner(&self) -> Owner {
        let known =
            self.owner.clone().or_else(|| recorded_application(&self.metadata).map(Owner::Application));
        known.unwrap_or(Owner::of_user(self.caller_uid))
    }

    /// Returns the request with which the program was loaded.
    #[must_use]
    pub fn request(&self) -> ProgramRequest {
        ProgramRequest {
            name: self.name.clone(),
            program_type: self.program_type,
            target: self.target.clone(),
        }
    }

    /// Returns the blobs on disk: the bytecode and the stored text.
    pub fn blobs(&self) -> impl Iterator<Item = &BlobId> {
        std::iter::once(&self.blob).chain(self.text.iter().flat_map(KeptText::blobs))
    }

    /// Returns the managed program that it extends, if it is an extension of one.
    #[must_use]
    pub fn extended(&self) -> Option<ProgramUid> {
        self.extends.as_ref().and_then(|extends| extends.program.uid())
    }

    /// Returns whether it may send copies of packets: its own calls do, or nothing is known about them.
    #[must_use]
    pub fn may_clone(&self) -> bool {
        self.guard.as_ref().is_none_or(|guard| guard.clones.unwrap_or(true))
    }

    /// Returns the load that its maps came from.
    pub fn load(&self) -> OperationId {
        self.origin.unwrap_or(self.operation)
    }

    /// Returns its pin, relative to the daemon's bpffs.
    #[must_use]
    pub fn pin(&self) -> PathBuf {
        paths::program(self.id)
    }

    /// Returns the folder of its maps, relative to the daemon's bpffs.
    #[must_use]
    pub fn maps_folder(&self) -> PathBuf {
        paths::maps(self.map_folder)
    }

    /// Returns the SHA-256 of the object file in hexadecimal; empty for an adopted program.
    #[must_use]
    pub fn bytecode_sha256(&self) -> &str {
        match self.source {
            SourceRecord::Adopted { .. } => "",
            SourceRecord::File { .. } | SourceRecord::Image { .. } => self.blob.as_str(),
        }
    }
}

impl SourceRecord {
    /// Returns the digest of the image, `sha256:…`, if the source is an image.
    #[must_use]
    pub fn image_digest(&self) -> Option<&str> {
        match self {
            Self::Image { digest, .. } => Some(digest),
            Self::File { .. } | Self::Adopted { .. } => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousRecord {
    pub program: ProgramRecord,
    /// Boot to which its ids belong: after a reboot they may have been reused.
    pub boot: String,
}

/// No map has the id 0: it stands for a map that was left out.
fn write_map<S: Serializer>(id: &Option<MapId>, serializer: S) -> Result<S::Ok, S::Error> {
    id.unwrap_or(MapId(0)).serialize(serializer)
}

fn read_map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<MapId>, D::Error> {
    MapId::deserialize(deserializer).map(|id| Some(id).filter(|id| id.0 != 0))
}

/// JSON has no bytes: they are kept in base64.
fn write_bytes<S: Serializer>(map: &BTreeMap<String, Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(map.iter().map(|(name, bytes)| (name, BASE64.encode(bytes))))
}

fn read_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Vec<u8>>, D::Error> {
    let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
    texts
        .into_iter()
        .map(|(name, text)| BASE64.decode(text).map(|bytes| (name, bytes)).map_err(serde::de::Error::custom))
        .collect()
}
