//! This machine: what is true here, and which programs are here already.

pub mod composition;
pub mod facts;
pub mod leader;
pub mod leftovers;
pub mod predecessors;
