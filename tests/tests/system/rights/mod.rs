//! The table of rights (`docs/calls.md`), cell by cell: each call on an object of each class that is another's is refused, on the
//! caller's own it is not.

mod as_user;
mod cells;
mod requests;
mod table;
mod things;
