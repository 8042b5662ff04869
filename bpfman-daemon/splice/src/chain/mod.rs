pub(crate) mod counters;
pub(crate) mod hook;
pub(crate) mod join_mode;
pub(crate) mod member;
pub(crate) mod options;
pub(crate) mod plan;
pub(crate) mod proceed;
pub(crate) mod sections;
