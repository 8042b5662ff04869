//! Which maps an application gives to pods of which namespaces: the text of a program's metadata.

use std::fmt;
use std::str::FromStr;

/// Metadata key of a load: what its maps' owner gives out, as [`MapExports`] reads it.
pub const MAP_EXPORTS_KEY: &str = "bpfman.io/map-exports";

/// Stands for every map, or for every namespace.
const ANY: &str = "*";
/// Behind the namespaces of an export for writing.
const WRITE: &str = ":rw";
/// Most exports of one load, and most namespaces of one export.
pub const MAX_EXPORTS: usize = 128;
/// Longest name of a namespace, in bytes (RFC 1123 labels).
const MAX_NAMESPACE: usize = 63;

/// What a map's user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MapAccess {
    /// Read its entries.
    Read,
    /// Change them, too.
    Write,
}

/// One map, or all, for pods of some namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapExport {
    /// Name in the object; `*` for all maps.
    pub map: String,
    /// Names of namespaces; one that is `*` stands for all, and for pods whose namespace is not known.
    pub namespaces: Vec<String>,
    /// What they may do.
    pub access: MapAccess,
}

/// All that an application gives out. Its text is `MAP=NAMESPACE[,NAMESPACE…][:rw]`, several with `;` between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapExports(pub Vec<MapExport>);

/// Why a text says no exports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapExportError {
    /// Not of the form.
    #[error("map export \"{}\" is not MAP=NAMESPACE[,NAMESPACE...][:rw]", .0.escape_debug())]
    Form(String),
    /// A map's name that the kernel would not take.
    #[error("\"{}\" is no name of a map: letters, digits, \"_\" and \".\", or \"*\" for all maps", .0.escape_debug())]
    Map(String),
    /// A namespace's name that Kubernetes would not take.
    #[error("\"{}\" is no name of a namespace: small letters, digits and \"-\", or \"*\" for all", .0.escape_debug())]
    Namespace(String),
    /// More than fits.
    #[error("more than {MAX_EXPORTS} map exports, or namespaces of one")]
    TooMany,
}

impl MapExports {
    /// The most that a pod may do with a map; none if it gets nothing of it. `namespace`: the pod's, if it is known.
    #[must_use]
    pub fn access(&self, map: &str, namespace: Option<&str>) -> Option<MapAccess> {
        self.0
            .iter()
            .filter(|export| export.map == ANY || export.map == map)
            .filter(|export| {
                export.namespaces.iter().any(|one| one == ANY || Some(one.as_str()) == namespace)
            })
            .map(|export| export.access)
            .max()
    }
}

impl MapExport {
    /// # Errors
    /// A name that no map or namespace has, or too many.
    pub fn check(&self) -> Result<(), MapExportError> {
        let map_character = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        if self.map != ANY && (self.map.is_empty() || !self.map.chars().all(map_character)) {
            return Err(MapExportError::Map(self.map.clone()));
        }
        if self.namespaces.len() > MAX_EXPORTS {
            return Err(MapExportError::TooMany);
        }
        if self.namespaces.is_empty() {
            return Err(MapExportError::Form(self.to_string()));
        }
        let is_namespace = |name: &str| {
            let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            (1..=MAX_NAMESPACE).contains(&name.len())
                && name.chars().all(inner)
                && !name.starts_with('-')
                && !name.ends_with('-')
        };
        match self.namespaces.iter().find(|name| *name != ANY && !is_namespace(name)) {
            Some(name) => Err(MapExportError::Namespace(name.clone())),
            None => Ok(()),
        }
    }
}

impl FromStr for MapExport {
    type Err = MapExportError;

    fn from_str(text: &str) -> Result<Self, MapExportError> {
        let (rest, access) = match text.strip_suffix(WRITE) {
            Some(rest) => (rest, MapAccess::Write),
            None => (text, MapAccess::Read),
        };
        let (map, namespaces) = rest.split_once('=').ok_or_else(|| MapExportError::Form(text.to_owned()))?;
        let namespaces = namespaces.split(',').map(str::to_owned).collect();
        let export = Self { map: map.to_owned(), namespaces, access };
        export.check().map(|()| export)
    }
}

impl fmt::Display for MapExport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let write = if self.access == MapAccess::Write { WRITE } else { "" };
        write!(f, "{}={}{write}", self.map, self.namespaces.join(","))
    }
}

impl FromStr for MapExports {
    type Err = MapExportError;

    /// An empty text gives nothing out.
    fn from_str(text: &str) -> Result<Self, MapExportError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let exports = text.split(';').map(str::parse).collect::<Result<Vec<_>, _>>()?;
        if exports.len() > MAX_EXPORTS { Err(MapExportError::TooMany) } else { Ok(Self(exports)) }
    }
}

impl fmt::Display for MapExports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join(";"))
    }
}
