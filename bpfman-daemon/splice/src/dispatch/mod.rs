pub(crate) mod config;
pub(crate) mod dispatcher;
pub(crate) mod dispatcher_types;
