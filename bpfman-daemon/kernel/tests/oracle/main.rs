//! The oracle: a chain does what its members do alone, one after another.
//!
//! Members run by `BPF_PROG_TEST_RUN` alone and folded in user space, against the chain of the same members, over
//! verdict, packet bytes, metadata or mark, map contents, and what was counted at the exits. One differing bit is a bug.
//!
//! [`pool`] runs random chains of a pool of members, [`corpus`] those of tests/members and of installed objects,
//! [`special`] what needs words of its own, [`traffic`] what a trial run does not show. [`fuzz`] goes on for longer.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a step that fails is a test that fails")]

mod chain;
mod corpus;
mod fuzz;
mod generate;
#[allow(dead_code, reason = "benches/chain uses the rest")]
mod kernel;
mod little_btf;
#[allow(dead_code, reason = "benches/chain uses the rest")]
mod objects;
mod pool;
mod special;
mod together;
mod traffic;
mod type_tags;
mod ways;
