//! Maps of an application, by the names that its users know: what is given to others.

use std::sync::Arc;

use bpfman_proto::{MAP_EXPORTS_KEY, MapAccess, MapExports};
use bpfmand_core::{MapFacts, MapId};
use bpfmand_engine::{
    Engine, EngineError, MapRecipients, OWNER_KEY, PROGRAM_NAME_KEY, PROGRAM_NAMESPACE_KEY, ProgramRecord,
    recipients_for_writing,
};
use bpfmand_kernel::Kernel;

/// A map that is held.
#[derive(Debug)]
pub struct NamedMap<H> {
    /// Name in the object.
    pub name: String,
    /// The kernel's id.
    pub id: MapId,
    /// Keeps it alive.
    pub handle: H,
}

/// Why maps cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamedMapsError {
    /// No program has the name.
    #[error("no program of \"{application}\" is loaded on this node{}", for_pods(namespace.as_deref()))]
    NotLoaded {
        /// As asked for.
        application: String,
        /// Of the pod that asks.
        namespace: Option<String>,
    },
    /// Programs have the name, and none of them is in the kernel.
    #[error("the programs of \"{application}\" are known on this node, but the kernel does not run them")]
    NotRunning {
        /// As asked for.
        application: String,
    },
    /// None of its programs has such a map.
    #[error("\"{application}\" has no map \"{map}\"; {}", if there.is_empty() { "it has none".to_owned() } else { format!("it has: {}", there.join(", ")) })]
    NoMap {
        /// As asked for.
        application: String,
        /// The map's name.
        map: String,
        /// The names that could have been asked for.
        there: Vec<String>,
    },
    /// The application does not give it to these pods.
    #[error(
        "\"{application}\" does not give map \"{map}\" to {}{}; {}",
        pods(namespace.as_deref()),
        if *access == MapAccess::Write { " for writing" } else { "" },
        if *readable { "it does for reading: write readOnly: true into the volume".to_owned() } else { to_export(map, namespace.as_deref(), *access) }
    )]
    NotExported {
        /// As asked for.
        application: String,
        /// The map's name.
        map: String,
        /// Of the pod that asks.
        namespace: Option<String>,
        /// What it asks for.
        access: MapAccess,
        /// It may read the map.
        readable: bool,
    },
    /// No pod gets it for writing.
    #[error(
        "map \"{map}\" of \"{application}\" is given to no pod for writing: {why}; put it into a volume of its own with readOnly: true"
    )]
    NotForWriting {
        /// The application, by the name in the request.
        application: String,
        /// The map's name.
        map: String,
        /// Reason, for people.
        why: &'static str,
    },
    /// Anything else.
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

/// What an application gives out that does not say it: nothing, unless root's configuration has it as before there were
/// exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnexportedMaps {
    /// Nothing.
    #[default]
    Refuse,
    /// Every map, to pods of every namespace.
    Give(MapAccess),
}

/// Maps that a pod asks for.
#[derive(Clone, Copy, Debug)]
pub struct WantedMaps<'a> {
    /// Of which application.
    pub application: &'a str,
    /// The pod's namespace, where it is known.
    pub namespace: Option<&'a str>,
    /// Which maps.
    pub names: &'a [String],
    /// What the pod may do with them.
    pub access: MapAccess,
}

fn for_pods(namespace: Option<&str>) -> String {
    namespace.map_or_else(String::new, |namespace| {
        format!(" by an application of namespace \"{namespace}\" or by a cluster application")
    })
}

/// Whose programs a pod gets: the first of these that has the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// An application of the pod's own namespace.
    OwnNamespace,
    /// A cluster application: who may make one may do anything on the node.
    Cluster,
    /// Loaded by root of the node, without an application.
    Node,
    /// An application of another namespace, which the pod names.
    OtherNamespace,
}

/// An application as a pod names it: `NAME`, or `NAMESPACE/NAME`.
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

    /// Whose a program is that has the name, for a pod of a namespace. `None` for programs of another namespace than the
    /// one that is named: they are nobody else's, whatever they are called.
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

/// Holds maps of an application, for a pod of a namespace. The application of that namespace comes first, then the
/// cluster application of that name, then programs that were loaded without an application. Those of another namespace
/// count where the pod names it, `NAMESPACE/NAME`.
///
/// What an application gives out is what its load says ([`MapExports`]). Where that says nothing, pods of its own
/// namespace get its maps, and others as `unexported` has it.
///
/// Programs of one load share all maps of their object, so any of them will do; where
/// loads differ, each map is that of the program with the lowest id that has it. Only programs that the kernel runs
/// count, and only maps that are pinned for applications: global variables are not.
///
/// # Errors
/// Nothing of that name is loaded, it has no such map or does not give it out, or the kernel refuses.
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

/// Refuses to give a map to pods for writing whose entries are fixed, or lead to other objects: no pod may write every map.
fn ensure_for_pods(application: &str, map: &str, facts: &MapFacts) -> Result<(), NamedMapsError> {
    let why = match recipients_for_writing(map, facts) {
        Ok(MapRecipients::WritersOfIt) => return Ok(()),
        Ok(MapRecipients::WritersOfAll) => "its entries lead to other maps, programs or devices",
        Err(why) => why,
    };
    Err(NamedMapsError::NotForWriting { application: application.to_owned(), map: map.to_owned(), why })
}

/// The most that a pod may do with a map of a program.
fn given(
    program: &ProgramRecord,
    map: &str,
    namespace: Option<&str>,
    origin: Origin,
    unexported: UnexportedMaps,
) -> Option<MapAccess> {
    match program.metadata.get(MAP_EXPORTS_KEY) {
        // What is no export was recorded by a daemon that knew none, and gives nothing.
        Some(text) => text.parse::<MapExports>().ok()?.access(map, namespace),
        None if origin == Origin::OwnNamespace => Some(MapAccess::Write),
        None if origin == Origin::OtherNamespace => None,
        None => match unexported {
            UnexportedMaps::Refuse => None,
            UnexportedMaps::Give(access) => Some(access),
        },
    }
}

/// Programs of an application that the kernel runs, by id, and whose they are.
fn programs_of<K: Kernel>(
    engine: &Engine<K>,
    application: &str,
    namespace: Option<&str>,
) -> Result<(Vec<Arc<ProgramRecord>>, Origin), NamedMapsError> {
    let named = ApplicationName::of(application);
    let mut programs = engine.programs_with(PROGRAM_NAME_KEY, named.name)?;
    // Also lost programs decide: who has the name does not change while its programs cannot be loaded.
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
