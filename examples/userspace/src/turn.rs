//! Taking turns: one process at a time changes a program's rules.

use std::io;

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, MapData, MapError};

use crate::failure::Failure;

/// Do not overwrite.
const BPF_NOEXIST: u64 = 1;

/// A map with room for one entry, which whoever writes puts in: its process.
pub struct Turn(HashMap<MapData, u32, u64>);

impl Turn {
    /// By the program's map `writer`.
    pub fn new(writer: HashMap<MapData, u32, u64>) -> Self {
        Self(writer)
    }

    /// # Errors
    /// Somebody else's turn is not over, or the map cannot be written.
    pub fn take(&mut self) -> Result<()> {
        match self.0.insert(0, u64::from(std::process::id()), BPF_NOEXIST) {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::AlreadyExists => {
                let holder =
                    self.0.get(&0, 0).map_or_else(|_| "another".to_owned(), |process| process.to_string());
                Err(Failure::conflict(
                    format!("process {holder} is replacing the rules"),
                    "wait for it; if it was killed, `unlock` lets others write",
                )
                .into())
            }
            result => result.context("cannot begin to write"),
        }
    }

    /// Lets others write, whoever was writing.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn end(&mut self) -> Result<()> {
        match self.0.remove(&0) {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(MapError::KeyNotFound) => Ok(()),
            result => result.context("cannot let others write"),
        }
    }
}
