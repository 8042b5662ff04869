//! CSI node plugin `csi.bpfman.io`: pods mount maps of programs that bpfman loaded.
//!
//! - A volume is a bpffs of its own, `<runtime>/csi/fs/<volume id>`, with pins of the maps that the pod names, bind-mounted
//!   into the pod. The kernel is the only record: the contents of a volume are read from its mount.
//! - A volume is bound to its target once it is complete. Therefore a killed daemon leaves complete volumes, and volumes
//!   without a target, which are removed at start and when the volume is requested again.
//! - Read-only is a property of the volume's file system, not of modes: not even root in a pod can open such a pin for
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
pub use node::{MAX_THREADS, NodeService};
pub use propagation::UnseenVolumes;
pub use recover::Recovered;
pub use registration::{Registrar, keep_registered};
pub use request::{Publication, VolumeId};
pub use volumes::Volumes;

/// Name of the driver in pods and in the CSIDriver object.
pub const DRIVER: &str = "csi.bpfman.io";

/// Maximum size of a request, in bytes: a path, an id and some attributes.
pub const MAX_REQUEST: usize = 256 << 10;
