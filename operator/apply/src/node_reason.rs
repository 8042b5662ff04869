//! Why something failed on a node, as the failure in a state object names it.

use bpfman_application::state::node::NodeFailure;
use bpfman_proto::Reason;

use crate::failure::failure;

/// Why something failed on a node. The names are an interface: rollouts decide by them whether to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeReason {
    /// What the daemon says.
    Daemon(Reason),
    /// The daemon does not answer.
    DaemonAway,
    /// The daemon breaks calls off, again and again.
    DaemonBrokeOff,
    /// There is no such node any more.
    NodeGone,
    /// An interface, a pod or a network namespace lacks.
    AttachPoint,
    /// The pull secret is of no use.
    PullSecret,
    /// The revision that is to run cannot be read.
    Revision,
}

impl NodeReason {
    /// A failure for this reason, of no program alone, with what to do about it where that is known.
    #[must_use]
    pub fn failure(self, message: &str, hint: &str) -> NodeFailure {
        failure(&self.name(), message, hint)
    }

    /// Those that the daemon does not know.
    const OWN: [(Self, &'static str); 6] = [
        (Self::DaemonAway, "daemon-away"),
        (Self::DaemonBrokeOff, "daemon-broke-off"),
        (Self::NodeGone, "node-gone"),
        (Self::AttachPoint, "attach-point"),
        (Self::PullSecret, "pull-secret"),
        (Self::Revision, "revision"),
    ];

    /// The name in a status.
    #[must_use]
    pub fn name(self) -> String {
        let own = || Self::OWN.into_iter().find(|(reason, _)| *reason == self).map(|(_, name)| name);
        match self {
            Self::Daemon(reason) => reason.name(),
            _ => own().unwrap_or_default(),
        }
        .to_owned()
    }

    /// The reason of a name; none for one of another version.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let own = || Self::OWN.into_iter().find(|(_, own)| *own == name).map(|(reason, _)| reason);
        Reason::from_name(name).map(Self::Daemon).or_else(own)
    }

    /// Whether it may be over at the next try: a node that has it is waited for until the deadline.
    ///
    /// What an interface, a pod or a network namespace lacks now it may have in a second: they come and go on every
    /// node, all the time. A registry, a daemon, the API server and its secrets may be away. What the kernel, the
    /// signature or the policy refuses stays refused, and a daemon that breaks off each time is no better the next time.
    #[must_use]
    pub const fn is_passing(self) -> bool {
        match self {
            Self::Daemon(reason) => matches!(reason, Reason::Registry | Reason::Busy | Reason::NotFound),
            Self::DaemonBrokeOff => false,
            _ => true,
        }
    }
}
