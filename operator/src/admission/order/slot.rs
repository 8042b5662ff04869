use std::fmt;

use bpfman_application::interface::InterfaceSelector;
use bpfman_application::packets;
use bpfman_application::spec::ApplicationSpec;
use bpfman_model::HookKind;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Name of an application. Its kind follows from whether it has a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApplicationName {
    /// Namespace of a `BpfApplication`; `None` for a cluster application.
    pub namespace: Option<String>,
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

/// Target of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotAnchor {
    /// Function name of a program.
    Program(String),
    /// All programs with this role.
    Role(String),
    /// A third-party program.
    Foreign(String),
    /// A link by its id on a node, which means nothing on other nodes.
    Link,
}

impl SlotAnchor {
    /// Parses an anchor, in the same forms as the daemon.
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

#[derive(Clone, Debug, PartialEq)]
pub enum SlotPlace {
    Node,
    Pods {
        /// `None` for all.
        namespace: Option<String>,
        labels: LabelSelector,
    },
}

/// Attachment with its orders.
#[derive(Clone, Debug, PartialEq)]
pub struct PacketSlot {
    pub application: ApplicationName,
    pub path: String,
    pub program: String,
    pub hook: HookKind,
    pub interfaces: InterfaceSelector,
    pub place: SlotPlace,
    pub nodes: LabelSelector,
    /// Role, by which others can refer to it.
    pub role: Option<String>,
    /// Anchors before which it runs, as text and parsed.
    pub before: Vec<(String, SlotAnchor)>,
    /// Anchors after which it runs.
    pub after: Vec<(String, SlotAnchor)>,
}

impl PacketSlot {
    /// Returns whether an anchor refers to this attachment.
    #[must_use]
    pub fn answers_to(&self, anchor: &SlotAnchor) -> bool {
        match anchor {
            SlotAnchor::Program(name) => self.program == *name,
            SlotAnchor::Role(role) => self.role.as_ref() == Some(role),
            SlotAnchor::Foreign(_) | SlotAnchor::Link => false,
        }
    }
}

/// Returns all attachments of an application.
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

/// Returns anchors that refer to no attachment, with the paths of their fields.
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
