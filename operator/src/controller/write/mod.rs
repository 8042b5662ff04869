//! Writing to the API server: whether this controller may ([`leader`]), objects ([`act`]), and what is told to people
//! ([`note`]).

pub mod act;
pub mod leader;
pub mod note;
