//! Validation of requests, as far as possible without I/O.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use bpfman_proto::MapAccess;
use bpfman_proto::csi::v1;
use bpfman_proto::csi::v1::volume_capability::AccessType;
use bpfman_proto::csi::v1::volume_capability::access_mode::Mode;

use crate::{CsiError, WantedMaps};

/// Attribute with the application, `bpfman.io/ProgramName` of its programs.
const PROGRAM: &str = "csi.bpfman.io/program";
const MAPS: &str = "csi.bpfman.io/maps";
const OURS: &str = "csi.bpfman.io/";
/// Attribute of the kubelet: whether the volume lives as long as its pod.
const EPHEMERAL: &str = "csi.storage.k8s.io/ephemeral";
/// Attribute of the kubelet, which no pod can forge: the pod's namespace, if the CSIDriver has `podInfoOnMount`.
const NAMESPACE: &str = "csi.storage.k8s.io/pod.namespace";
const MAX_NAME: usize = 255;
const MAX_MAPS: usize = 256;

/// Volume id of the kubelet, which is also a file name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VolumeId(String);

impl VolumeId {
    /// Parses an id: a file name of printable characters.
    pub fn parse(text: &str) -> Result<Self, CsiError> {
        file_name("volume id", text)?;
        Ok(Self(text.to_owned()))
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Requested volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    pub volume: VolumeId,
    /// Absolute target path.
    pub target: PathBuf,
    pub program: String,
    /// Namespace of the pod, if the kubelet sends it.
    pub namespace: Option<String>,
    /// Names of the maps, as requested.
    pub maps: Vec<String>,
    /// Set if the maps cannot be changed through the volume.
    pub read_only: bool,
    /// fsGroup of the pod; root's group if it has none.
    pub group: u32,
}

impl Publication {
    pub(crate) fn maps(&self) -> WantedMaps<'_> {
        WantedMaps {
            application: &self.program,
            namespace: self.namespace.as_deref(),
            names: &self.maps,
            access: if self.read_only { MapAccess::Read } else { MapAccess::Write },
        }
    }
}

impl fmt::Display for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.read_only { "read-only" } else { "for writing" };
        write!(f, "maps {} of {} {how} to group {}", self.maps.join(","), self.program, self.group)?;
        self.namespace.as_ref().map_or(Ok(()), |namespace| write!(f, " of namespace {namespace}"))
    }
}

impl Publication {
    pub fn parse(request: &v1::NodePublishVolumeRequest) -> Result<Self, CsiError> {
        let volume = VolumeId::parse(&request.volume_id)?;
        let target = target(&request.target_path)?;
        let group = capability(request.volume_capability.as_ref())?;
        let context = &request.volume_context;
        if context.get(EPHEMERAL).is_some_and(|value| value == "false") {
            return invalid(
                "volumes of this driver live as long as their pod: write it as an inline `csi` volume of the pod, not as a PersistentVolume",
            );
        }
        let unknown = |key: &&String| key.starts_with(OURS) && ![PROGRAM, MAPS].contains(&key.as_str());
        if let Some(key) = context.keys().filter(unknown).min() {
            return invalid(format!(
                "volume attribute \"{key}\" is not known; there are {PROGRAM} and {MAPS}"
            ));
        }
        let program = context.get(PROGRAM).map_or("", |name| name.trim());
        if program.is_empty() {
            return invalid(format!(
                "volume attribute {PROGRAM} is missing: the name of the application whose maps the pod wants"
            ));
        }
        Ok(Self {
            volume,
            target,
            program: program.to_owned(),
            namespace: context.get(NAMESPACE).filter(|name| !name.is_empty()).cloned(),
            maps: maps(context.get(MAPS).map_or("", String::as_str))?,
            read_only: request.readonly,
            group,
        })
    }
}

pub fn target(text: &str) -> Result<PathBuf, CsiError> {
    let path = Path::new(text);
    let is_plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !is_plain || path.file_name().is_none() {
        return invalid(format!(
            "target path \"{text}\" is not an absolute path of a folder, without \"..\""
        ));
    }
    Ok(path.to_owned())
}

fn capability(capability: Option<&v1::VolumeCapability>) -> Result<u32, CsiError> {
    let Some(capability) = capability else { return invalid("the request has no volume capability") };
    let mount = match &capability.access_type {
        Some(AccessType::Mount(mount)) => mount,
        Some(AccessType::Block(_)) => return invalid("maps are files in a folder, not a block device"),
        None => return invalid("the volume capability is neither mount nor block"),
    };
    // Accept the kubelet's default for a pod without a type.
    if !["", "bpf"].contains(&mount.fs_type.as_str()) {
        return invalid(format!("fsType \"{}\" is unsupported: volumes of maps are a bpffs", mount.fs_type));
    }
    if let Some(flag) = mount.mount_flags.first() {
        return invalid(format!("mount flag \"{flag}\" is unsupported: this driver accepts none"));
    }
    let mode = capability.access_mode.unwrap_or_default().mode();
    if !matches!(mode, Mode::SingleNodeWriter | Mode::SingleNodeSingleWriter | Mode::SingleNodeMultiWriter) {
        return invalid(format!(
            "access mode {} is unsupported: a volume of maps is for writers on one node",
            mode.as_str_name()
        ));
    }
    let group = &mount.volume_mount_group;
    match group.parse() {
        _ if group.is_empty() => Ok(0),
        // The largest number means "unchanged" to the kernel.
        Ok(number) if number != u32::MAX => Ok(number),
        _ => invalid(format!("volume mount group \"{group}\" is not the number of a group")),
    }
}

fn maps(text: &str) -> Result<Vec<String>, CsiError> {
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    if text.trim().is_empty() {
        return invalid(format!(
            "volume attribute {MAPS} is missing: the names of the maps, with commas between them"
        ));
    }
    if names.len() > MAX_MAPS {
        return invalid(format!("{MAPS} names {} maps; the most are {MAX_MAPS}", names.len()));
    }
    let mut seen = BTreeSet::new();
    for name in &names {
        file_name("map name", name)?;
        if name.contains('.') {
            return invalid(format!(
                "map name \"{name}\" has a dot: a bpffs takes none, and maps of global variables are not given out"
            ));
        }
        if !seen.insert(name) {
            return invalid(format!("{MAPS} names \"{name}\" twice"));
        }
    }
    Ok(names)
}

fn file_name(what: &str, text: &str) -> Result<(), CsiError> {
    let problem = match text {
        "" => "is empty",
        "." | ".." => "is not a name of its own",
        _ if text.contains('/') => "has a slash",
        _ if text.chars().any(char::is_control) => "has control characters",
        _ if text.len() > MAX_NAME => "is longer than 255 bytes",
        _ => return Ok(()),
    };
    invalid(format!("{what} \"{}\" {problem}", text.escape_debug()))
}

fn invalid<T>(message: impl Into<String>) -> Result<T, CsiError> {
    Err(CsiError::Invalid(message.into()))
}
