use std::fmt;
use std::path::PathBuf;

/// Relation of a caller's pod to the daemon's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PodRelation {
    /// Not compared.
    #[default]
    NotCompared,
    /// The daemon runs in no pod.
    DaemonInNoPod,
    /// Pod of the daemon's own namespace.
    SameNamespace,
    /// Pod of another namespace, or no pod.
    OtherNamespace,
    /// The comparison is impossible.
    Unknown(PodObstacle),
}

/// Reason why a caller's pod cannot be compared with the daemon's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodObstacle {
    /// The daemon does not know its own pod.
    OwnPod,
    /// The daemon does not see the cgroup of the caller.
    CallerGroup,
    /// The folder of the pods' logs has no entry for the daemon's own pod.
    LogFolder(PathBuf),
}

impl PodRelation {
    /// Returns whether the caller may be the node agent: its pod is in the daemon's namespace, or the daemon is in no pod.
    /// An unknown relation gives no permission.
    #[must_use]
    pub const fn is_beside_daemon(&self) -> bool {
        matches!(self, Self::SameNamespace | Self::DaemonInNoPod)
    }
}

impl PodObstacle {
    /// Returns advice for root, who can remove the obstacle.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::OwnPod => {
                "give the daemon's container POD_NAMESPACE, POD_NAME and POD_UID by the downward API, as the operator does, or \
                 run its pod with hostPID"
            }
            Self::CallerGroup => {
                "run the daemon's pod with hostPID, CAP_SYS_ADMIN and CAP_SYS_PTRACE, so that it sees the node's cgroups"
            }
            Self::LogFolder(_) => {
                "set kubernetes.pod_logs_dir in bpfman.toml to podLogsDir of the kubelet's configuration, and restart the daemon"
            }
        }
    }
}

impl fmt::Display for PodObstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnPod => f.write_str("the daemon does not know in which pod it runs itself"),
            Self::CallerGroup => f.write_str("the daemon does not see the caller's cgroup"),
            Self::LogFolder(folder) => {
                write!(f, "{} on the node has no folder of the daemon's own pod", folder.display())
            }
        }
    }
}
