//! Computation of the steps from the current to the desired state. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bpfman_proto::WirePoint;
use bpfman_proto::ext::v1 as ext;

use crate::desired::{AttachmentKey, Desired, Load, Program, WantedLink};
use crate::observed::{ObservedLink, ObservedProgram, ObservedPrograms, declared, latest};
use crate::place::HookPlace;

/// Step: one call, or several with one purpose.
#[derive(Clone, Debug, PartialEq)]
pub enum ApplyStep {
    /// Load of all programs.
    Load {
        /// Names of the programs.
        programs: Vec<String>,
    },
    /// Replacement of the running version of all programs by a new one.
    Replace {
        /// Kernel ids of the running version.
        old: Vec<u32>,
        /// Description of the difference.
        why: String,
    },
    /// Attachment of a program.
    Attach {
        /// Name of the program.
        program: String,
        /// Identity of the attachment.
        key: AttachmentKey,
    },
    /// Change of the order of an attachment.
    Update {
        /// Name of the program.
        program: String,
        /// Identity of the attachment.
        key: AttachmentKey,
        /// Request that makes the change.
        request: ext::UpdateLinkRequest,
    },
    /// Replacement of an attachment by detaching and attaching. If that fails, the previous attachment is restored.
    Remake {
        /// Name of the program.
        program: String,
        /// Identity of the attachment.
        key: AttachmentKey,
        /// Id in the daemon.
        link: u32,
        /// Current attach point.
        was: WirePoint,
    },
    /// Detachment of a program.
    Detach {
        /// Name of the program.
        program: String,
        /// Identity of the attachment.
        key: AttachmentKey,
        /// Id in the daemon.
        link: u32,
        /// Possible replacements. If one cannot be made, the old one stays: a mistyped path must not remove protection.
        instead: Vec<AttachmentKey>,
    },
    /// Unloading of a program together with its remaining attachments.
    Unload {
        /// Name of the program.
        program: String,
        /// Kernel id.
        id: u32,
        /// Uid in the daemon: if the program does not run, the kernel may have given its id to another one.
        uid: u64,
        /// Places of its wanted new version. It stays if the new version cannot be attached at one of them.
        instead: Vec<AttachmentKey>,
    },
}

impl fmt::Display for ApplyStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load { programs } => write!(f, "load {}", programs.join(", ")),
            Self::Replace { why, .. } => write!(f, "replace the running version: {why}"),
            Self::Attach { program, key } => write!(f, "attach {program} at {}", key.0),
            Self::Update { program, key, request } => {
                write!(f, "change {program} at {}: {}", key.0, changes(request).join(", "))
            }
            Self::Remake { program, key, .. } => write!(f, "remake {program} at {}", key.0),
            Self::Detach { program, key, .. } => write!(f, "detach {program} from {}", key.0),
            Self::Unload { program, id, .. } => write!(f, "unload {program} ({id})"),
        }
    }
}

fn changes(request: &ext::UpdateLinkRequest) -> Vec<String> {
    let mut changes: Vec<String> =
        request.priority.iter().map(|priority| format!("priority {priority}")).collect();
    if request.set_proceed_on {
        let names = request.proceed_on.join(",");
        changes.push(format!("proceed on {}", if names.is_empty() { "nothing" } else { &names }));
    }
    if let Some(order) = &request.order {
        let mut words = Vec::new();
        if !order.role.is_empty() {
            words.push(format!("role {}", order.role));
        }
        words.extend(order.before.iter().map(|anchor| format!("before {anchor}")));
        words.extend(order.after.iter().map(|anchor| format!("after {anchor}")));
        changes.push(if words.is_empty() { "no intents".to_owned() } else { words.join(" and ") });
    }
    changes
}

/// Returns all steps that are known in advance. `digest` is the one that the image's tag currently resolves to.
pub fn steps(desired: &Desired, seen: &ObservedPrograms, digest: Option<&str>) -> Vec<ApplyStep> {
    if !desired.refused.is_empty() {
        return Vec::new();
    }
    let Some(load) = &desired.load else {
        return seen.programs.iter().rev().map(|program| unload(program, None)).collect();
    };
    let Some(first) = load_step(load, seen, digest) else {
        return link_steps(load, &current(load, seen, digest), seen, true);
    };
    let after = after(load, seen, &first);
    let rest = link_steps(load, &newest(load, &after), &after, false);
    // Programs of still older versions are unloaded at the end, but those that do not run at the beginning.
    let replaced = match &first {
        ApplyStep::Replace { old, .. } => old.iter().copied().collect(),
        _ => BTreeSet::new(),
    };
    let (left, lost) =
        unload_all(load, seen.programs.iter().filter(|program| !replaced.contains(&program.id)));
    [first].into_iter().chain(lost).chain(rest).chain(left).collect()
}

