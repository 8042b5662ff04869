//! Packet attachments of both scopes and of all blocks, as one type.

use bpfman_model::{Direction, HookKind};

use crate::interface::InterfaceSelector;
use crate::place::{LinkOrder, OnUnavailable};
use crate::pods::{ClusterNetworkNamespaceSelector, PodSelector};
use crate::program::ClusterProgram;
use crate::spec::ApplicationSpec;
use crate::tc::TcxPoint;

/// Attachment as the spec has it, for all interfaces that it selects.
#[derive(Clone, Debug)]
pub struct PacketLink<'a> {
    /// Path of the field in the spec.
    pub path: String,
    /// Function name of the program.
    pub program: &'a str,
    /// Hook of the attachment.
    pub hook: HookKind,
    /// Index in the block.
    pub link_at: usize,
    /// Selector of the interfaces.
    pub interfaces: &'a InterfaceSelector,
    /// Priority; lower runs earlier.
    pub priority: Option<i32>,
    /// Order relative to other programs, by name.
    pub order: Option<&'a LinkOrder>,
    /// Verdicts after which the next program runs, as numbered in the API; empty for TCX.
    pub proceed_on: Vec<i32>,
    /// Treatment of pods for which the attachment cannot be made.
    pub on_unavailable: OnUnavailable,
    /// Pods whose network namespaces have the attachment; `None` means the node's own namespace.
    pub pods: Option<PodSelector<'a>>,
}

/// Returns all packet attachments of a spec, in its order.
#[must_use]
pub fn links(spec: &ApplicationSpec) -> Vec<PacketLink<'_>> {
    spec.programs.iter().enumerate().flat_map(|(at, program)| of_program(at, program)).collect()
}

/// Returns all packet attachments of one program. `at` is its index.
#[must_use]
pub fn of_program(at: usize, program: &ClusterProgram) -> Vec<PacketLink<'_>> {
    let xdp = program.xdp.iter().flat_map(|block| &block.links);
    let xdp = xdp.enumerate().map(|(link_at, link)| PacketLink {
        path: format!("spec.programs[{at}].xdp.links[{link_at}]"),
        program: &program.name,
        hook: HookKind::Xdp,
        link_at,
        interfaces: &link.point.interface_selector,
        priority: link.point.priority,
        order: link.point.order.as_ref(),
        proceed_on: link.point.proceed_on.iter().map(|verdict| verdict.number()).collect(),
        on_unavailable: link.point.on_unavailable,
        pods: link.network_namespaces.as_ref().map(Into::into),
    });
    let tc = program.tc.iter().flat_map(|block| &block.links);
    let tc = tc.enumerate().map(|(link_at, link)| PacketLink {
        proceed_on: link.point.proceed_on.iter().map(|verdict| verdict.number()).collect(),
        ..of_side(at, program, HookKind::Tc, link_at, &link.point.at, &link.network_namespaces)
    });
    let tcx = program.tcx.iter().flat_map(|block| &block.links).enumerate();
    let tcx = tcx.map(|(link_at, link)| {
        of_side(at, program, HookKind::Tcx, link_at, &link.point, &link.network_namespaces)
    });
    xdp.chain(tc).chain(tcx).collect()
}

fn of_side<'a>(
    at: usize,
    program: &'a ClusterProgram,
    hook: fn(Direction) -> HookKind,
    link_at: usize,
    point: &'a TcxPoint,
    pods: &'a Option<ClusterNetworkNamespaceSelector>,
) -> PacketLink<'a> {
    let hook = hook(point.direction.into());
    PacketLink {
        path: format!("spec.programs[{at}].{}.links[{link_at}]", hook.name()),
        program: &program.name,
        hook,
        link_at,
        interfaces: &point.interface_selector,
        priority: point.priority,
        order: point.order.as_ref(),
        proceed_on: Vec::new(),
        on_unavailable: point.on_unavailable,
        pods: pods.as_ref().map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;

    fn programs(network: &Value) -> Value {
        let block = |interface: &str| {
            json!({ "links": [{ "interfaceSelector": { "interfaces": [interface] }, "direction": "Egress",
                "networkNamespaces": network }] })
        };
        json!({ "nodeSelector": {}, "byteCode": { "path": "/x.o" }, "programs": [
            { "name": "first", "type": "TCX", "tcx": block("eth2") },
            { "name": "second", "type": "TC", "tc": block("eth1") },
            { "name": "third", "type": "XDP", "xdp": block("eth0") }
        ] })
    }

    #[test]
    fn every_block_of_both_scopes_is_walked_in_order() {
        let network = json!({ "namespace": "shop", "pods": { "matchLabels": { "app": "till" } } });
        let cluster = ApplicationSpec::read(None, programs(&network)).unwrap();
        let namespaced = ApplicationSpec::read(Some("shop"), programs(&network)).unwrap();
        for spec in [&cluster, &namespaced] {
            let found = links(spec);
            let told: Vec<_> =
                found.iter().map(|link| (link.path.clone(), link.program, link.hook)).collect();
            let expected = [
                ("spec.programs[0].tcx.links[0]", "first", HookKind::Tcx(Direction::Egress)),
                ("spec.programs[1].tc.links[0]", "second", HookKind::Tc(Direction::Egress)),
                ("spec.programs[2].xdp.links[0]", "third", HookKind::Xdp),
            ];
            assert_eq!(told, expected.map(|(path, program, hook)| (path.to_owned(), program, hook)));
            assert!(found.iter().all(|link| link.pods.unwrap().namespace == Some("shop")), "{found:?}");
        }
    }

    #[test]
    fn empty_namespace_means_all_and_no_selector_means_the_node() {
        let network = json!({ "namespace": "", "pods": {} });
        let anywhere = ApplicationSpec::read(None, programs(&network)).unwrap();
        assert!(links(&anywhere).iter().all(|link| link.pods.unwrap().namespace.is_none()));
        let node = ApplicationSpec::read(None, programs(&Value::Null)).unwrap();
        assert!(links(&node).iter().all(|link| link.pods.is_none()));
    }
}
