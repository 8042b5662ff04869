//! Break-glass detachment: detaches everything of the daemon by pins and kernel state alone, without the records.
//!
//! Attachments of the daemon are links that are pinned in its folders and run a program that it pinned, and filters
//! that run one. Priorities, handles and names of filters prove nothing. Programs and maps stay loaded and pinned.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use bpfman_model::uapi::prog_type;
use bpfman_model::{
    Direction, Hint, HookAttachment, HookKey, HookKind, Interface, KernelLinkId, NetnsId, NetnsNumber,
    ProgramFacts, ProgramId,
};
use bpfmand_kernel::{FilterPlace, FoundNamespace, Kernel, KernelError, TcFilter};

use crate::paths;
use crate::standing::{MAX_NAMESPACE_END, NAMESPACE_END_PAUSE, numbered_namespaces};
use crate::state::paths::BRIDGE_NAME;

const DEPTH: usize = 4;

const PLACES: [&str; 4] = ["xdp", "tc-ingress", "tc-egress", paths::LINKS];

/// Order in which programs are detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DetachRank {
    /// LSM and tracing programs: they can refuse the very calls that the next detachments need.
    Refuses,
    /// XDP and extensions: they drop packets first, including those of a remote shell.
    Xdp,
    /// Other programs that can drop packets or refuse access.
    Tc,
    /// Observers: they cost only time.
    Watches,
}

/// Attachment of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderedAttachment {
    /// Position in the order of detaching.
    pub rank: DetachRank,
    /// Kernel id of the program that it runs.
    pub program: ProgramId,
    /// Name of the program in the kernel.
    pub name: String,
    place: AttachedPlace,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum AttachedPlace {
    Link { pin: PathBuf, id: KernelLinkId },
    Filter { interface: Interface, key: HookKey, direction: Direction, filter: TcFilter },
}

/// All attachments, in the order of detaching.
#[derive(Clone, Debug, Default)]
pub struct OrderedAttachments {
    pub ours: Vec<OrderedAttachment>,
    /// Attachments that stay, with the reason: third-party ones, and those that cannot be read.
    pub left: Vec<String>,
    read: HashSet<NetnsId>,
}

impl std::fmt::Display for OrderedAttachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (program, name) = (self.program, &self.name);
        match &self.place {
            AttachedPlace::Link { pin, id } => {
                write!(f, "link {id} pinned at {}, program {program} {name}", pin.display())
            }
            AttachedPlace::Filter { interface, key, filter, .. } => write!(
                f,
                "filter pref {} handle {:#x} at {}, program {program} {name}",
                filter.priority,
                filter.handle,
                key.kind.at(interface)
            ),
        }
    }
}

impl OrderedAttachment {
    /// Detaches the program. Returns after the kernel has released it; an error if another process holds the link.
    pub fn detach<K: Kernel>(&self, kernel: &K) -> Result<(), KernelError> {
        match &self.place {
            AttachedPlace::Link { pin, .. } => {
                kernel.end_link(pin)?;
                match pin.parent() {
                    Some(folder) if is_of_cpus(folder) && kernel.list_folder(folder)?.is_empty() => {
                        kernel.remove_folder(folder)
                    }
                    _ => Ok(()),
                }
            }
            AttachedPlace::Filter { interface, key, direction, filter } => {
                let (home, netns) = (key.netns.into(), interface.netns.as_deref());
                let (ifindex, direction, filter) = (key.ifindex, *direction, *filter);
                let at = FilterPlace { home, netns, ifindex, direction, filter };
                kernel.remove_filter(&at, self.program)
            }
        }
    }
}

fn is_of_cpus(folder: &Path) -> bool {
    folder.parent() == Some(Path::new(paths::LINKS))
}