/// Returns the step that loads the wanted version, or `None` if it runs.
pub fn load_step(load: &Load, seen: &ObservedPrograms, digest: Option<&str>) -> Option<ApplyStep> {
    if current(load, seen, digest).len() == load.programs.len() {
        return None;
    }
    let latest = latest(&seen.programs);
    // A program that does not run cannot be replaced; attachments of another agent have no keys and would stay beside
    // the new ones. In both cases the new version is loaded beside the old one, which is then unloaded.
    let replaceable = |program: &&ObservedProgram| program.runs && !program.content.is_empty();
    if latest.is_empty() || !latest.values().all(replaceable) {
        return Some(ApplyStep::Load {
            programs: load.programs.iter().map(|program| program.name.clone()).collect(),
        });
    }
    let why = why(load, &latest, digest);
    Some(ApplyStep::Replace { old: latest.values().map(|program| program.id).collect(), why })
}

fn why(load: &Load, latest: &BTreeMap<(&str, &str), &ObservedProgram>, digest: Option<&str>) -> String {
    let wanted: Vec<(&str, String)> =
        load.programs.iter().map(|program| (program.name.as_str(), declared(program.program_type))).collect();
    let new = wanted.iter().filter(|(name, kind)| !latest.contains_key(&(*name, kind.as_str())));
    let gone =
        latest.keys().filter(|(name, kind)| !wanted.iter().any(|one| one.0 == *name && one.1 == *kind));
    let mut parts: Vec<String> = new.map(|(name, _)| format!("{name} is not loaded")).collect();
    parts.extend(gone.map(|(name, _)| format!("{name} is not wanted any more")));
    let moved = digest.filter(|digest| latest.values().any(|program| program.digest != **digest));
    if let Some(digest) = moved {
        parts.push(format!("the image is now {digest}"));
    }
    let other = |sha256: &String| latest.values().any(|program| program.object_sha256 != *sha256);
    if load.object_sha256.as_ref().is_some_and(other) {
        parts.push("the object file is another one".to_owned());
    }
    if latest.values().any(|program| program.inherited) {
        parts.push("it was loaded for another object of this application".to_owned());
    }
    if parts.is_empty() {
        parts.push("bytecode, globals or what was loaded for differ".to_owned());
    }
    parts.join("; ")
}

/// Returns the running programs of the wanted version, by name.
pub fn current<'a>(
    load: &Load,
    seen: &'a ObservedPrograms,
    digest: Option<&str>,
) -> BTreeMap<String, &'a ObservedProgram> {
    of_load(load, seen.programs.iter().filter(|program| program.is_current(load, digest)))
}

/// Returns the latest version of each wanted program, by name.
pub fn newest<'a>(load: &Load, seen: &'a ObservedPrograms) -> BTreeMap<String, &'a ObservedProgram> {
    of_load(load, &seen.programs)
}

fn of_load<'a>(
    load: &Load,
    programs: impl IntoIterator<Item = &'a ObservedProgram>,
) -> BTreeMap<String, &'a ObservedProgram> {
    let latest = latest(programs);
    let of = |program: &Program| {
        let kind = declared(program.program_type);
        latest.get(&(program.name.as_str(), kind.as_str())).map(|found| (program.name.clone(), *found))
    };
    load.programs.iter().filter_map(of).collect()
}

fn after(load: &Load, seen: &ObservedPrograms, step: &ApplyStep) -> ObservedPrograms {
    let kept = match step {
        ApplyStep::Replace { .. } => newest(load, seen),
        _ => BTreeMap::new(),
    };
    let of = |program: &Program| ObservedProgram {
        name: program.name.clone(),
        declared: declared(program.program_type),
        links: kept.get(&program.name).map(|old| old.links.clone()).unwrap_or_default(),
        ..ObservedProgram::default()
    };
    ObservedPrograms { programs: load.programs.iter().map(of).collect() }
}

