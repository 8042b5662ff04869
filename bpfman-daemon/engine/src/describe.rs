//! What there is: the records, with the kernel's facts beside them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bpfmand_core::{
    AttachPoint, HookKey, HookKind, Interface, KernelLinkId, LinkId, MapFacts, ProceedOn, ProgramFacts,
    ProgramId, ProgramType, ProgramUid, PullPolicy, Selector,
};
use bpfmand_kernel::{Kernel, TcFilter};

use crate::chain::{filter_place, hook_text};
use crate::records::{Entry, HookRecord, LinkRecord, ProgramRecord, SourceRecord, Strategy};
use crate::{Engine, EngineError, paths};

/// Everything is as it was asked for.
const OK: &str = "ok";

/// Where a program's bytecode came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramSource {
    /// A file, by the path that the load named.
    File(PathBuf),
    /// An image.
    Image {
        /// Reference as asked for.
        url: String,
        /// As asked for.
        pull_policy: PullPolicy,
        /// `sha256:…`.
        digest: String,
        /// The rule and signer that let it in.
        verified_by: String,
    },
}

/// What the records say of a program of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedProgram {
    /// Our key.
    pub uid: ProgramUid,
    /// Function name, uncut.
    pub name: String,
    /// Exact type.
    pub program_type: ProgramType,
    /// Where it came from.
    pub source: ProgramSource,
    /// sha256 of the object file, 64 digits.
    pub bytecode_sha256: String,
    /// Licence of the object.
    pub license: String,
    /// The user's pairs.
    pub metadata: BTreeMap<String, String>,
    /// The user's global variables.
    pub global_data: BTreeMap<String, Vec<u8>>,
    /// The owner of its maps, as asked for.
    pub map_owner: Option<ProgramId>,
    /// Folder of its maps, relative to the daemon's bpffs.
    pub map_folder: PathBuf,
    /// Its pin, relative to the daemon's bpffs.
    pub pin: PathBuf,
    /// Programs that share its map folder, itself among them.
    pub map_used_by: Vec<ProgramId>,
    /// Its links.
    pub links: Vec<LinkId>,
    /// Function or hook it was loaded for.
    pub target: Option<String>,
    /// Who asked for it.
    pub caller_uid: u32,
    /// "ok", or what differs from what was asked for.
    pub state: String,
}

/// A program: the kernel's facts, and ours if it is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramDetails {
    /// Kernel id.
    pub id: ProgramId,
    /// None if the kernel no longer has it.
    pub facts: Option<ProgramFacts>,
    /// None for programs of others.
    pub managed: Option<ManagedProgram>,
}

/// A map of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapDetails {
    /// Name in the object, or the kernel's for maps of others.
    pub name: String,
    /// The kernel's facts.
    pub facts: MapFacts,
    /// Its pin, relative to the daemon's bpffs.
    pub pin: Option<PathBuf>,
    /// Programs of ours that use it.
    pub used_by: Vec<ProgramId>,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkDetails {
    /// Our id.
    pub id: LinkId,
    /// Which program.
    pub program: ProgramId,
    /// Its function name.
    pub program_name: String,
    /// Its type.
    pub program_type: ProgramType,
    /// Function or hook its program was loaded for.
    pub target: Option<String>,
    /// Where, as asked for.
    pub point: AttachPoint,
    /// The user's pairs.
    pub metadata: BTreeMap<String, String>,
    /// The program's pairs.
    pub program_metadata: BTreeMap<String, String>,
    /// Place among the programs of its hook, 0 first.
    pub position: Option<u32>,
    /// The kernel's link.
    pub kernel_link: Option<KernelLinkId>,
    /// What the kernel runs there.
    pub running: Option<ProgramId>,
    /// The link's pin, relative to the daemon's bpffs.
    pub pin: Option<PathBuf>,
    /// The hook as commands name it.
    pub hook: Option<String>,
    /// "ok", or what differs from what was asked for.
    pub state: String,
}

/// A member of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainMemberDetails {
    /// Our link.
    pub link: LinkId,
    /// Kernel id of the member loaded alone.
    pub program: ProgramId,
    /// Function name.
    pub name: String,
    /// Place, 0 first.
    pub position: u32,
    /// As asked for.
    pub priority: i32,
    /// When the next member runs; none for tcx.
    pub proceed_on: Option<ProceedOn>,
}

