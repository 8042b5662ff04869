//! Maps of applications by name, and access to them.

use std::sync::Arc;

use bpfman_model::{MapFacts, MapId};
use bpfman_proto::{MAP_EXPORTS_KEY, MapAccess, MapExports};
use bpfmand_engine::{
    Engine, EngineError, MapRecipients, OWNER_KEY, PROGRAM_NAME_KEY, PROGRAM_NAMESPACE_KEY, ProgramRecord,
    recipients_for_writing,
};
use bpfmand_kernel::Kernel;

/// Open map.
#[derive(Debug)]
pub struct NamedMap<H> {
    pub name: String,
    pub id: MapId,
    /// Handle that keeps the map alive.
    pub handle: H,
}

/// Reason why maps are not available.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamedMapsError {
    #[error("no program of \"{application}\" is loaded on this node{}", for_pods(namespace.as_deref()))]
    NotLoaded { application: String, namespace: Option<String> },
    /// Programs have the name, but the kernel runs none of them.
    #[error("the programs of \"{application}\" are known on this node, but the kernel does not run them")]
    NotRunning { application: String },
    #[error("\"{application}\" has no map \"{map}\"; {}", if there.is_empty() { "it has none".to_owned() } else { format!("it has: {}", there.join(", ")) })]
    NoMap { application: String, map: String, there: Vec<String> },
    /// The application does not export the map to these pods.
    #[error(
        "\"{application}\" does not give map \"{map}\" to {}{}; {}",
        pods(namespace.as_deref()),
        if *access == MapAccess::Write { " for writing" } else { "" },
        if *readable { "it does for reading: write readOnly: true into the volume".to_owned() } else { to_export(map, namespace.as_deref(), *access) }
    )]
    NotExported {
        application: String,
        map: String,
        namespace: Option<String>,
        access: MapAccess,
        /// Set if the pod may read the map.
        readable: bool,
    },
    #[error(
        "map \"{map}\" of \"{application}\" is given to no pod for writing: {why}; put it into a volume of its own with readOnly: true"
    )]
    NotForWriting { application: String, map: String, why: &'static str },
    #[error(transparent)]
    Engine(#[from] EngineError),
}

fn pods(namespace: Option<&str>) -> String {
    namespace.map_or("pods whose namespace is not known".to_owned(), |name| {
        format!("pods of namespace \"{name}\"")
    })
}

fn to_export(map: &str, namespace: Option<&str>, access: MapAccess) -> String {
    let (namespace, read) = (namespace.unwrap_or("*"), access == MapAccess::Read);
    let (word, suffix) = if read { ("ReadOnly", "") } else { ("ReadWrite", ":rw") };
    format!(
        "its author can, by spec.mapExports [{{map: {map}, namespaces: [\"{namespace}\"], access: {word}}}], or \
         `bpfman load --export-map {map}={namespace}{suffix}`"
    )
}

/// Default for applications without exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnexportedMaps {
    /// Nothing is exported.
    #[default]
    Refuse,
    /// Every map is exported to pods of every namespace.
    Give(MapAccess),
}

/// Maps that a pod requests.
#[derive(Clone, Copy, Debug)]
pub struct WantedMaps<'a> {
    pub application: &'a str,
    /// Namespace of the pod, if known.
    pub namespace: Option<&'a str>,
    pub names: &'a [String],
    pub access: MapAccess,
}

fn for_pods(namespace: Option<&str>) -> String {
    namespace.map_or_else(String::new, |namespace| {
        format!(" by an application of namespace \"{namespace}\" or by a cluster application")
    })
}

/// Origin of the programs whose maps a pod gets: the first in this order that has a program of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    OwnNamespace,
    /// A cluster application: its creators may do anything on the node.
    Cluster,
    /// Loaded by root of the node, without an application.
    Node,
    OtherNamespace,
}

/// Application in the notation of a pod: `NAME`, or `NAMESPACE/NAME`.
#[derive(Clone, Copy, Debug)]
struct ApplicationName<'a> {
    namespace: Option<&'a str>,
    name: &'a str,
}

impl<'a> ApplicationName<'a> {
    fn of(text: &'a str) -> Self {
        match text.split_once('/') {
            Some((namespace, name)) => Self { namespace: Some(namespace), name },
            None => Self { namespace: None, name: text },
        }
    }

    /// Returns the origin of a program for a pod; `None` for programs in another namespace than the named one.
    fn origin(self, program: &ProgramRecord, pod: Option<&str>) -> Option<Origin> {
        let owner = program.metadata.get(PROGRAM_NAMESPACE_KEY).map(String::as_str);
        match (owner, self.namespace) {
            (Some(owner), named) if named.or(pod) == Some(owner) => {
                Some(if pod == Some(owner) { Origin::OwnNamespace } else { Origin::OtherNamespace })
            }
            (Some(_), _) | (None, Some(_)) => None,
            (None, None) if program.metadata.contains_key(OWNER_KEY) => Some(Origin::Cluster),
            (None, None) => Some(Origin::Node),
        }
    }
}