/// Returns the steps for attachments: new ones, changes, removals. With `sweep`, programs not among `versions` are
/// unloaded at the end; at the beginning if they do not run, as the daemon changes no chain with such members.
pub fn link_steps(
    load: &Load,
    versions: &BTreeMap<String, &ObservedProgram>,
    seen: &ObservedPrograms,
    sweep: bool,
) -> Vec<ApplyStep> {
    let (mut attach, mut update, mut detach) = (Vec::new(), Vec::new(), Vec::new());
    for program in &load.programs {
        let Some(running) = versions.get(&program.name) else { continue };
        let name = || program.name.clone();
        let mut there = BTreeMap::new();
        let is_there = |key: &AttachmentKey| running.links.iter().any(|link| link.key == *key);
        let new: Vec<&AttachmentKey> = program.links.keys().filter(|key| !is_there(key)).collect();
        for link in &running.links {
            let end = |instead| ApplyStep::Detach {
                program: name(),
                key: link.key.clone(),
                link: link.id,
                instead,
            };
            match program.links.get(&link.key) {
                // A lost response can lead to a second link with the same key.
                Some(_) if there.contains_key(&link.key) => detach.push(end(Vec::new())),
                Some(_) => {
                    there.insert(&link.key, link);
                }
                // Keep attachments if it is unknown whether they are wanted.
                None if program.keeps(&link.key) => {}
                None if link.runs && program.moves(&link.key) => {}
                None if link.runs => {
                    let near = new.iter().filter(|key| key.is_near(&link.key));
                    detach.push(end(near.copied().cloned().collect()));
                }
                None => detach.push(end(Vec::new())),
            }
        }
        for (key, wanted) in &program.links {
            match there.get(key).map(|link| (link, compare(link, wanted))) {
                None => attach.push(ApplyStep::Attach { program: name(), key: key.clone() }),
                Some((_, Difference::None)) => {}
                Some((_, Difference::Place(request))) => {
                    update.push(ApplyStep::Update { program: name(), key: key.clone(), request });
                }
                Some((link, Difference::Another)) => {
                    attach.push(ApplyStep::Attach { program: name(), key: key.clone() });
                    detach.push(ApplyStep::Detach {
                        program: name(),
                        key: key.clone(),
                        link: link.id,
                        instead: vec![key.clone()],
                    });
                }
                Some((link, Difference::Excluding(was))) => {
                    update.push(ApplyStep::Remake { program: name(), key: key.clone(), link: link.id, was });
                }
            }
        }
    }
    let used: BTreeSet<u32> = versions.values().map(|program| program.id).collect();
    let left = seen.programs.iter().filter(|program| sweep && !used.contains(&program.id));
    let (left, lost) = unload_all(load, left);
    [lost, attach, update, detach, left].concat()
}

fn unload(program: &ObservedProgram, newer: Option<&Program>) -> ApplyStep {
    let wanted =
        |link: &&ObservedLink| link.runs && newer.is_some_and(|newer| newer.links.contains_key(&link.key));
    let instead = program.links.iter().filter(wanted).map(|link| link.key.clone()).collect();
    ApplyStep::Unload { program: program.name.clone(), id: program.id, uid: program.uid, instead }
}

/// A program that does not run is detached first: its position in chains must become free even if it cannot be
/// unloaded because its kernel id now belongs to another program.
fn forget(program: &ObservedProgram) -> Vec<ApplyStep> {
    let end = |link: &ObservedLink| ApplyStep::Detach {
        program: program.name.clone(),
        key: link.key.clone(),
        link: link.id,
        instead: Vec::new(),
    };
    program.links.iter().map(end).chain([unload(program, None)]).collect()
}

fn unload_all<'a>(
    load: &Load,
    programs: impl Iterator<Item = &'a ObservedProgram>,
) -> (Vec<ApplyStep>, Vec<ApplyStep>) {
    let (run, lost): (Vec<_>, Vec<_>) = programs.partition(|program| program.runs);
    let newer = |program: &ObservedProgram| load.programs.iter().find(|one| one.name == program.name);
    (
        run.into_iter().map(|program| unload(program, newer(program))).collect(),
        lost.into_iter().flat_map(forget).collect(),
    )
}

enum Difference {
    None,
    Place(ext::UpdateLinkRequest),
    Another,
    /// A new link is needed, and cannot exist at the same time as this one.
    Excluding(WirePoint),
}

fn compare(link: &ObservedLink, wanted: &WantedLink) -> Difference {
    let info = wanted.point.as_published();
    let place = HookPlace::of(info, wanted.order.as_ref());
    // The path leads to another namespace now; or the daemon lost the namespace, and another path leads to it.
    let is_stale = link.elsewhere || link.netns != wanted.point.netns();
    if is_stale && !link.is_in_force(&wanted.point) {
        return Difference::Another;
    }
    if let Some(point) = link.point.as_ref().filter(|point| point.excludes(&wanted.point)) {
        return Difference::Excluding(point.clone());
    }
    if place.proceeds_on_redirect(info) && !link.place.proceeds_on_redirect(info) {
        return Difference::Another;
    }
    link.place.change(link.id, info, &place).map_or(Difference::None, Difference::Place)
}

#[cfg(test)]
mod tests {
    use bpfman_application::place::OnUnavailable;
    use bpfman_proto::v1::attach_info::Info;

    use super::*;

    const THEN: &str = "eth0 in pod uid-web net:11:1";
    const NOW: &str = "eth0 in pod uid-web net:12:2";

