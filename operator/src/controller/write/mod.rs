//! Writes to the API server: leader election ([`leader`]), objects ([`act`]), references of events ([`event_subject`]).

pub mod act;
pub mod event_subject;
pub mod leader;
