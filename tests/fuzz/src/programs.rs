//! The two programs that targets and seeds need. Those who run targets compile them, each in its own way.

use std::path::PathBuf;
use std::sync::OnceLock;

/// Where the compiled programs are.
#[derive(Debug)]
pub struct Programs {
    /// `pass.bpf.c`.
    pub object: PathBuf,
    /// A program of this machine with a function `f`.
    pub binary: PathBuf,
}

static PROGRAMS: OnceLock<Programs> = OnceLock::new();

/// Sets where the programs are, before any target or seed is used. Later calls change nothing.
pub fn set_programs(programs: Programs) {
    let _earlier = PROGRAMS.set(programs);
}

pub(crate) fn programs() -> &'static Programs {
    PROGRAMS.get().expect("set_programs comes first")
}
