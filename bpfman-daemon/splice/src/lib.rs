//! Joins relocated programs into one: pure and deterministic
