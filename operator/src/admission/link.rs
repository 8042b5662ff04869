//! Attachments that see packets, as admission compares them.

use bpfman_application::interface::{Direction, InterfaceSelector};
use bpfman_application::packets::{self, PacketLink};
use bpfman_application::place::LinkOrder;
use bpfman_application::spec::Spec;
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

impl From<packets::Hook> for Hook {
    fn from(hook: packets::Hook) -> Self {
        match hook {
            packets::Hook::Xdp => Self::Xdp,
            packets::Hook::Tc(direction) => Self::Tc(direction.into()),
            packets::Hook::Tcx(direction) => Self::Tcx(direction.into()),
        }
    }
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
pub fn links<'a>(spec: &'a Spec, namespace: Option<&'a str>) -> Vec<Link<'a>> {
    packets::links(spec, namespace).into_iter().map(link).collect()
}

fn link(link: PacketLink<'_>) -> Link<'_> {
    let place = link.pods.map_or(Place::Node, |pods| Place::Pods {
        namespace: pods.namespace.map(str::to_owned),
        labels: pods.labels.clone(),
    });
    Link {
        path: link.path(),
        program: link.program,
        hook: link.hook.into(),
        interfaces: link.interfaces,
        order: link.order,
        place,
    }
}
