//! The access table (`docs/calls.md`): calls are refused for objects of another owner, not for the caller's own.

pub mod as_user;
mod bench;
mod callers;
mod cells;
mod digest;
mod effects;
mod matrix;
mod principals;
mod requests;
mod table;
mod things;
