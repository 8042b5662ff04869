//! The oracle: a chain does what its members do alone, one after another.
//!
//! Members run by `BPF_PROG_TEST_RUN` alone and are folded in user space. They are compared with the chain of the same
//! members: verdict, packet bytes, metadata or mark, map contents, and the counts at the exits. One differing bit is a
//! bug.
//!
//! [`pool`] runs random chains of a pool of members, [`corpus`] those of tests/members and of installed objects,
//! [`special`] cases with tests of their own, [`traffic`] effects that a trial run does not show. [`fuzz`] runs for
//! longer.

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
