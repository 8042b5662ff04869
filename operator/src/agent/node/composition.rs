//! Hash of the other programs on an application's hooks: nodes with equal kernel and hash form one preflight group.
//! Interface names and the number of hooks are left out: nodes with two and three uplinks run the same programs.

use std::collections::{BTreeMap, BTreeSet};

use bpfman_application::spec::ApplicationSpec;
use bpfman_apply::content::UUID_KEY;
use bpfman_apply::failure::Unreachable;
use bpfman_model::hexadecimal;
use bpfman_proto::ext::v1::Program;
use bpfman_proto::v1::ListRequest;
use bpfman_proto::v1::attach_info::Info;
use sha2::{Digest as _, Sha256};

use super::facts;
use crate::agent::objects::state::StateObject;
use crate::agent::shared::Shared;

/// Returns the composition for a spec; empty without shared hooks, `None` if the daemon does not list programs.
pub async fn here(
    shared: &Shared,
    spec: &ApplicationSpec,
    state: &StateObject,
) -> Result<Option<String>, Unreachable> {
    let desired = facts::desired(shared, state, spec).await?;
    let attached =
        desired.load.iter().flat_map(|load| &load.programs).flat_map(|program| program.links.values());
    let hooks: BTreeSet<ChainHook> = attached.filter_map(|link| hook(link.point.as_published())).collect();
    if hooks.is_empty() {
        return Ok(Some(String::new()));
    }
    let select = ListRequest { bpfman_programs_only: Some(true), ..ListRequest::default() };
    let programs = shared.programs(select).await?;
    Ok(programs.map(|programs| hash(&programs, &hooks, &state.uid)))
}

/// Kind, direction, interface and network namespace.
pub type ChainHook = (&'static str, String, String, Option<String>);

/// Returns the hook of an attach point, if it belongs to a chain.
#[must_use]
pub fn hook(info: Option<&Info>) -> Option<ChainHook> {
    match info? {
        Info::XdpAttachInfo(at) => Some(("xdp", String::new(), at.iface.clone(), at.netns.clone())),
        Info::TcAttachInfo(at) => Some(("tc", at.direction.clone(), at.iface.clone(), at.netns.clone())),
        Info::TcxAttachInfo(at) => Some(("tcx", at.direction.clone(), at.iface.clone(), at.netns.clone())),
        _ => None,
    }
}

fn hash(programs: &[Program], hooks: &BTreeSet<ChainHook>, owner: &str) -> String {
    let mut at: BTreeMap<ChainHook, Vec<(u32, &str)>> = BTreeMap::new();
    for program in programs {
        let own = program.info.as_ref().and_then(|info| info.metadata.get(UUID_KEY));
        let Some(kernel) = program.kernel_info.as_ref().filter(|_| own.is_none_or(|own| own != owner)) else {
            continue;
        };
        for link in &program.links {
            let place = hook(link.attach_info.as_ref().and_then(|attach| attach.info.as_ref()))
                .filter(|place| hooks.contains(place));
            if let Some(place) = place {
                at.entry(place).or_default().push((link.position.unwrap_or_default(), &kernel.tag));
            }
        }
    }
    let mut chains = BTreeSet::new();
    for ((kind, side, ..), mut members) in at {
        members.sort_unstable();
        let tags: Vec<&str> = members.into_iter().map(|(_, tag)| tag).collect();
        chains.insert(format!("{kind} {side} {}", tags.join(" ")));
    }
    if chains.is_empty() {
        return String::new();
    }
    let text = chains.into_iter().collect::<Vec<_>>().join("\n");
    hexadecimal(&Sha256::digest(text)[..8])
}

#[cfg(test)]
mod tests {
    use bpfman_proto::ext::v1::Link;
    use bpfman_proto::v1::{AttachInfo, KernelProgramInfo, ProgramInfo, XdpAttachInfo};

    use super::*;

    fn xdp(iface: &str) -> AttachInfo {
        let at = XdpAttachInfo { iface: iface.to_owned(), ..XdpAttachInfo::default() };
        AttachInfo { info: Some(Info::XdpAttachInfo(at)) }
    }

    fn program(tag: &str, owner: &str, places: &[(&str, u32)]) -> Program {
        let metadata = [(UUID_KEY.to_owned(), owner.to_owned())].into();
        Program {
            info: Some(ProgramInfo { metadata, ..ProgramInfo::default() }),
            kernel_info: Some(KernelProgramInfo { tag: tag.to_owned(), ..KernelProgramInfo::default() }),
            links: places
                .iter()
                .map(|(iface, position)| Link {
                    attach_info: Some(xdp(iface)),
                    position: Some(*position),
                    ..Link::default()
                })
                .collect(),
            ..Program::default()
        }
    }

    fn of(programs: &[Program], ifaces: &[&str]) -> String {
        let hooks = ifaces.iter().filter_map(|iface| hook(xdp(iface).info.as_ref())).collect();
        hash(programs, &hooks, "me")
    }

    #[test]
    fn hooks_without_other_programs_have_no_hash() {
        assert_eq!(of(&[], &["eth0"]), "");
        assert_eq!(
            of(&[program("aa", "me", &[("eth0", 0)])], &["eth0"]),
            "",
            "its own programs do not count"
        );
        assert_eq!(of(&[program("aa", "other", &[("eth1", 0)])], &["eth0"]), "", "nor do those elsewhere");
    }

    #[test]
    fn composition_has_programs_and_order_but_no_interface_names() {
        let here = |places: [&[(&str, u32)]; 2], ifaces: &[&str]| {
            of(&[program("aa", "x", places[0]), program("bb", "y", places[1])], ifaces)
        };
        let one = here([&[("eth0", 0)], &[("eth0", 1)]], &["eth0"]);
        assert_eq!(one.len(), 16);
        assert_eq!(one, here([&[("ens3", 0)], &[("ens3", 2)]], &["ens3"]));
        let both = here([&[("eth0", 0), ("eth1", 0)], &[("eth0", 1), ("eth1", 1)]], &["eth0", "eth1"]);
        assert_eq!(one, both);
        assert_ne!(one, here([&[("eth0", 1)], &[("eth0", 0)]], &["eth0"]));
        assert_ne!(one, here([&[("eth0", 0)], &[]], &["eth0"]));
    }
}
