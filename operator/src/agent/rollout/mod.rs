//! What a rollout asks of a node beside running a revision: to try one ([`preflight`]), and to watch its gates ([`soak`]).

mod events;
pub mod preflight;
pub mod soak;
