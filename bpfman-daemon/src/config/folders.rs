use std::path::PathBuf;

use anyhow::bail;

use super::STATE;
use crate::arguments::DaemonArguments;

const RUNTIME: &str = "/run/bpfman";

/// Folders of a daemon. Flags and environment variables set them, the file does not.
#[derive(Clone, Debug)]
pub struct Folders {
    pub runtime: PathBuf,
    pub state: PathBuf,
}

impl Folders {
    pub fn of(arguments: &DaemonArguments) -> anyhow::Result<Self> {
        let runtime = arguments.runtime_dir.clone().unwrap_or_else(|| PathBuf::from(RUNTIME));
        let state = match (&arguments.state_dir, &arguments.runtime_dir) {
            (Some(state), _) => state.clone(),
            // Daemons with their own runtime folders must never share records.
            (None, Some(runtime)) => runtime.join("state"),
            (None, None) => PathBuf::from(STATE),
        };
        for (flag, folder) in [("--runtime-dir", &runtime), ("--state-dir", &state)] {
            if !folder.is_absolute() {
                bail!("{flag} \"{}\" is not an absolute path", folder.display());
            }
        }
        Ok(Self { runtime, state })
    }

    pub fn fs(&self) -> PathBuf {
        self.runtime.join("fs")
    }
}
