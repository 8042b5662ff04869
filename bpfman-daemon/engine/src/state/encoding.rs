//! Encoding of records in the store.

use std::io;

use bpfmand_store::FileError;

use crate::EngineError;

pub fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, EngineError> {
    serde_json::from_slice(bytes).map_err(|error| fail("read a record of", error))
}

pub fn encode<T: serde::Serialize>(record: &T) -> Result<Vec<u8>, EngineError> {
    serde_json::to_vec(record).map_err(|error| fail("write a record of", error))
}

fn fail(action: &'static str, error: serde_json::Error) -> EngineError {
    let source = io::Error::new(io::ErrorKind::InvalidData, error);
    FileError { action, path: "the store".to_owned(), source }.into()
}
