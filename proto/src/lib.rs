//! The wire: bpfman.v1, compatible with v0.6.0, and this project's additive services
