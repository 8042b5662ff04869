//! Kinds of kernel objects with ids.

use serde::{Deserialize, Serialize};

/// Kind of a kernel object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectKind {
    Program,
    Map,
    Btf,
    Link,
}

impl ObjectKind {
    pub const ALL: [Self; 4] = [Self::Program, Self::Map, Self::Btf, Self::Link];

    /// Returns the name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Map => "map",
            Self::Btf => "btf",
            Self::Link => "link",
        }
    }
}
