use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::{
    BytecodeError, BytecodeFile, Descriptor, Digest, Endian, Labels, LayoutError, OciLayout, Platform,
    PlatformError, SourceDate, encode, media,
};

/// Reason why an image cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// An input is not an object that an image can carry.
    #[error(transparent)]
    Bytecode(#[from] BytecodeError),
    /// A platform is unknown, or missing in a file name.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    #[error("two objects for {0}")]
    Twice(Platform),
    #[error("no object file{0}")]
    Nothing(String),
    #[error("images are not made for this machine's architecture `{0}`; name the platform")]
    Host(&'static str),
    /// A folder cannot be listed.
    #[error("{path}: {source}")]
    Folder {
        /// Path of the folder.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    #[error("cannot encode the image: {0}")]
    Encode(String),
}

/// Source of an image, as named by the user.
#[derive(Clone, Debug)]
pub enum Input {
    /// One object, for this machine's platform: `--bytecode FILE`.
    File(PathBuf),
    /// Folder of `*.o` files with their platforms in their names, as by bpf2go: `--cilium-ebpf-project DIR`.
    Folder(PathBuf),
    /// One object for each platform.
    Platforms(BTreeMap<Platform, PathBuf>),
}

/// Checked objects by platform.
#[derive(Clone, Debug)]
pub struct PlatformInputs {
    single: bool,
    objects: Vec<(Platform, PathBuf, BytecodeFile)>,
}

impl PlatformInputs {
    /// Reads and checks everything that `input` names.
    pub fn read(input: &Input) -> Result<Self, BuildError> {
        match input {
            Input::File(path) => {
                let bytecode = BytecodeFile::read(path)?;
                let platform = Platform::host().ok_or(BuildError::Host(std::env::consts::ARCH))?;
                Ok(Self { single: true, objects: vec![checked(platform, path, bytecode)?] })
            }
            Input::Folder(folder) => Self::read_platforms(&list(folder)?),
            Input::Platforms(paths) => Self::read_platforms(paths),
        }
    }

    fn read_platforms(paths: &BTreeMap<Platform, PathBuf>) -> Result<Self, BuildError> {
        let objects: Result<Vec<_>, _> = paths
            .iter()
            .map(|(platform, path)| checked(*platform, path, BytecodeFile::read(path)?))
            .collect();
        let objects = objects?;
        if objects.is_empty() {
            return Err(BuildError::Nothing(String::new()));
        }
        Ok(Self { single: false, objects })
    }

    /// Creates the inputs from one object in memory, for one platform.
    pub fn one(platform: Platform, bytecode: BytecodeFile) -> Result<Self, BuildError> {
        let path = PathBuf::from(bytecode.file_name());
        Ok(Self { single: true, objects: vec![checked(platform, &path, bytecode)?] })
    }

    /// Creates the inputs of an index from objects in memory, one per platform.
    pub fn several(objects: impl IntoIterator<Item = (Platform, BytecodeFile)>) -> Result<Self, BuildError> {
        let mut seen = BTreeSet::new();
        let mut all = Vec::new();
        for (platform, bytecode) in objects {
            if !seen.insert(platform) {
                return Err(BuildError::Twice(platform));
            }
            let path = PathBuf::from(bytecode.file_name());
            all.push(checked(platform, &path, bytecode)?);
        }
        if all.is_empty() {
            return Err(BuildError::Nothing(String::new()));
        }
        all.sort_by_key(|(platform, ..)| *platform);
        Ok(Self { single: false, objects: all })
    }

    /// Returns the labels of the first object, which every platform's image gets.
    #[must_use]
    pub fn labels(&self) -> Labels {
        self.objects.first().map(|(_, _, bytecode)| bytecode.labels().clone()).unwrap_or_default()
    }

    /// Returns the arguments with which a Containerfile builds the same image.
    #[must_use]
    pub fn build_args(&self) -> BuildArgs {
        let files = self.objects.iter().map(|(platform, path, _)| {
            let name = if self.single { "BYTECODE_FILE" } else { platform.build_arg() };
            (name, path.display().to_string())
        });
        BuildArgs { files: files.collect(), labels: self.labels() }
    }

    /// Builds the image: a single manifest, or an index of one manifest per platform.
    pub fn build(&self, date: SourceDate) -> Result<BuiltImage, BuildError> {
        let labels = self.labels();
        let mut blobs = BTreeMap::new();
        let mut manifests = Vec::new();
        for (platform, _, bytecode) in &self.objects {
            manifests.push(encode::image(*platform, bytecode, &labels, date, &mut blobs)?);
        }
        let root = match manifests.as_slice() {
            [only] if self.single => Descriptor { platform: None, ..only.clone() },
            _ => {
                let index =
                    json!({ "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": manifests });
                encode::keep(&mut blobs, media::OCI_INDEX, index.to_string().into_bytes())
            }
        };
        Ok(BuiltImage { root, blobs })
    }
}

/// Build arguments of a Containerfile: objects and labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildArgs {
    /// Names of build arguments, and paths of objects.
    pub files: Vec<(&'static str, String)>,
    /// Values of `PROGRAMS` and `MAPS`.
    pub labels: Labels,
}

impl BuildArgs {
    /// Returns one `NAME=value` a line: the objects, then `PROGRAMS`, then `MAPS`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let files = self.files.iter().map(|(name, path)| format!("{name}={path}"));
        let labels = [
            format!("PROGRAMS={}", self.labels.programs_json()),
            format!("MAPS={}", self.labels.maps_json()),
        ];
        files.chain(labels).collect()
    }
}

/// Image in memory.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    root: Descriptor,
    blobs: BTreeMap<Digest, Vec<u8>>,
}

impl BuiltImage {
    /// Returns the digest of the manifest or index.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.root.digest
    }

    /// Returns the descriptor of the manifest or index.
    #[must_use]
    pub fn root(&self) -> &Descriptor {
        &self.root
    }

    /// Writes the image into a layout under `name`.
    pub fn write(&self, layout: &OciLayout, name: &str) -> Result<(), LayoutError> {
        for content in self.blobs.values() {
            layout.put(content)?;
        }
        layout.name(name, self.root.clone())
    }
}

fn list(folder: &Path) -> Result<BTreeMap<Platform, PathBuf>, BuildError> {
    let failed = |source| BuildError::Folder { path: folder.to_owned(), source };
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|extension| extension != "o") || !path.is_file() {
            continue;
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let platform = Platform::from_file_name(&name)?;
        if found.insert(platform, path).is_some() {
            return Err(BuildError::Twice(platform));
        }
    }
    if found.is_empty() {
        return Err(BuildError::Nothing(format!(" (*.o) in {}", folder.display())));
    }
    Ok(found)
}

fn checked(
    platform: Platform,
    path: &Path,
    bytecode: BytecodeFile,
) -> Result<(Platform, PathBuf, BytecodeFile), BuildError> {
    let (found, expected): (Endian, Endian) = (bytecode.endian(), platform.endian());
    if found != expected {
        let name = path.display().to_string();
        return Err(BytecodeError::Endian { name, found, expected, platform: platform.to_string() }.into());
    }
    Ok((platform, path.to_owned(), bytecode))
}
