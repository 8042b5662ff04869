//! Messages between receiver and daemon: a head in JSON, buffers, and descriptors beside the first byte.

use std::os::fd::OwnedFd;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Maximum number of descriptors of a message: the kernel's limit of one `SCM_RIGHTS`.
pub const MAX_DESCRIPTORS: usize = 253;
/// Maximum size of a head, in bytes.
pub const MAX_HEAD: usize = 64 << 10;
/// Maximum size of all buffers, in bytes: a log, instructions of the largest program, and its debug information.
pub const MAX_MESSAGE: usize = 32 << 20;
/// Size of what precedes a head: its length and the number of buffers, four bytes each.
pub const PREFIX: usize = 8;

/// A message with its buffers and descriptors.
#[derive(Debug)]
pub struct CallMessage<T> {
    pub head: T,
    /// Buffers that the head names by index.
    pub buffers: Vec<Vec<u8>>,
    /// Descriptors that the head names by index.
    pub descriptors: Vec<OwnedFd>,
}

/// Head of a message, with the lengths of its buffers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Head<T> {
    pub head: T,
    /// Length of each buffer, in bytes.
    pub buffers: Vec<usize>,
}

/// Invalid message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadError(pub &'static str);

impl std::fmt::Display for HeadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for HeadError {}

impl<T: Serialize> Head<T> {
    /// Returns the encoded head with its prefix.
    ///
    /// # Errors
    /// The head or the buffers are too large.
    pub fn to_bytes(&self) -> Result<Vec<u8>, HeadError> {
        let mut bytes = vec![0; PREFIX];
        serde_json::to_writer(&mut bytes, self).map_err(|_| HeadError("the head has no text"))?;
        let (head, buffers) = (bytes.len() - PREFIX, self.buffers.iter().sum());
        check(head, buffers)?;
        bytes[..4].copy_from_slice(&(head as u32).to_le_bytes());
        bytes[4..PREFIX].copy_from_slice(&(buffers as u32).to_le_bytes());
        Ok(bytes)
    }
}

impl<T: DeserializeOwned> Head<T> {
    /// Parses a head of the announced lengths.
    ///
    /// # Errors
    /// The text is invalid, or its lengths are not those announced.
    pub fn parse(text: &[u8], buffers: usize) -> Result<Self, HeadError> {
        let head: Self = serde_json::from_slice(text).map_err(|_| HeadError("the head is not understood"))?;
        let mut sum = 0_usize;
        for length in &head.buffers {
            sum = sum.checked_add(*length).ok_or(HeadError("the buffers are too large"))?;
        }
        if sum == buffers { Ok(head) } else { Err(HeadError("the buffers have another length")) }
    }
}

/// Returns the announced lengths of the head and of all buffers.
///
/// # Errors
/// One of them is too large.
pub(crate) fn announced(prefix: [u8; PREFIX]) -> Result<(usize, usize), HeadError> {
    let [a, b, c, d, e, f, g, h] = prefix;
    let (head, buffers) =
        (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]) as usize);
    check(head, buffers)?;
    Ok((head, buffers))
}

fn check(head: usize, buffers: usize) -> Result<(), HeadError> {
    if head > MAX_HEAD {
        return Err(HeadError("the head is too large"));
    }
    if buffers > MAX_MESSAGE { Err(HeadError("the buffers are too large")) } else { Ok(()) }
}
