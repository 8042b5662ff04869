//! Errors for the container runtime.

use serde::Serialize;

/// Error in the format of the CNI specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{msg}: {details}")]
pub struct CniError {
    #[serde(rename = "cniVersion")]
    pub version: String,
    pub code: u32,
    pub msg: String,
    pub details: String,
}

pub const INCOMPATIBLE_VERSION: u32 = 1;
pub const INVALID_ENVIRONMENT: u32 = 4;
pub const IO_FAILURE: u32 = 5;
pub const NOT_DECODED: u32 = 6;
pub const INVALID_CONFIGURATION: u32 = 7;
pub const TRY_AGAIN_LATER: u32 = 11;
/// Failure of STATUS: pods cannot be added.
pub const NOT_AVAILABLE: u32 = 50;
/// Code of this plugin: a program could not be attached, and the pod must not run without it.
pub const NOT_PROTECTED: u32 = 100;

impl CniError {
    /// Returns an error in the newest version of the specification.
    #[must_use]
    pub fn new(code: u32, msg: impl Into<String>, details: impl Into<String>) -> Self {
        let version = crate::network::NEWEST.to_owned();
        Self { version, code, msg: msg.into(), details: details.into() }
    }
}
