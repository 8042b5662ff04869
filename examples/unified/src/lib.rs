//! Empty crate that selects features of third-party crates, see the manifest. The programs do not depend on it.
