//! Attachments that see packets, of both scopes and of all blocks that have them, as one type.

use crate::interface::{Direction, InterfaceSelector};
use crate::place::{LinkOrder, OnUnavailable};
use crate::pods::{ClusterNetworkNamespaceSelector, NetworkNamespaceSelector, PodSelector};
use crate::spec::Spec;
use crate::tc::{TcPoint, TcxPoint};
use crate::xdp::XdpPoint;

/// A list of programs that packets pass on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// XDP.
    Xdp,
    /// The clsact qdisc.
    Tc(Direction),
    /// The kernel's list of links.
    Tcx(Direction),
}

impl Hook {
    /// Name of the block of a program.
    #[must_use]
    pub const fn block(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tc(_) => "tc",
            Self::Tcx(_) => "tcx",
        }
    }
}

/// One attachment as the spec has it: one for each interface that it selects.
#[derive(Clone, Copy, Debug)]
pub struct PacketLink<'a> {
    /// Index of its program.
    pub program_at: usize,
    /// Function name of its program.
    pub program: &'a str,
    /// Where in the kernel.
    pub hook: Hook,
    /// Index in its block.
    pub link_at: usize,
    /// Which interfaces.
    pub interfaces: &'a InterfaceSelector,
    /// Place by intent.
    pub order: Option<&'a LinkOrder>,
    /// What becomes of a pod for which it cannot be made.
    pub on_unavailable: OnUnavailable,
    /// The pods in whose network namespaces it is; none: in the node's own.
    pub pods: Option<PodSelector<'a>>,
}

impl PacketLink<'_> {
    /// The field.
    #[must_use]
    pub fn path(&self) -> String {
        format!("spec.programs[{}].{}.links[{}]", self.program_at, self.hook.block(), self.link_at)
    }
}

/// All of a spec, in its order. `own`: namespace of a namespaced application.
#[must_use]
pub fn links<'a>(spec: &'a Spec, own: Option<&'a str>) -> Vec<PacketLink<'a>> {
    let mut all = Vec::new();
    match spec {
        Spec::Cluster(spec) => {
            for (at, program) in spec.programs.iter().enumerate() {
                let mut program_links = ProgramLinks { all: &mut all, at, program: &program.name };
                let xdp = program.xdp.iter().flat_map(|block| &block.links);
                let xdp = xdp.map(|link| (Point::xdp(&link.point), anywhere(&link.network_namespaces)));
                program_links.add(xdp);
                let tc = program.tc.iter().flat_map(|block| &block.links);
                let tc = tc.map(|link| (Point::tc(&link.point), anywhere(&link.network_namespaces)));
                program_links.add(tc);
                let tcx = program.tcx.iter().flat_map(|block| &block.links);
                let tcx = tcx.map(|link| (Point::tcx(&link.point), anywhere(&link.network_namespaces)));
                program_links.add(tcx);
            }
        }
        Spec::Namespaced(spec) => {
            let within = |network: &'a NetworkNamespaceSelector| {
                Some(PodSelector { namespace: own, labels: &network.pods })
            };
            for (at, program) in spec.programs.iter().enumerate() {
                let mut program_links = ProgramLinks { all: &mut all, at, program: &program.name };
                let xdp = program.xdp.iter().flat_map(|block| &block.links);
                program_links
                    .add(xdp.map(|link| (Point::xdp(&link.point), within(&link.network_namespaces))));
                let tc = program.tc.iter().flat_map(|block| &block.links);
                program_links.add(tc.map(|link| (Point::tc(&link.point), within(&link.network_namespaces))));
                let tcx = program.tcx.iter().flat_map(|block| &block.links);
                program_links
                    .add(tcx.map(|link| (Point::tcx(&link.point), within(&link.network_namespaces))));
            }
        }
    }
    all
}

/// Absent and empty both mean every namespace.
fn anywhere(selector: &Option<ClusterNetworkNamespaceSelector>) -> Option<PodSelector<'_>> {
    selector.as_ref().map(|selector| PodSelector {
        namespace: selector.namespace.as_deref().filter(|namespace| !namespace.is_empty()),
        labels: &selector.pods,
    })
}

/// What the points of all blocks have.
struct Point<'a> {
    hook: Hook,
    interfaces: &'a InterfaceSelector,
    order: Option<&'a LinkOrder>,
    on_unavailable: OnUnavailable,
}

impl<'a> Point<'a> {
    const fn xdp(point: &'a XdpPoint) -> Self {
        Self {
            hook: Hook::Xdp,
            interfaces: &point.interface_selector,
            order: point.order.as_ref(),
            on_unavailable: point.on_unavailable,
        }
    }

    const fn tc(point: &'a TcPoint) -> Self {
        Self { hook: Hook::Tc(point.at.direction), ..Self::tcx(&point.at) }
    }

    const fn tcx(point: &'a TcxPoint) -> Self {
        Self {
            hook: Hook::Tcx(point.direction),
            interfaces: &point.interface_selector,
            order: point.order.as_ref(),
            on_unavailable: point.on_unavailable,
        }
    }
}

/// The attachments of one program.
struct ProgramLinks<'a, 'all> {
    all: &'all mut Vec<PacketLink<'a>>,
    at: usize,
    program: &'a str,
}

impl<'a> ProgramLinks<'a, '_> {
    /// One block.
    fn add(&mut self, links: impl Iterator<Item = (Point<'a>, Option<PodSelector<'a>>)>) {
        self.all.extend(links.enumerate().map(|(link_at, (point, pods))| PacketLink {
            program_at: self.at,
            program: self.program,
            hook: point.hook,
            link_at,
            interfaces: point.interfaces,
            order: point.order,
            on_unavailable: point.on_unavailable,
            pods,
        }));
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
        let cluster = Spec::Cluster(serde_json::from_value(programs(&network)).unwrap());
        let namespaced = Spec::Namespaced(serde_json::from_value(programs(&network)).unwrap());
        for spec in [&cluster, &namespaced] {
            let found = links(spec, Some("shop"));
            let told: Vec<_> = found.iter().map(|link| (link.path(), link.program, link.hook)).collect();
            let expected = [
                ("spec.programs[0].tcx.links[0]", "first", Hook::Tcx(Direction::Egress)),
                ("spec.programs[1].tc.links[0]", "second", Hook::Tc(Direction::Egress)),
                ("spec.programs[2].xdp.links[0]", "third", Hook::Xdp),
            ];
            assert_eq!(told, expected.map(|(path, program, hook)| (path.to_owned(), program, hook)));
            assert!(found.iter().all(|link| link.pods.unwrap().namespace == Some("shop")), "{found:?}");
        }
    }

    #[test]
    fn an_empty_namespace_is_every_namespace_and_no_selector_is_the_node() {
        let network = json!({ "namespace": "", "pods": {} });
        let anywhere = Spec::Cluster(serde_json::from_value(programs(&network)).unwrap());
        assert!(links(&anywhere, None).iter().all(|link| link.pods.unwrap().namespace.is_none()));
        let node = Spec::Cluster(serde_json::from_value(programs(&Value::Null)).unwrap());
        assert!(links(&node, None).iter().all(|link| link.pods.is_none()));
    }
}