    fn steps(wanted: Option<&str>, there: &str, runs: bool) -> Vec<ApplyStep> {
        steps_of(wanted, observed(there, runs))
    }

    fn observed(there: &str, runs: bool) -> ObservedLink {
        let place = HookPlace::of(Some(&Info::XdpAttachInfo(Default::default())), None);
        ObservedLink { id: 7, key: AttachmentKey(there.to_owned()), place, runs, ..Default::default() }
    }

    fn steps_of(wanted: Option<&str>, observed: ObservedLink) -> Vec<ApplyStep> {
        let link = WantedLink {
            point: WirePoint::from(Info::XdpAttachInfo(Default::default())),
            order: None,
            on_unavailable: OnUnavailable::default(),
            pod: Some("uid-web".to_owned()),
        };
        let program = Program {
            name: "wall".to_owned(),
            program_type: "XDP",
            links: wanted.map(|key| (AttachmentKey(key.to_owned()), link)).into_iter().collect(),
            problems: Vec::new(),
            unmatched: Vec::new(),
            unknown: BTreeSet::new(),
        };
        let load = Load { programs: vec![program], ..Load::default() };
        let running =
            ObservedProgram { name: "wall".to_owned(), links: vec![observed], ..Default::default() };
        let versions = BTreeMap::from([("wall".to_owned(), &running)]);
        link_steps(&load, &versions, &ObservedPrograms::default(), false)
    }

    fn attach(key: &str) -> ApplyStep {
        ApplyStep::Attach { program: "wall".to_owned(), key: AttachmentKey(key.to_owned()) }
    }

    fn detach(key: &str) -> ApplyStep {
        detach_for(key, &[])
    }

    fn detach_for(there: &str, instead: &[&str]) -> ApplyStep {
        let key = |key: &str| AttachmentKey(key.to_owned());
        let instead = instead.iter().map(|text| key(text)).collect();
        ApplyStep::Detach { program: "wall".to_owned(), key: key(there), link: 7, instead }
    }

    #[test]
    fn pod_in_a_new_network_stays_guarded_in_the_old_one() {
        assert_eq!(steps(Some(NOW), THEN, true), [attach(NOW)]);
        assert_eq!(steps(Some(NOW), THEN, false), [attach(NOW), detach(THEN)]);
        assert_eq!(steps(None, THEN, true), [detach(THEN)]);
    }

    #[test]
    fn link_whose_path_leads_to_another_namespace_is_made_anew() {
        let there = "eth0 in /run/netns/a";
        let link = |elsewhere| ObservedLink { elsewhere, ..observed(there, false) };
        assert_eq!(steps_of(Some(there), link(true)), [attach(there), detach_for(there, &[there])]);
        assert_eq!(steps_of(Some(there), link(false)), []);
        // A pod's link is identified by its network, whatever the path.
        let left = ObservedLink { elsewhere: true, ..observed(THEN, false) };
        assert_eq!(steps_of(Some(NOW), left), [attach(NOW), detach(THEN)]);
        // The pod's current network has another path: the link's path was of a process that has exited.
        let netns = Some("/proc/7/ns/net".to_owned());
        let there = ObservedLink { elsewhere: true, netns: netns.clone(), ..observed(NOW, false) };
        assert_eq!(steps_of(Some(NOW), there), []);
        let lost = ObservedLink { netns, ..observed(NOW, false) };
        assert_eq!(steps_of(Some(NOW), lost), [attach(NOW), detach_for(NOW, &[NOW])]);
    }

    #[test]
    fn a_link_of_another_pod_or_interface_or_of_the_node_goes() {
        for there in ["eth0 in pod uid-api net:11:1", "eth0", "eth0 in /run/netns/a"] {
            assert_eq!(steps(Some(NOW), there, true), [attach(NOW), detach(there)], "{there}");
        }
        let there = "eth1 in pod uid-web net:11:1";
        assert_eq!(steps(Some(NOW), there, true), [attach(NOW), detach_for(there, &[NOW])]);
    }

    #[test]
    fn what_is_replaced_by_something_near_waits_for_it() {
        for (new, there) in [
            ("/net/new", "/net/old"),
            ("netns in /run/netns/b", "netns"),
            ("/bin/b:start in 1f", "/bin/a:start in 1f"),
            ("/bin/b:start in 1f #2", "/bin/a:start in 1f"),
        ] {
            assert_eq!(steps(Some(new), there, true), [attach(new), detach_for(there, &[new])]);
        }
        for (new, there) in
            [("/bin/a:start in 1f", "/bin/a:start in 2e"), ("/bin/a:start in 1f", "/bin/a:start")]
        {
            assert_eq!(steps(Some(new), there, true), [attach(new), detach(there)]);
        }
    }
}
