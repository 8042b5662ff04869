//! As whom a registry is asked, and whether it is.

pub mod credentials;
mod secret;
