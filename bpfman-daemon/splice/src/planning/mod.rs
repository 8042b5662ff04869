//! From members to a plan: who is inlined, where a new program begins.

pub(crate) mod cut;
pub(crate) mod planner;
pub(crate) mod tail_calls;
