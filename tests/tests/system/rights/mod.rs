//! The access table (`docs/calls.md`), cell by cell: each call is refused for an object of each class that belongs to
//! another owner, and not for the caller's own.

mod as_user;
mod cells;
mod requests;
mod table;
mod things;
