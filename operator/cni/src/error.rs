//! What the container runtime is told.

use serde::Serialize;

/// An error as the specification has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{msg}: {details}")]
pub struct CniError {
    /// Version of the result.
    #[serde(rename = "cniVersion")]
    pub version: String,
    /// What kind.
    pub code: u32,
    /// In few words.
    pub msg: String,
    /// In more words.
    pub details: String,
}

/// Versions do not go together.
pub const INCOMPATIBLE_VERSION: u32 = 1;
/// An environment variable is missing or wrong.
pub const INVALID_ENVIRONMENT: u32 = 4;
/// Reading or writing failed.
pub const IO_FAILURE: u32 = 5;
/// What was read is no JSON.
pub const NOT_DECODED: u32 = 6;
/// The network configuration is wrong.
pub const INVALID_CONFIGURATION: u32 = 7;
/// Something is not there now, and will be.
pub const TRY_AGAIN_LATER: u32 = 11;
/// STATUS: pods cannot be added.
pub const NOT_AVAILABLE: u32 = 50;
/// Our own: a program could not be attached, and the pod must not run without it.
pub const NOT_PROTECTED: u32 = 100;

impl CniError {
    /// One of these.
    #[must_use]
    pub fn new(code: u32, msg: impl Into<String>, details: impl Into<String>) -> Self {
        let version = crate::network::NEWEST.to_owned();
        Self { version, code, msg: msg.into(), details: details.into() }
    }
}
