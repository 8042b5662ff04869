//! Real controller, as a process of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::agent::NAMESPACE;
use crate::process;

pub struct Controller {
    process: Child,
}

impl Controller {
    pub fn start(kubeconfig: &Path, folder: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log(folder))?;
        let binary = std::env::current_exe()?.with_file_name("bpfman-operator");
        let process = Command::new(&binary)
            .args(["controller", "--no-deploy", "--assume-agents", "--namespace", NAMESPACE])
            .args(["--health-probe-bind-address", "0", "--metrics-bind-address", "0"])
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{}: is it built?", binary.display()))?;
        Ok(Self { process })
    }

    #[must_use]
    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// Returns current and peak memory in KiB, and CPU time in seconds.
    #[must_use]
    pub fn figures(&self) -> Value {
        let process = self.process();
        let memory = |name| process::status(&process.to_string(), name);
        json!({
            "resident_kib": memory("VmRSS"), "peak_kib": memory("VmHWM"), "own_kib": memory("RssAnon"),
            "processor_seconds": process::processor_seconds(process),
        })
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

#[must_use]
pub fn log(folder: &Path) -> PathBuf {
    folder.join("controller.log")
}
