//! Wire protocol between `bpfmand` and its clients: [`v1`], the API of bpfman v0.6.0 with the same tags; [`ext::v1`],
//! the additions of this project; [`csi::v1`] and [`pluginregistration`] for a kubelet.

#![warn(missing_docs)]

pub mod attach_point;
pub mod handover;
mod map_exports;
pub use bpfman_model::printable;
mod program_type;
mod wire_point;
mod xdp_fallback;

pub use bpfman_model::Reason;
pub use map_exports::{MAP_EXPORTS_KEY, MAX_EXPORTS, MapAccess, MapExport, MapExportError, MapExports};
pub use program_type::{type_number, type_of_number};
pub use wire_point::WirePoint;
pub use xdp_fallback::xdp_fallback;

/// `bpfman.v1`: the compatible API.
#[allow(missing_docs, clippy::all, reason = "generated from documented .proto files")]
pub mod v1 {
    tonic::include_proto!("bpfman.v1");
}

/// `bpfman.ext.v1`: this project's additions.
pub mod ext {
    /// Version 1, so far the only one.
    #[allow(missing_docs, clippy::all, reason = "generated from documented .proto files")]
    pub mod v1 {
        tonic::include_proto!("bpfman.ext.v1");
    }
}

/// Container Storage Interface, as far as the node plugin needs it.
pub mod csi {
    /// Version 1.
    #[allow(missing_docs, clippy::all, reason = "generated from documented .proto files")]
    pub mod v1 {
        tonic::include_proto!("csi.v1");
    }
}

/// Registration of plugins with a kubelet.
#[allow(missing_docs, clippy::all, reason = "generated from documented .proto files")]
pub mod pluginregistration {
    tonic::include_proto!("pluginregistration");
}

include!(concat!(env!("OUT_DIR"), "/method.rs"));

/// Returns the path of the lock of the acting agent; the daemon creates it for root and its socket's group.
#[must_use]
pub fn agent_lock(socket: &std::path::Path) -> std::path::PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".agent");
    name.into()
}

/// Maximum size of one request that a daemon accepts, in bytes.
pub const MAX_REQUEST: usize = 256 << 10;

/// Default path of the daemon's socket.
pub const DEFAULT_SOCKET_PATH: &str = "/run/bpfman-sock/bpfman.sock";

/// Environment variable that names the daemon's socket, read by daemon and clients.
pub const SOCKET_PATH_VARIABLE: &str = "BPFMAN_SOCKET_PATH";

/// Metadata key of an application's name, as v0.6.0 writes it.
pub const APPLICATION_KEY: &str = "bpfman_application";

/// Metadata key of an application's name in newer clients; read like [`APPLICATION_KEY`].
pub const APPLICATION_KEY_NEWER: &str = "bpfman.io/application";

/// Prefix of a metadata key, before a function's name; the value, a return probe's exact type, is not stored.
pub const ACTUAL_TYPE_PREFIX: &str = "bpfman.io/actual-type:";

/// Trailer of a failed call with the next steps.
pub const HINT_TRAILER: &str = "bpfman-hint-bin";

/// Trailer of a failed call with the kind of failure: see [`Reason`].
pub const REASON_TRAILER: &str = "bpfman-reason";