/// Opens maps of an application, for a pod in a namespace: of the application in that namespace, else of the cluster
/// application of that name, else of programs loaded without an application. Applications in another namespace need the
/// notation `NAMESPACE/NAME`.
///
/// The load of an application contains its exports ([`MapExports`]). Without them, pods in its own namespace get its
/// maps, and others according to `unexported`. Programs of one load share all maps; across loads, each map comes from
/// the program with the lowest id that has it. Only running programs count, and only maps pinned for applications: no
/// global variables.
pub fn maps_by_name<K: Kernel>(
    engine: &Engine<K>,
    wanted: WantedMaps<'_>,
    unexported: UnexportedMaps,
) -> Result<Vec<NamedMap<K::Handle>>, NamedMapsError> {
    let WantedMaps { application, namespace, names, access } = wanted;
    let (programs, origin) = programs_of(engine, application, namespace)?;
    let public = || {
        programs.iter().flat_map(|program| {
            program.maps.iter().filter(|map| map.public).map(move |map| (&**program, map))
        })
    };
    let mut held = Vec::with_capacity(names.len());
    for name in names {
        let found = public().find(|(_, map)| map.name == *name);
        let Some((program, id)) = found.and_then(|(program, map)| Some((program, map.id?))) else {
            let mut there: Vec<String> = public().map(|(_, map)| map.name.clone()).collect();
            there.sort();
            there.dedup();
            return Err(NamedMapsError::NoMap {
                application: application.to_owned(),
                map: name.clone(),
                there,
            });
        };
        let most = given(program, name, namespace, origin, unexported);
        if most.is_none_or(|most| most < access) {
            return Err(NamedMapsError::NotExported {
                application: application.to_owned(),
                map: name.clone(),
                namespace: namespace.map(str::to_owned),
                access,
                readable: most.is_some(),
            });
        }
        let handle = engine.kernel().open_map(id).map_err(EngineError::from)?;
        if access == MapAccess::Write {
            let facts = engine.kernel().map_of(&handle).map_err(EngineError::from)?;
            ensure_for_pods(application, name, &facts)?;
        }
        held.push(NamedMap { name: name.clone(), id, handle });
    }
    Ok(held)
}

/// Refuses write access for pods to a map with fixed entries, or with entries that refer to other objects.
fn ensure_for_pods(application: &str, map: &str, facts: &MapFacts) -> Result<(), NamedMapsError> {
    let why = match recipients_for_writing(map, facts) {
        Ok(MapRecipients::WritersOfIt) => return Ok(()),
        Ok(MapRecipients::WritersOfAll) => "its entries lead to other maps, programs or devices",
        Err(why) => why,
    };
    Err(NamedMapsError::NotForWriting { application: application.to_owned(), map: map.to_owned(), why })
}

fn given(
    program: &ProgramRecord,
    map: &str,
    namespace: Option<&str>,
    origin: Origin,
    unexported: UnexportedMaps,
) -> Option<MapAccess> {
    match program.metadata.get(MAP_EXPORTS_KEY) {
        // Unparsable exports come from an older daemon, and grant nothing.
        Some(text) => text.parse::<MapExports>().ok()?.access(map, namespace),
        None if origin == Origin::OwnNamespace => Some(MapAccess::Write),
        None if origin == Origin::OtherNamespace => None,
        None => match unexported {
            UnexportedMaps::Refuse => None,
            UnexportedMaps::Give(access) => Some(access),
        },
    }
}

fn programs_of<K: Kernel>(
    engine: &Engine<K>,
    application: &str,
    namespace: Option<&str>,
) -> Result<(Vec<Arc<ProgramRecord>>, Origin), NamedMapsError> {
    let named = ApplicationName::of(application);
    let mut programs = engine.programs_with(PROGRAM_NAME_KEY, named.name)?;
    // Lost programs count as well: the origin of a name must not change while its programs cannot be loaded.
    let Some(first) = programs.iter().filter_map(|(program, _)| named.origin(program, namespace)).min()
    else {
        return Err(NamedMapsError::NotLoaded {
            application: application.to_owned(),
            namespace: namespace.map(str::to_owned),
        });
    };
    programs.retain(|(program, runs)| *runs && named.origin(program, namespace) == Some(first));
    if programs.is_empty() {
        return Err(NamedMapsError::NotRunning { application: application.to_owned() });
    }
    Ok((programs.into_iter().map(|(program, _)| program).collect(), first))
}
