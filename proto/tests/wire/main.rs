//! Parts of the wire's crate besides its messages. Unit tests would compile all messages once more.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod handover;
mod map_exports;
mod printable;
mod reason;
mod xdp_fallback;

/// Compares what build.rs lists with what clients of v0.6.0 were built on: a number or a type that changes keeps them
/// from finding what they are sent.
#[test]
fn v1_has_the_numbers_and_types_of_v0_6_0() {
    assert_eq!(
        include_str!(concat!(env!("OUT_DIR"), "/wire.txt")),
        include_str!("../../src/wire-v0.6.0.txt")
    );
}