/// Finds all attachments. Filters are searched in all network namespaces that can be found.
pub fn find_attached<K: Kernel>(kernel: &K) -> OrderedAttachments {
    let mut found = OrderedAttachments::default();
    let (mut programs, mut links) = (BTreeMap::new(), Vec::new());
    look_through(kernel, Path::new(""), DEPTH, &mut |pin| {
        let opened = match kernel.open_pin(pin) {
            Ok(Some(handle)) => handle,
            Ok(None) => return,
            // It may be a folder of a third party: report it only in the daemon's own folders.
            Err(error) => {
                if pin.parent().is_some_and(|folder| PLACES.iter().any(|place| folder == Path::new(place))) {
                    found.left.push(format!("{}: {error}", pin.display()));
                }
                return;
            }
        };
        if let Ok(facts) = kernel.program_of(&opened) {
            programs.insert(facts.id, facts);
        } else if let Ok(link) = kernel.link_of(&opened) {
            links.push((pin.to_owned(), link));
        }
    });
    let mut seen = HashSet::new();
    for (pin, link) in links {
        if !link.is_live() || !seen.insert(link.id) {
            continue;
        }
        if let Some(map) = link.map {
            // The kernel names no program of this struct_ops map: only the pin shows the owner.
            let is_ours = [paths::LINKS, paths::PENDING].iter().any(|folder| pin.starts_with(folder));
            if !is_ours {
                found.left.push(format!(
                    "link {} pinned at {} has the kernel call functions that are not ours",
                    link.id,
                    pin.display()
                ));
                continue;
            }
            let name = kernel.map(map).ok().flatten().map(|map| map.name).unwrap_or_default();
            let place = AttachedPlace::Link { pin, id: link.id };
            found.ours.push(OrderedAttachment { rank: DetachRank::Tc, program: link.program, name, place });
            continue;
        }
        let running = match kernel.program(link.program) {
            Ok(Some(facts)) => facts,
            Ok(None) => continue,
            Err(error) => {
                found.left.push(format!("link {} pinned at {}: {error}", link.id, pin.display()));
                continue;
            }
        };
        if programs.contains_key(&running.id) || running.name.starts_with(BRIDGE_NAME) {
            found.ours.push(OrderedAttachment {
                rank: rank(&running),
                program: running.id,
                name: running.name,
                place: AttachedPlace::Link { pin, id: link.id },
            });
        } else {
            found.left.push(format!(
                "link {} pinned at {} runs program {} {}, which is not ours",
                link.id,
                pin.display(),
                running.id,
                running.name
            ));
        }
    }
    find_filters(kernel, &programs, &mut found);
    found.ours.sort_by_key(|thing| thing.rank);
    found
}

/// Finds the daemon's filters, and notes the namespaces in which all filters could be read.
fn find_filters<K: Kernel>(
    kernel: &K,
    ours: &BTreeMap<ProgramId, ProgramFacts>,
    found: &mut OrderedAttachments,
) {
    let mut seen = HashSet::new();
    let others = kernel.all_namespaces().into_iter().map(Some);
    for netns in std::iter::once(None).chain(others) {
        let Ok(interfaces) = kernel.interfaces(netns.as_deref()) else { continue };
        let (mut homes, mut is_read) = (HashSet::new(), true);
        for facts in interfaces {
            let interface = Interface { name: facts.name, netns: netns.clone() };
            for direction in [Direction::Ingress, Direction::Egress] {
                let Ok(key) = kernel.find_hook(&interface, HookKind::Tc(direction)) else {
                    is_read = false;
                    continue;
                };
                homes.extend(key.netns.id());
                if !seen.insert(key) {
                    continue;
                }
                let Ok(contents) = kernel.hook_contents(netns.as_deref(), &key) else {
                    is_read = false;
                    seen.remove(&key);
                    continue;
                };
                for entry in contents.entries {
                    let (HookAttachment::Filter(filter), Some(program)) = (entry.via, entry.program) else {
                        continue;
                    };
                    let Some(facts) = ours.get(&program) else { continue };
                    let filter = TcFilter { priority: filter.priority, handle: filter.handle };
                    let interface = interface.clone();
                    found.ours.push(OrderedAttachment {
                        rank: DetachRank::Tc,
                        program,
                        name: facts.name.clone(),
                        place: AttachedPlace::Filter { interface, key, direction, filter },
                    });
                }
            }
        }
        // If the path led to two namespaces in the course of the search, neither was read completely.
        if is_read && homes.len() == 1 {
            found.read.extend(homes);
        }
    }
}

