use std::fmt;
use std::str::FromStr;

/// Metadata key of a load: exports of its maps, in the form of [`MapExports`].
pub const MAP_EXPORTS_KEY: &str = "bpfman.io/map-exports";

const ANY: &str = "*";
const WRITE: &str = ":rw";
/// Maximum number of exports of one load, and of namespaces of one export.
pub const MAX_EXPORTS: usize = 128;
/// Limit of RFC 1123 labels.
const MAX_NAMESPACE: usize = 63;

/// Access to a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MapAccess {
    /// Reading of entries.
    Read,
    /// Reading and changing of entries.
    Write,
}

/// Export of one map, or all, to pods of some namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapExport {
    /// Map's name in the object; `*` for all maps.
    pub map: String,
    /// Names of namespaces; `*` stands for all, and for pods of an unknown namespace.
    pub namespaces: Vec<String>,
    /// Access of these pods.
    pub access: MapAccess,
}

/// All exports of an application. The text is `MAP=NAMESPACE[,NAMESPACE…][:rw]`, several separated by `;`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapExports(pub Vec<MapExport>);

/// Reason why a text is no list of exports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapExportError {
    /// The text has another form.
    #[error("map export \"{}\" is not MAP=NAMESPACE[,NAMESPACE...][:rw]", .0.escape_debug())]
    Form(String),
    /// The kernel would not accept the map's name.
    #[error("\"{}\" is no name of a map: letters, digits, \"_\" and \".\", or \"*\" for all maps", .0.escape_debug())]
    Map(String),
    /// Kubernetes would not accept the namespace's name.
    #[error("\"{}\" is no name of a namespace: small letters, digits and \"-\", or \"*\" for all", .0.escape_debug())]
    Namespace(String),
    /// There are more exports or namespaces than [`MAX_EXPORTS`].
    #[error("more than {MAX_EXPORTS} map exports, or namespaces of one")]
    TooMany,
}

impl MapExports {
    /// Returns the widest access that a pod has to a map; none if it has none. `namespace`: the pod's, if known.
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
    /// Checks the export.
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
