//! Tests of this crate besides its messages. Unit tests would compile all messages once more.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod handover;
mod map_exports;
mod points;
mod printable;
mod reason;
mod xdp_fallback;

/// Clients cannot read a field with another number or type.
#[test]
fn v1_has_the_numbers_and_types_of_v0_6_0() {
    assert_eq!(
        include_str!(concat!(env!("OUT_DIR"), "/wire.txt")),
        include_str!("../../src/wire-v0.6.0.txt")
    );
}
