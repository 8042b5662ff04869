use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::btf::word;

/// Immutable bytes with shared ownership, such as a mapping of shared memory.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

#[derive(Clone)]
pub(crate) enum HeldBytes {
    Own(Vec<u8>),
    Shared { all: SharedBytes, part: Range<usize> },
}

impl HeldBytes {
    /// Returns a part of shared bytes; `None` if they are shorter.
    pub fn shared(all: &SharedBytes, part: Range<usize>) -> Option<Self> {
        (**all).as_ref().get(part.clone())?;
        Some(Self::Shared { all: Arc::clone(all), part })
    }
}

impl Deref for HeldBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared { all, part } => (**all).as_ref().get(part.clone()).unwrap_or_default(),
        }
    }
}

impl fmt::Debug for HeldBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_shared = matches!(self, Self::Shared { .. });
        f.debug_struct("HeldBytes").field("len", &self.len()).field("is_shared", &is_shared).finish()
    }
}

#[derive(Clone, Debug)]
pub(crate) enum HeldNumbers {
    Own(Vec<u32>),
    Shared(HeldBytes),
}

impl HeldNumbers {
    pub fn len(&self) -> usize {
        match self {
            Self::Own(numbers) => numbers.len(),
            Self::Shared(bytes) => bytes.len() / size_of::<u32>(),
        }
    }

    pub fn get(&self, index: usize) -> Option<u32> {
        match self {
            Self::Own(numbers) => numbers.get(index).copied(),
            Self::Shared(bytes) => (index < self.len()).then(|| word(bytes, index * size_of::<u32>())),
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Own(numbers) => numbers.iter().flat_map(|number| number.to_ne_bytes()).collect(),
            Self::Shared(bytes) => bytes.to_vec(),
        }
    }
}
