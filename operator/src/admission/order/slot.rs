//! What an application puts on hooks, and what it wants of others there.

use std::fmt;

use bpfman_application::interface::InterfaceSelector;
use bpfman_application::packets::{self, PacketHook};
use bpfman_application::spec::ApplicationSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Which application: its kind follows from whether it has a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApplicationName {
    /// Of a `BpfApplication`.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl fmt::Display for ApplicationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "BpfApplication {namespace}/{}", self.name),
            None => write!(f, "ClusterBpfApplication {}", self.name),
        }
    }
}

/// What an order names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotAnchor {
    /// A program's function.
    Program(String),
    /// Whoever has this role.
    Role(String),
    /// A program of others.
    Foreign(String),
    /// A link by its number on a node, which says nothing about other nodes.
    Link,
}

impl SlotAnchor {
    /// Reads one. The daemon takes the same forms.
    #[must_use]
    pub fn read(text: &str) -> Self {
        if let Some(role) = text.strip_prefix("role=") {
            Self::Role(role.to_owned())
        } else if let Some(name) = text.strip_prefix("foreign:") {
            Self::Foreign(name.to_owned())
        } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
            Self::Link
        } else {
            Self::Program(text.to_owned())
        }
    }
}

/// Whose network namespaces.
#[derive(Clone, Debug, PartialEq)]
pub enum SlotPlace {
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

/// One attachment and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct PacketSlot {
    /// Whose.
    pub application: ApplicationName,
    /// The field.
    pub path: String,
    /// Function name.
    pub program: String,
    /// Where.
    pub hook: PacketHook,
    /// On which interfaces.
    pub interfaces: InterfaceSelector,
    /// In whose network namespaces.
    pub place: SlotPlace,
    /// On which nodes.
    pub nodes: LabelSelector,
    /// What it is to others.
    pub role: Option<String>,
    /// Runs before these; as they were written, and read.
    pub before: Vec<(String, SlotAnchor)>,
    /// Runs after these.
    pub after: Vec<(String, SlotAnchor)>,
}

impl PacketSlot {
    /// Whether an anchor means this one.
    #[must_use]
    pub fn answers_to(&self, anchor: &SlotAnchor) -> bool {
        match anchor {
            SlotAnchor::Program(name) => self.program == *name,
            SlotAnchor::Role(role) => self.role.as_ref() == Some(role),
            SlotAnchor::Foreign(_) | SlotAnchor::Link => false,
        }
    }
}

/// All of an application.
#[must_use]
pub fn slots(application: &ApplicationName, spec: &ApplicationSpec) -> Vec<PacketSlot> {
    let read = |texts: Option<&Vec<String>>| {
        texts.into_iter().flatten().map(|text| (text.clone(), SlotAnchor::read(text))).collect()
    };
    packets::links(spec)
        .into_iter()
        .map(|link| PacketSlot {
            application: application.clone(),
            path: link.path,
            program: link.program.to_owned(),
            hook: link.hook,
            interfaces: link.interfaces.clone(),
            place: link.pods.map_or(SlotPlace::Node, |pods| SlotPlace::Pods {
                namespace: pods.namespace.map(str::to_owned),
                labels: pods.labels.clone(),
            }),
            nodes: spec.common.node_selector.clone(),
            role: link.order.and_then(|order| order.role.clone()),
            before: read(link.order.map(|order| &order.before)),
            after: read(link.order.map(|order| &order.after)),
        })
        .collect()
}

/// Anchors of an application that no application answers to: the field, and the anchor.
pub fn unknown_anchors<'a>(
    own: &'a [PacketSlot],
    others: &'a [PacketSlot],
) -> impl Iterator<Item = (String, &'a str)> {
    own.iter().flat_map(move |slot| {
        let sides = [("before", &slot.before), ("after", &slot.after)];
        sides.into_iter().flat_map(move |(side, anchors)| {
            anchors.iter().enumerate().filter_map(move |(at, (text, anchor))| {
                let named = matches!(anchor, SlotAnchor::Program(_) | SlotAnchor::Role(_));
                let known =
                    own.iter().chain(others).any(|other| other.hook == slot.hook && other.answers_to(anchor));
                (named && !known).then(|| (format!("{}.order.{side}[{at}]", slot.path), text.as_str()))
            })
        })
    })
}
