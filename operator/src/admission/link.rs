//! Attachments that see packets, of both scopes, as one type.

use bpfman_application::interface::{Direction, InterfaceSelector};
use bpfman_application::place::LinkOrder;
use bpfman_application::pods::ClusterNetworkNamespaceSelector;
use bpfman_application::spec::Spec;
use bpfman_application::tc::TcxPoint;
use bpfman_application::xdp::XdpPoint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// A list of programs that packets pass on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// XDP.
    Xdp,
    /// The clsact qdisc.
    Tc(Side),
    /// The kernel's list of links.
    Tcx(Side),
}

/// Side of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Packets that come in.
    Ingress,
    /// Packets that go out.
    Egress,
}

impl From<Direction> for Side {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Ingress => Self::Ingress,
            Direction::Egress => Self::Egress,
        }
    }
}

/// Whose network namespaces.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// The node's own.
    Node,
    /// Those of pods.
    Pods {
        /// In this namespace only.
        namespace: Option<String>,
        /// With these labels.
        labels: LabelSelector,
    },
}

/// One attachment.
pub struct Link<'a> {
    /// The field.
    pub path: String,
    /// Function name.
    pub program: &'a str,
    /// Where in the kernel.
    pub hook: Hook,
    /// On which interfaces.
    pub interfaces: &'a InterfaceSelector,
    /// In which place.
    pub order: Option<&'a LinkOrder>,
    /// In whose namespaces.
    pub place: Place,
}

/// All of an application. `namespace` is that of a namespaced one.
#[must_use]
pub fn links<'a>(spec: &'a Spec, namespace: Option<&str>) -> Vec<Link<'a>> {
    let mut all = Vec::new();
    match spec {
        Spec::Cluster(spec) => {
            for (at, program) in spec.programs.iter().enumerate() {
                let name = &program.name;
                for (link, given) in program.xdp.iter().flat_map(|block| &block.links).enumerate() {
                    all.push(xdp(at, link, name, &given.point, anywhere(given.network_namespaces.as_ref())));
                }
                for (link, given) in program.tc.iter().flat_map(|block| &block.links).enumerate() {
                    let place = anywhere(given.network_namespaces.as_ref());
                    all.push(tc(at, "tc", link, name, &given.point.at, place));
                }
                for (link, given) in program.tcx.iter().flat_map(|block| &block.links).enumerate() {
                    let place = anywhere(given.network_namespaces.as_ref());
                    all.push(tc(at, "tcx", link, name, &given.point, place));
                }
            }
        }
        Spec::Namespaced(spec) => {
            let within = |labels: &LabelSelector| Place::Pods {
                namespace: namespace.map(str::to_owned),
                labels: labels.clone(),
            };
            for (at, program) in spec.programs.iter().enumerate() {
                let name = &program.name;
                for (link, given) in program.xdp.iter().flat_map(|block| &block.links).enumerate() {
                    all.push(xdp(at, link, name, &given.point, within(&given.network_namespaces.pods)));
                }
                for (link, given) in program.tc.iter().flat_map(|block| &block.links).enumerate() {
                    let place = within(&given.network_namespaces.pods);
                    all.push(tc(at, "tc", link, name, &given.point.at, place));
                }
                for (link, given) in program.tcx.iter().flat_map(|block| &block.links).enumerate() {
                    let place = within(&given.network_namespaces.pods);
                    all.push(tc(at, "tcx", link, name, &given.point, place));
                }
            }
        }
    }
    all
}

fn anywhere(selector: Option<&ClusterNetworkNamespaceSelector>) -> Place {
    match selector {
        None => Place::Node,
        Some(selector) => Place::Pods {
            namespace: selector.namespace.clone().filter(|namespace| !namespace.is_empty()),
            labels: selector.pods.clone(),
        },
    }
}

fn xdp<'a>(at: usize, link: usize, program: &'a str, point: &'a XdpPoint, place: Place) -> Link<'a> {
    Link {
        path: format!("spec.programs[{at}].xdp.links[{link}]"),
        program,
        hook: Hook::Xdp,
        interfaces: &point.interface_selector,
        order: point.order.as_ref(),
        place,
    }
}

fn tc<'a>(
    at: usize,
    block: &str,
    link: usize,
    program: &'a str,
    point: &'a TcxPoint,
    place: Place,
) -> Link<'a> {
    let side = point.direction.into();
    Link {
        path: format!("spec.programs[{at}].{block}.links[{link}]"),
        program,
        hook: if block == "tc" { Hook::Tc(side) } else { Hook::Tcx(side) },
        interfaces: &point.interface_selector,
        order: point.order.as_ref(),
        place,
    }
}
