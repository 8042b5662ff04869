//! libxdp's dispatcher: its program, configuration, and the types of its slots.

pub(crate) mod config;
pub(crate) mod dispatcher;
pub(crate) mod dispatcher_types;
