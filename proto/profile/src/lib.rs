//! CPU profiles: stacks of names with their samples, and their formats. The gallery's profiler creates them, and
//! `kubectl bpfman profile` merges those of nodes. No I/O.

mod flame;
mod folded;
mod format;
mod message;
mod pprof;
mod profile;

pub use format::{Format, UnknownFormat};
pub use pprof::PprofError;
pub use profile::{Profile, Weight};
