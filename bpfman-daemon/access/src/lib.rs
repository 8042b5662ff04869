//! Access control: callers, grants and owners. Decisions without I/O.
//!
//! A call is an [`AccessVerb`] on [`AccessObject`]s by a [`bpfman_model::Peer`]; only [`AccessPolicy::decide`] allows
//! or denies it. Root may do everything. Other callers may do what one grant of `policy.toml` allows, and what its
//! `[access]` table allows all users of the socket.

mod application_pattern;
mod concern;
mod decide;
mod denial;
mod grant;
mod grant_error;
mod image_pattern;
mod object;
mod object_class;
mod owned_object;
mod pattern;
mod policy;
mod policy_file;
mod restrictions;
mod suggestion;
mod verb;

pub use application_pattern::ApplicationPattern;
pub use decide::{Allowed, By};
pub use denial::Denial;
pub use grant::{Grant, GrantCallers, GrantLimits, NetnsRule};
pub use grant_error::GrantError;
pub use image_pattern::ImagePattern;
pub use object::AccessObject;
pub use object_class::ObjectClass;
pub use owned_object::OwnedObject;
pub use pattern::{BadPattern, HookPattern, TARGETS, TargetPattern};
pub use policy::{AccessPolicy, SocketGroup};
pub use policy_file::AccountNames;
pub use verb::{AccessVerb, UnknownVerb};
