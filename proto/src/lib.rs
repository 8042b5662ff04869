//! The wire between `bpfmand` and its clients.
//!
//! [`v1`] is the API that clients of bpfman v0.6.0 speak, tag by tag. [`ext::v1`] is what this project adds.
//! [`csi::v1`] and [`pluginregistration`] are spoken with a kubelet.

pub mod handover;
mod map_exports;
pub mod printable;
mod reason;
mod xdp_fallback;

pub use map_exports::{MAP_EXPORTS_KEY, MAX_EXPORTS, MapAccess, MapExport, MapExportError, MapExports};
pub use reason::Reason;
pub use xdp_fallback::xdp_fallback;

/// `bpfman.v1`: the compatible API.
#[allow(missing_docs, clippy::all, reason = "generated from documented .proto files")]
pub mod v1 {
    tonic::include_proto!("bpfman.v1");
}

/// `bpfman.ext.v1`: this project's additions.
pub mod ext {
    /// The first, and so far only, version.
    #[allow(missing_docs, clippy::all, reason = "generated from documented .proto files")]
    pub mod v1 {
        tonic::include_proto!("bpfman.ext.v1");
    }
}

/// The Container Storage Interface, as far as the node plugin needs it.
pub mod csi {
    /// Version 1.
    #[allow(missing_docs, clippy::all, reason = "generated from documented .proto files")]
    pub mod v1 {
        tonic::include_proto!("csi.v1");
    }
}

/// How a kubelet learns of its plugins.
#[allow(missing_docs, clippy::all, reason = "generated from documented .proto files")]
pub mod pluginregistration {
    tonic::include_proto!("pluginregistration");
}

include!(concat!(env!("OUT_DIR"), "/method.rs"));

/// The file beside the daemon's socket that the acting agent of a node locks. The daemon makes it, for root and the group
/// of its socket: nobody else can hold the lock.
#[must_use]
pub fn agent_lock(socket: &std::path::Path) -> std::path::PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".agent");
    name.into()
}

/// Most bytes of one request that a daemon takes.
pub const LARGEST_REQUEST: usize = 256 << 10;

/// Where a daemon listens unless told otherwise.
pub const DEFAULT_SOCKET_PATH: &str = "/run/bpfman-sock/bpfman.sock";

/// Environment variable that names the daemon's socket, read by daemon and clients.
pub const SOCKET_PATH_VARIABLE: &str = "BPFMAN_SOCKET_PATH";

/// Metadata key of an application's name, as v0.6.0 writes it.
pub const APPLICATION_KEY: &str = "bpfman_application";

/// Metadata key of an application's name in newer clients; read wherever [`APPLICATION_KEY`] is.
pub const APPLICATION_KEY_NEWER: &str = "bpfman.io/application";

/// Begin of a metadata key of a load, with a program's function name behind it: its value is the program's exact type,
/// where [`v1::BpfmanProgramType`] has one number for two types (`kretprobe`, `uretprobe`). Newer daemons of the published
/// API read it too. It is an instruction to the daemon and is not kept as metadata.
pub const ACTUAL_TYPE_PREFIX: &str = "bpfman.io/actual-type:";

/// Trailer of a failed call that says what to do next.
pub const HINT_TRAILER: &str = "bpfman-hint-bin";

/// Trailer of a failed call that names the kind of failure: see [`Reason`].
pub const REASON_TRAILER: &str = "bpfman-reason";

/// Names of the kernel's program types (`enum bpf_prog_type`) by number, in snake case. Where v0.6.0 and the kernel
/// differ, v0.6.0's: 2 is `probe`, 3 is `tc`.
pub const KERNEL_PROGRAM_TYPES: [&str; 33] = [
    "unspec",
    "socket_filter",
    "probe",
    "tc",
    "sched_act",
    "tracepoint",
    "xdp",
    "perf_event",
    "cgroup_skb",
    "cgroup_sock",
    "lwt_in",
    "lwt_out",
    "lwt_xmit",
    "sock_ops",
    "sk_skb",
    "cgroup_device",
    "sk_msg",
    "raw_tracepoint",
    "cgroup_sock_addr",
    "lwt_seg6_local",
    "lirc_mode2",
    "sk_reuseport",
    "flow_dissector",
    "cgroup_sysctl",
    "raw_tracepoint_writable",
    "cgroup_sockopt",
    "tracing",
    "struct_ops",
    "ext",
    "lsm",
    "sk_lookup",
    "syscall",
    "netfilter",
];
