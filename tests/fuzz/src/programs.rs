//! Two programs that targets and seeds need. Each caller compiles them in its own way.

use std::path::PathBuf;
use std::sync::OnceLock;

#[derive(Debug)]
pub struct Programs {
    pub object: PathBuf,
    pub binary: PathBuf,
}

static PROGRAMS: OnceLock<Programs> = OnceLock::new();

/// Sets the paths, before any target or seed is used. Later calls have no effect.
pub fn set_programs(programs: Programs) {
    let _earlier = PROGRAMS.set(programs);
}

pub(crate) fn programs() -> &'static Programs {
    PROGRAMS.get().expect("set_programs comes first")
}
