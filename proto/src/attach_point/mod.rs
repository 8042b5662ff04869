//! The one conversion between attach points and their messages.

mod from_wire;
mod to_wire;

pub use self::from_wire::{BadPoint, PointWithMetadata, either, hook, interface, matching, published};
