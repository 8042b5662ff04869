//! The CSI node plugin `csi.bpfman.io`: pods mount maps of programs that bpfman loaded.
//!
//! - A volume is a bpffs of its own, `<runtime>/csi/fs/<volume id>`, that holds pins of just the maps that the pod names.
//!   The pod sees it by a bind mount. The kernel is the only record: what a volume holds is read from its mount.
//! - A volume is bound to its target once it is complete. What a killed daemon leaves is therefore complete, or bound
//!   nowhere; the latter is taken down at start and when the volume is asked for again.
//! - Read-only is a property of the volume's file system, not of modes: not even root in a pod opens such a pin for
//!   writing.

mod authority;
mod connection;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod held;
mod identity;
mod maps;
mod named_maps;
mod node;
mod propagation;
mod publish;
mod recover;
mod registration;
mod request;
mod undo;
mod unpublish;
mod volumes;

pub use connection::{Connection, connections};
pub use error::CsiError;
pub use identity::IdentityService;
pub use maps::MapSource;
pub use named_maps::{NamedMap, NamedMapsError, UnexportedMaps, WantedMaps};
pub use node::{MOST_THREADS, NodeService};
pub use propagation::UnseenVolumes;
pub use recover::Recovered;
pub use registration::{Registrar, keep_registered};
pub use request::{Publication, VolumeId};
pub use volumes::Volumes;

/// The driver's name, in pods and in the cluster's CSIDriver object.
pub const DRIVER: &str = "csi.bpfman.io";

/// Largest request, in bytes: a path, an id and some attributes.
pub const LARGEST_REQUEST: usize = 256 << 10;
