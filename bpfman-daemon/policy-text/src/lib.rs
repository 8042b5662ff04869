//! Parser of the tables of `policy.toml` that finds every defect, with its line.
//!
//! Two crates parse the file: one for grants, one for signature rules. If a parser stopped at the first defect, root
//! would have to correct a file once for each of them.

mod defect;
mod repair;
mod tables;

pub use defect::{MAX_DEFECTS, TextDefect, TextDefects};
pub use tables::{PolicyTables, ReadTable};
