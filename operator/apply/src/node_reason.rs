//! Reasons of failures on a node, as named in state objects.

use bpfman_application::state::node::NodeFailure;
use bpfman_proto::Reason;

use crate::failure::failure;

/// Reason of a failure on a node. The names are an interface: rollouts use them to decide whether to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeReason {
    /// Reason that the daemon gave.
    Daemon(Reason),
    /// The daemon does not respond.
    DaemonAway,
    /// The daemon aborts calls repeatedly.
    DaemonBrokeOff,
    /// The node no longer exists.
    NodeGone,
    /// An interface, a pod or a network namespace is missing.
    AttachPoint,
    /// The pull secret is missing or invalid.
    PullSecret,
    /// The assigned revision cannot be read.
    Revision,
}

impl NodeReason {
    /// Returns a failure with this reason that concerns no single program. `hint` may be empty.
    #[must_use]
    pub fn failure(self, message: &str, hint: &str) -> NodeFailure {
        failure(&self.name(), message, hint)
    }

    const OWN: [(Self, &'static str); 6] = [
        (Self::DaemonAway, "daemon-away"),
        (Self::DaemonBrokeOff, "daemon-broke-off"),
        (Self::NodeGone, "node-gone"),
        (Self::AttachPoint, "attach-point"),
        (Self::PullSecret, "pull-secret"),
        (Self::Revision, "revision"),
    ];

    /// Returns the name used in a status.
    #[must_use]
    pub fn name(self) -> String {
        let own = || Self::OWN.into_iter().find(|(reason, _)| *reason == self).map(|(_, name)| name);
        match self {
            Self::Daemon(reason) => reason.name(),
            _ => own().unwrap_or_default(),
        }
        .to_owned()
    }

    /// Returns the reason with a name, or `None` if it comes from another version.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let own = || Self::OWN.into_iter().find(|(_, own)| *own == name).map(|(reason, _)| reason);
        Reason::from_name(name).map(Self::Daemon).or_else(own)
    }

    /// Returns whether the cause may disappear by itself, so that a rollout waits for the node until the deadline.
    ///
    /// Interfaces, pods, namespaces, and access to registries and servers are temporary. Rejections by kernel,
    /// signature check or policy are permanent, and a daemon that has aborted each call will do so again.
    #[must_use]
    pub const fn is_passing(self) -> bool {
        match self {
            Self::Daemon(reason) => matches!(reason, Reason::Registry | Reason::Busy | Reason::NotFound),
            Self::DaemonBrokeOff => false,
            _ => true,
        }
    }
}
