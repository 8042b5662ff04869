//! Kinds of applications, with the names of the applications and of their state objects.

use std::fmt;

use kube_core::{ApiResource, GroupVersionKind};

use crate::{GROUP, VERSION};

/// Kind of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// `ClusterBpfApplication`.
    Cluster,
    /// `BpfApplication`.
    Namespaced,
}

impl Scope {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Cluster, Self::Namespaced];

    /// Returns the kind of the applications.
    #[must_use]
    pub const fn application_kind(self) -> &'static str {
        match self {
            Self::Cluster => "ClusterBpfApplication",
            Self::Namespaced => "BpfApplication",
        }
    }

    /// Returns the kind of the state objects.
    #[must_use]
    pub const fn state_kind(self) -> &'static str {
        match self {
            Self::Cluster => "ClusterBpfApplicationState",
            Self::Namespaced => "BpfApplicationState",
        }
    }

    /// Returns the API resource of the applications.
    #[must_use]
    pub fn applications(self) -> ApiResource {
        resource(self.application_kind())
    }

    /// Returns the API resource of the state objects.
    #[must_use]
    pub fn states(self) -> ApiResource {
        resource(self.state_kind())
    }

    /// Returns the published finalizer that keeps a state object until its programs are unloaded.
    #[must_use]
    pub const fn finalizer(self) -> &'static str {
        match self {
            Self::Cluster => "bpfman.io.clbpfapplicationcontroller/finalizer",
            Self::Namespaced => "bpfman.io.nsbpfapplicationcontroller/finalizer",
        }
    }
}

/// Key of an application.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApplicationKey {
    /// Kind of the application.
    pub scope: Scope,
    /// Namespace of a namespaced application.
    pub namespace: Option<String>,
    /// Name of the application.
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

fn resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, kind))
}