/// The chain of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainDetails {
    /// The hook as commands name it.
    pub hook: String,
    /// "direct", "splice" or "kernel".
    pub strategy: &'static str,
    /// Why.
    pub reason: String,
    /// The entry program; none for tcx.
    pub entry: Option<ProgramFacts>,
    /// The kernel's link of the entry.
    pub kernel_link: Option<KernelLinkId>,
    /// "xdp", "tcx" or "clsact": by which mechanism of the kernel the chain is entered.
    pub mode: &'static str,
    /// In the order they run.
    pub members: Vec<ChainMemberDetails>,
}

/// What a hook runs now.
struct Running {
    kernel_link: Option<KernelLinkId>,
    program: Option<ProgramId>,
    pin: Option<PathBuf>,
    state: String,
}

impl<K: Kernel> Engine<K> {
    /// Programs that a selector picks, by kernel id.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    pub fn list(&self, selector: &Selector) -> Result<Vec<ProgramDetails>, EngineError> {
        let ours_alone =
            selector.managed_only || !selector.metadata.is_empty() || selector.program_type.is_some();
        let mut ids: Vec<ProgramId> = self.state().by_id.keys().copied().collect();
        if !ours_alone {
            ids.extend(self.kernel.program_ids()?);
        }
        ids.sort_unstable();
        ids.dedup();
        let mut found = Vec::new();
        for id in ids {
            let record = self.state().program(id).cloned();
            if let Some(record) = &record {
                let fits = selector.program_type.is_none_or(|wanted| wanted == record.program_type)
                    && selector.kernel_type.is_none_or(|wanted| wanted == record.program_type.kernel_type())
                    && selector.metadata.iter().all(|(key, value)| has_pair(&record.metadata, key, value));
                if !fits {
                    continue;
                }
            }
            // A program of someone else may go away between the list and this question.
            let facts = self.kernel.program(id)?;
            match (&record, &facts) {
                (None, None) => continue,
                (None, Some(facts))
                    if ours_alone
                        || selector.kernel_type.is_some_and(|wanted| wanted != facts.kernel_type) =>
                {
                    continue;
                }
                _ => {}
            }
            let managed = record.map(|record| self.managed(&record, facts.as_ref()));
            found.push(ProgramDetails { id, facts, managed });
        }
        Ok(found)
    }

    /// One program, of ours or of others.
    ///
    /// # Errors
    /// There is none of that id.
    pub fn describe_program(&self, id: ProgramId) -> Result<ProgramDetails, EngineError> {
        let record = self.state().program(id).cloned();
        let facts = self.kernel.program(id)?;
        if record.is_none() && facts.is_none() {
            return Err(EngineError::NoKernelProgram(id));
        }
        let managed = record.map(|record| self.managed(&record, facts.as_ref()));
        Ok(ProgramDetails { id, facts, managed })
    }

    fn managed(&self, record: &ProgramRecord, facts: Option<&ProgramFacts>) -> ManagedProgram {
        let state = self.state();
        ManagedProgram {
            uid: record.uid,
            name: record.name.clone(),
            program_type: record.program_type,
            source: match &record.source {
                SourceRecord::File { path } => ProgramSource::File(PathBuf::from(path)),
                SourceRecord::Image { url, pull_policy, digest, verified_by } => ProgramSource::Image {
                    url: url.clone(),
                    pull_policy: *pull_policy,
                    digest: digest.clone(),
                    verified_by: verified_by.clone(),
                },
            },
            bytecode_sha256: record.blob.as_str().to_owned(),
            license: record.license.clone(),
            metadata: record.metadata.clone(),
            global_data: record.global_data.clone(),
            map_owner: record.map_owner,
            map_folder: paths::maps(record.map_folder),
            pin: paths::program(record.id),
            map_used_by: state.users_of_folder(record.map_folder),
            links: state.links_of(record.uid).map(|link| link.id).collect(),
            target: record.target.clone(),
            caller_uid: record.caller_uid,
            state: match facts {
                None => "missing: the kernel no longer has it".to_owned(),
                Some(facts) if facts.tag != record.tag => {
                    "changed: the kernel has another program under its id".to_owned()
                }
                Some(_) => OK.to_owned(),
            },
        }
    }

    /// The maps of a program.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    pub fn maps_of(&self, program: &ProgramDetails) -> Result<Vec<MapDetails>, EngineError> {
        let Some(facts) = &program.facts else { return Ok(Vec::new()) };
        let records: Vec<Arc<ProgramRecord>> = self.state().programs.values().cloned().collect();
        let own = self.state().program(program.id).cloned();
        let mut maps = Vec::with_capacity(facts.map_ids.len());
        for id in &facts.map_ids {
            let Some(facts) = self.kernel.map(*id)? else { continue };
            let known = own.as_ref().and_then(|record| record.maps.iter().find(|map| map.id == *id));
            let folder = own.as_ref().map(|record| paths::maps(record.map_folder));
            maps.push(MapDetails {
                name: known.map_or_else(|| facts.name.clone(), |map| map.name.clone()),
                pin: known.filter(|map| map.public).zip(folder).map(|(map, folder)| folder.join(&map.name)),
                used_by: records
                    .iter()
                    .filter(|record| record.maps.iter().any(|map| map.id == *id))
                    .map(|record| record.id)
                    .collect(),
                facts,
            });
        }
        Ok(maps)
    }

    /// All links, by id, of the programs that `wanted` picks.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    pub fn list_links(
        &self,
        program: Option<ProgramId>,
        program_type: Option<ProgramType>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Vec<LinkDetails>, EngineError> {
        let links: Vec<Arc<LinkRecord>> = {
            let state = self.state();
            let fits = |link: &&Arc<LinkRecord>| {
                state.programs.get(&link.program).is_some_and(|owner| {
                    program.is_none_or(|wanted| wanted == owner.id)
                        && program_type.is_none_or(|wanted| wanted == owner.program_type)
                        && metadata.iter().all(|(key, value)| has_pair(&owner.metadata, key, value))
                })
            };
            state.links.values().filter(fits).cloned().collect()
        };
        links.iter().map(|link| self.link_details(link)).collect()
    }

    /// One link.
    ///
    /// # Errors
    /// There is none of that id.
    pub fn describe_link(&self, id: LinkId) -> Result<LinkDetails, EngineError> {
        let link = self.state().links.get(&id).cloned().ok_or(EngineError::NoLink(id))?;
        self.link_details(&link)
    }

    fn link_details(&self, link: &LinkRecord) -> Result<LinkDetails, EngineError> {
        let program = self.record(link.program).ok_or(EngineError::NoLink(link.id))?;
        let position = link.hook.and_then(|key| {
            self.state().chain(&key).iter().position(|other| other.id == link.id).map(|at| at as u32)
        });
        let hook = link.hook.and_then(|key| self.state().hooks.get(&key).cloned());
        let running = match &hook {
            Some(hook) => self.running_chain(hook)?,
            None => self.running_link(link, program.id)?,
        };
        Ok(LinkDetails {
            id: link.id,
            program: program.id,
            program_name: program.name.clone(),
            program_type: program.program_type,
            target: program.target.clone(),
            point: link.point.clone(),
            metadata: link.metadata.clone(),
            program_metadata: program.metadata.clone(),
            position,
            kernel_link: running.kernel_link,
            running: running.program,
            pin: running.pin,
            hook: link.hook.zip(link.point.hook()).map(|(key, (interface, _))| hook_text(&key, interface)),
            state: running.state,
        })
    }

    fn running_link(&self, link: &LinkRecord, program: ProgramId) -> Result<Running, EngineError> {
        let pin = paths::link(link.id);
        let Some(handle) = self.kernel.open_pin(&pin)? else {
            return Ok(Running {
                kernel_link: None,
                program: None,
                pin: None,
                state: "missing: its pin was removed".to_owned(),
            });
        };
        let facts = self.kernel.link_of(&handle)?;
        let state = if link.hook.is_some() && facts.ifindex.is_none() {
            "gone: its interface no longer exists".to_owned()
        } else if facts.program == program {
            OK.to_owned()
        } else {
            format!("changed: the kernel's link runs program {}", facts.program)
        };
        Ok(Running { kernel_link: Some(facts.id), program: Some(facts.program), pin: Some(pin), state })
    }

    fn running_chain(&self, hook: &HookRecord) -> Result<Running, EngineError> {
        match hook.entry {
            Entry::Link => {
                let pin = paths::hook_link(&hook.key);
                let Some(handle) = self.kernel.open_pin(&pin)? else {
                    return Ok(Running {
                        kernel_link: None,
                        program: None,
                        pin: None,
                        state: "missing: the pin of its chain was removed".to_owned(),
                    });
                };
                let facts = self.kernel.link_of(&handle)?;
                let state = if facts.ifindex.is_none() {
                    "gone: its interface no longer exists".to_owned()
                } else if facts.program == hook.program {
                    OK.to_owned()
                } else {
                    format!("changed: the hook runs program {} instead of its chain", facts.program)
                };
                let program = facts.ifindex.map(|_| facts.program);
                Ok(Running { kernel_link: Some(facts.id), program, pin: Some(pin), state })
            }
            Entry::Filter { priority, handle } => {
                let program = filter_place(&hook.key, &hook.interface, TcFilter { priority, handle })
                    // The namespace may be gone with its interface.
                    .and_then(|at| self.kernel.filter_program(&at).unwrap_or(None));
                let state = match program {
                    Some(program) if program == hook.program => OK.to_owned(),
                    Some(program) => {
                        format!("changed: the filter runs program {program} instead of its chain")
                    }
                    None => "gone: its filter or interface no longer exists".to_owned(),
                };
                Ok(Running { kernel_link: None, program, pin: None, state })
            }
        }
    }

    /// The chain of a hook.
    ///
    /// # Errors
    /// No program of ours is there, or the interface does not exist.
    pub fn chain_of(&self, interface: &Interface, kind: HookKind) -> Result<ChainDetails, EngineError> {
        let key: HookKey = self.kernel.find_hook(interface, kind)?;
        let (links, hook) = {
            let state = self.state();
            (state.chain(&key), state.hooks.get(&key).cloned())
        };
        let text = hook_text(&key, interface);
        if links.is_empty() {
            return Err(EngineError::NoChain { hook: text });
        }
        let members = links
            .iter()
            .enumerate()
            .filter_map(|(position, link)| {
                let program = self.record(link.program)?;
                Some(ChainMemberDetails {
                    link: link.id,
                    program: program.id,
                    name: program.name.clone(),
                    position: position as u32,
                    priority: link.point.priority().unwrap_or(0),
                    proceed_on: link.point.proceed_on(),
                })
            })
            .collect();
        let Some(hook) = hook else {
            return Ok(ChainDetails {
                hook: text,
                strategy: "kernel",
                reason: "tcx: the kernel runs the links one after another".to_owned(),
                entry: None,
                kernel_link: None,
                mode: "tcx",
                members,
            });
        };
        let running = self.running_chain(&hook)?;
        let entry = running.program.map(|id| self.kernel.program(id)).transpose()?.flatten();
        let (strategy, reason) = match hook.strategy {
            Strategy::Direct => (
                "direct",
                "one member, whose proceed-on set cannot change its verdict: it is attached itself"
                    .to_owned(),
            ),
            Strategy::Splice if links.len() == 1 => (
                "splice",
                "one member, whose verdicts have to be translated or checked at its end".to_owned(),
            ),
            Strategy::Splice => ("splice", format!("{} members joined into one program", links.len())),
        };
        Ok(ChainDetails {
            hook: text,
            strategy,
            reason,
            entry,
            kernel_link: running.kernel_link,
            mode: match hook.entry {
                Entry::Link if key.kind == HookKind::Xdp => "xdp",
                Entry::Link => "tcx",
                Entry::Filter { .. } => "clsact",
            },
            members,
        })
    }
}

/// The metadata key of an application changed its name between versions of v0.6.0's line: both are read.
pub const APPLICATION_KEYS: [&str; 2] = ["bpfman_application", "bpfman.io/application"];

/// True if the metadata has the pair.
fn has_pair(metadata: &BTreeMap<String, String>, key: &str, value: &str) -> bool {
    let keys: &[&str] = if APPLICATION_KEYS.contains(&key) { &APPLICATION_KEYS } else { &[key] };
    keys.iter().any(|key| metadata.get(*key).is_some_and(|found| found == value))
}
