pub(crate) mod cut;
pub(crate) mod planner;
pub(crate) mod tail_calls;
