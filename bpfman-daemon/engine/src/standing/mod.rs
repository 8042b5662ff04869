//! Status of attachments compared with their records, shared by start, checks, events, attach and lists.

mod dispatcher;
pub mod drift;
mod emptied_arrays;
mod everywhere;
mod filter;
mod held_namespaces;
mod interface_location;
mod link;
mod link_walk;
mod map_pins;
mod netkit;
mod numbered;
mod observe;
mod pin_again;
mod probed;
pub mod reconcile;
mod struct_ops;
mod unfinished;

use crate::state::{GonePlace, HookPart, Loss, Standing};

pub(crate) use link_walk::LinkWalk;
pub(crate) use map_pins::lacking;
pub use netkit::NetkitDevice;
pub use numbered::{MAX_NAMESPACE_END, NAMESPACE_END_PAUSE, numbered_namespaces};
pub use observe::Observed;
pub use reconcile::HookCheck;
