//! Writing to the API server: whether this controller may ([`leader`]), objects ([`act`]), and how events name an
//! application ([`event_subject`]).

pub mod act;
pub mod event_subject;
pub mod leader;
