//! Node's part of a rollout apart from running a revision: preflights ([`preflight`]), and gates ([`soak`]).

mod events;
pub mod preflight;
pub mod soak;
