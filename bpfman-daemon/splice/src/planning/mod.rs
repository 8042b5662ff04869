//! Plans a chain from its members: which are inlined, where a new program begins.

pub(crate) mod cut;
pub(crate) mod planner;
pub(crate) mod tail_calls;
