//! The two kinds of applications, and what they and their state objects are called.

use std::fmt;

use kube_core::{ApiResource, GroupVersionKind};

use crate::{GROUP, VERSION};

/// Which of the two kinds of applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// `ClusterBpfApplication`.
    Cluster,
    /// `BpfApplication`.
    Namespaced,
}

impl Scope {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Cluster, Self::Namespaced];

    /// Kind of the applications.
    #[must_use]
    pub const fn application_kind(self) -> &'static str {
        match self {
            Self::Cluster => "ClusterBpfApplication",
            Self::Namespaced => "BpfApplication",
        }
    }

    /// Kind of the state objects.
    #[must_use]
    pub const fn state_kind(self) -> &'static str {
        match self {
            Self::Cluster => "ClusterBpfApplicationState",
            Self::Namespaced => "BpfApplicationState",
        }
    }

    /// How the API server calls the applications.
    #[must_use]
    pub fn applications(self) -> ApiResource {
        resource(self.application_kind())
    }

    /// How the API server calls the state objects.
    #[must_use]
    pub fn states(self) -> ApiResource {
        resource(self.state_kind())
    }

    /// What an agent writes into a state object's finalizers until its programs are unloaded. The published names.
    #[must_use]
    pub const fn finalizer(self) -> &'static str {
        match self {
            Self::Cluster => "bpfman.io.clbpfapplicationcontroller/finalizer",
            Self::Namespaced => "bpfman.io.nsbpfapplicationcontroller/finalizer",
        }
    }
}

/// One application.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApplicationKey {
    /// Its kind.
    pub scope: Scope,
    /// Its namespace, if it is namespaced.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ApplicationKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ", self.scope.application_kind())?;
        if let Some(namespace) = &self.namespace {
            write!(formatter, "{namespace}/")?;
        }
        formatter.write_str(&self.name)
    }
}

/// How the API server calls a kind of ours.
fn resource(kind: &str) -> ApiResource {
    // The plural forms are the kinds in lower case with an s: none of them is irregular.
    ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, kind))
}
