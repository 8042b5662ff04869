//! Emission of programs from a plan: glue, layout, type information.

pub(crate) mod btf_merge;
pub(crate) mod clock;
pub(crate) mod compile;
pub(crate) mod debug_info;
pub(crate) mod exits;
pub(crate) mod glue;
pub(crate) mod layout;
pub(crate) mod relocate;
pub(crate) mod splice;
