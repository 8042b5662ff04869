//! The specs of both scopes as one type.

use crate::application::{ApplicationCommon, BpfApplicationSpec, ClusterBpfApplicationSpec};

/// What an application is, of either scope.
#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    /// Of the whole cluster.
    Cluster(ClusterBpfApplicationSpec),
    /// Of one namespace.
    Namespaced(BpfApplicationSpec),
}

impl Spec {
    /// What both scopes have.
    #[must_use]
    pub const fn common(&self) -> &ApplicationCommon {
        match self {
            Self::Cluster(spec) => &spec.common,
            Self::Namespaced(spec) => &spec.common,
        }
    }
}
