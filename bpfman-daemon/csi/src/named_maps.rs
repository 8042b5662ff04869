//! Maps of an application, by the names that its users know: what is given to others.

use std::sync::Arc;

use bpfmand_core::MapId;
use bpfmand_engine::{
    Engine, EngineError, OWNER_KEY, PROGRAM_NAME_KEY, PROGRAM_NAMESPACE_KEY, ProgramRecord,
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
    /// Anything else.
    #[error(transparent)]
    Engine(#[from] EngineError),
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
}

impl Origin {
    /// `None` for programs of another namespace: they are nobody else's, whatever they are called.
    fn of(program: &ProgramRecord, namespace: Option<&str>) -> Option<Self> {
        match program.metadata.get(PROGRAM_NAMESPACE_KEY) {
            Some(other) => (Some(other.as_str()) == namespace).then_some(Self::OwnNamespace),
            None if program.metadata.contains_key(OWNER_KEY) => Some(Self::Cluster),
            None => Some(Self::Node),
        }
    }
}

/// Holds maps of an application, for a pod of a namespace. The application of that namespace comes first, then the
/// cluster application of that name, then programs that were loaded without an application. Those of other
/// namespaces are never given out; without a namespace those of no namespace are.
///
/// Programs of one load share all maps of their object, so any of them will do; where
/// loads differ, each map is that of the program with the lowest id that has it. Only programs that the kernel runs
/// count, and only maps that are pinned for applications: global variables are not.
///
/// # Errors
/// Nothing of that name is loaded, it has no such map, or the kernel refuses.
pub fn maps_by_name<K: Kernel>(
    engine: &Engine<K>,
    application: &str,
    namespace: Option<&str>,
    names: &[String],
) -> Result<Vec<NamedMap<K::Handle>>, NamedMapsError> {
    let programs = programs_of(engine, application, namespace)?;
    let public = || programs.iter().flat_map(|program| program.maps.iter().filter(|map| map.public));
    let mut held = Vec::with_capacity(names.len());
    for name in names {
        let Some(id) = public().find(|map| map.name == *name).and_then(|map| map.id) else {
            let mut there: Vec<String> = public().map(|map| map.name.clone()).collect();
            there.sort();
            there.dedup();
            return Err(NamedMapsError::NoMap {
                application: application.to_owned(),
                map: name.clone(),
                there,
            });
        };
        let handle = engine.kernel().open_map(id).map_err(EngineError::from)?;
        held.push(NamedMap { name: name.clone(), id, handle });
    }
    Ok(held)
}

/// Programs of an application that the kernel runs, by id.
fn programs_of<K: Kernel>(
    engine: &Engine<K>,
    application: &str,
    namespace: Option<&str>,
) -> Result<Vec<Arc<ProgramRecord>>, NamedMapsError> {
    let mut programs = engine.programs_with(PROGRAM_NAME_KEY, application)?;
    // Also lost programs decide: who has the name does not change while its programs cannot be loaded.
    let Some(first) = programs.iter().filter_map(|(program, _)| Origin::of(program, namespace)).min() else {
        return Err(NamedMapsError::NotLoaded {
            application: application.to_owned(),
            namespace: namespace.map(str::to_owned),
        });
    };
    programs.retain(|(program, runs)| *runs && Origin::of(program, namespace) == Some(first));
    if programs.is_empty() {
        return Err(NamedMapsError::NotRunning { application: application.to_owned() });
    }
    Ok(programs.into_iter().map(|(program, _)| program).collect())
}
