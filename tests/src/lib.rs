//! Whole-system tests: real kernel, real registry, real daemon
