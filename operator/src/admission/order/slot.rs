//! What an application puts on hooks, and what it wants of others there.

use std::fmt;

use bpfman_application::interface::InterfaceSelector;
use bpfman_application::spec::Spec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::admission::link::{Hook, Place, links};

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
pub enum Anchor {
    /// A program's function.
    Program(String),
    /// Whoever has this role.
    Role(String),
    /// A program of others.
    Foreign(String),
    /// A link by its number on a node, which says nothing about other nodes.
    Link,
}

impl Anchor {
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

/// One attachment and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Whose.
    pub application: ApplicationName,
    /// The field.
    pub path: String,
    /// Function name.
    pub program: String,
    /// Where.
    pub hook: Hook,
    /// On which interfaces.
    pub interfaces: InterfaceSelector,
    /// In whose network namespaces.
    pub place: Place,
    /// On which nodes.
    pub nodes: LabelSelector,
    /// What it is to others.
    pub role: Option<String>,
    /// Runs before these; as they were written, and read.
    pub before: Vec<(String, Anchor)>,
    /// Runs after these.
    pub after: Vec<(String, Anchor)>,
}

impl Slot {
    /// Whether an anchor means this one.
    #[must_use]
    pub fn answers_to(&self, anchor: &Anchor) -> bool {
        match anchor {
            Anchor::Program(name) => self.program == *name,
            Anchor::Role(role) => self.role.as_ref() == Some(role),
            Anchor::Foreign(_) | Anchor::Link => false,
        }
    }
}

/// All of an application.
#[must_use]
pub fn slots(application: &ApplicationName, spec: &Spec) -> Vec<Slot> {
    let read = |texts: Option<&Vec<String>>| {
        texts.into_iter().flatten().map(|text| (text.clone(), Anchor::read(text))).collect()
    };
    links(spec, application.namespace.as_deref())
        .into_iter()
        .map(|link| Slot {
            application: application.clone(),
            path: link.path,
            program: link.program.to_owned(),
            hook: link.hook,
            interfaces: link.interfaces.clone(),
            place: link.place,
            nodes: spec.common().node_selector.clone(),
            role: link.order.and_then(|order| order.role.clone()),
            before: read(link.order.map(|order| &order.before)),
            after: read(link.order.map(|order| &order.after)),
        })
        .collect()
}

/// Anchors of an application that no application answers to: the field, and the anchor.
pub fn unknown_anchors<'a>(own: &'a [Slot], others: &'a [Slot]) -> impl Iterator<Item = (String, &'a str)> {
    own.iter().flat_map(move |slot| {
        let sides = [("before", &slot.before), ("after", &slot.after)];
        sides.into_iter().flat_map(move |(side, anchors)| {
            anchors.iter().enumerate().filter_map(move |(at, (text, anchor))| {
                let named = matches!(anchor, Anchor::Program(_) | Anchor::Role(_));
                let known =
                    own.iter().chain(others).any(|other| other.hook == slot.hook && other.answers_to(anchor));
                (named && !known).then(|| (format!("{}.order.{side}[{at}]", slot.path), text.as_str()))
            })
        })
    })
}