impl OrderedAttachments {
    /// Describes unread namespaces that still exist and had filters of the daemon. Call it after everything is
    /// detached, because netfilter links keep namespaces alive. Waits a moment for namespaces that are about to end.
    pub fn find_unseen<K: Kernel>(&self, kernel: &K) -> Vec<String> {
        let began = Instant::now();
        loop {
            let unseen = self.unseen_now(kernel);
            if unseen.is_empty() || began.elapsed() > MAX_NAMESPACE_END {
                return unseen;
            }
            std::thread::sleep(NAMESPACE_END_PAUSE);
        }
    }

    fn unseen_now<K: Kernel>(&self, kernel: &K) -> Vec<String> {
        let numbered = match numbered_namespaces(kernel) {
            Ok(numbered) => numbered,
            Err(error) => return vec![error.to_string()],
        };
        let describe = |(home, number, _): (NetnsId, NetnsNumber, PathBuf)| {
            let inode = home.inode;
            match kernel.find_namespace(home, None, Some(number)) {
                Ok(FoundNamespace::Ended) => None,
                Ok(FoundNamespace::NotFound) => Some(format!(
                    "a filter may run on in network namespace {inode}: no name, mount or process leads there. A descriptor, a \
                     socket or a netfilter link keeps it; {}",
                    Hint::NamespaceHolders { inode }
                )),
                Ok(FoundNamespace::At(path)) => Some(format!(
                    "a filter may run on in network namespace {inode} at {}, whose filters could not be read: `bpfmand \
                     --break-glass` looks again",
                    path.display()
                )),
                Ok(FoundNamespace::Own) => Some(format!(
                    "a filter may run on in network namespace {inode}, whose filters could not be read: `bpfmand \
                     --break-glass` looks again"
                )),
                Err(error) => Some(error.to_string()),
            }
        };
        let is_unread = |(home, ..): &(NetnsId, NetnsNumber, PathBuf)| !self.read.contains(home);
        numbered.into_iter().filter(is_unread).filter_map(describe).collect()
    }
}

fn rank(program: &ProgramFacts) -> DetachRank {
    match program.kernel_type {
        // Programs that change the results of functions (fmod_ret) share the type `TRACING` with mere observers.
        prog_type::LSM | prog_type::TRACING => DetachRank::Refuses,
        // An extension may extend an XDP program.
        prog_type::XDP | prog_type::EXT => DetachRank::Xdp,
        prog_type::SCHED_CLS
        | prog_type::NETFILTER
        | prog_type::SK_LOOKUP
        | prog_type::FLOW_DISSECTOR
        | prog_type::CGROUP_SKB
        | prog_type::CGROUP_SOCK
        | prog_type::CGROUP_SOCK_ADDR
        | prog_type::CGROUP_SOCKOPT
        | prog_type::CGROUP_SYSCTL
        | prog_type::CGROUP_DEVICE
        | prog_type::SOCK_OPS
        | prog_type::SK_SKB
        | prog_type::SK_MSG => DetachRank::Tc,
        _ => DetachRank::Watches,
    }
}

/// Calls `each` for every pin below a folder, except in folders of maps, which attach nothing.
fn look_through<K: Kernel>(kernel: &K, folder: &Path, depth: usize, each: &mut impl FnMut(&Path)) {
    let names = kernel.list_folder(folder).unwrap_or_default();
    if names.is_empty() && folder != Path::new("") {
        return each(folder);
    }
    for name in names {
        let is_maps =
            folder == Path::new("") && [paths::MAPS, paths::SHARED, paths::GROUPS].contains(&&*name);
        if depth > 0 && !is_maps {
            look_through(kernel, &folder.join(name), depth - 1, each);
        }
    }
}
