//! From an OCI reference to verified bytecode
