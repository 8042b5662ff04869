//! The oracle: a chain does what its members do alone, one after another.
//!
//! Members run alone by `BPF_PROG_TEST_RUN`, folded in user space, are compared with their chain: verdict, packet
//! bytes, metadata or mark, map contents, and counts at the exits. One differing bit is a bug.
//!
//! [`pool`]: random chains; [`corpus`]: tests/members and installed objects; [`special`]: single cases; [`traffic`]:
//! effects that a test run does not show; [`fuzz`]: longer runs.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a step that fails is a test that fails")]

mod chain;
mod corpus;
mod fuzz;
mod generate;
mod headers;
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
