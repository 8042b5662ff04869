use std::collections::{BTreeMap, BTreeSet};

use bpfman_proto::WirePoint;
use bpfman_proto::ext::v1 as ext;

use super::ApplyStep;
use crate::desired::{AttachmentKey, Load, Program, WantedLink};
use crate::observed::{ObservedLink, ObservedProgram, ObservedPrograms};
use crate::place::HookPlace;

/// Returns the steps for attachments: new ones, changes, removals. With `sweep`, programs not among
/// `versions` are unloaded: running ones at the end, others at the beginning, as they prevent changes of
/// their chains.
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

pub(super) fn unload(program: &ObservedProgram, newer: Option<&Program>) -> ApplyStep {
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

pub(super) fn unload_all<'a>(
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
    fn detach_waits_for_attachment_that_replaces_it() {
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
