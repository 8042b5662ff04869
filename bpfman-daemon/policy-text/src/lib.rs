//! Tables of `policy.toml`, read so that each mistake is found and has its line.
//!
//! Two crates read the file: grants are for one, signature rules for the other. A reader that stops at the first mistake would
//! have root correct a file once for each of them.

mod defect;
mod repair;
mod tables;

pub use defect::{MAX_DEFECTS, TextDefect, TextDefects};
pub use tables::{PolicyTables, ReadTable};
