//! Records as the store keeps them.

use crate::EngineError;

/// A record from its bytes.
pub fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, EngineError> {
    serde_json::from_slice(bytes).map_err(|error| EngineError::Files {
        action: "read a record of",
        path: "the store".to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
    })
}

/// A record as bytes.
pub fn encode<T: serde::Serialize>(record: &T) -> Result<Vec<u8>, EngineError> {
    serde_json::to_vec(record).map_err(|error| EngineError::Files {
        action: "write a record of",
        path: "the store".to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
    })
}
