//! This machine: facts about it, and the programs that it already has.

pub mod composition;
pub mod facts;
pub mod leader;
pub mod leftovers;
pub mod predecessors;
