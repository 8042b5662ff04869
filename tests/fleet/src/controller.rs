//! The real controller, as a process of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::agent::NAMESPACE;

/// A running controller. It is killed with this value.
pub struct Controller {
    process: Child,
}

impl Controller {
    /// Starts one. What it says goes to a file in a folder.
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

    /// Memory now and at most, in KiB; processor time, in seconds.
    #[must_use]
    pub fn figures(&self) -> Value {
        let pid = self.process.id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().ok()
        };
        json!({ "resident_kib": line("VmRSS"), "peak_kib": line("VmHWM"), "processor_seconds": self.processor_seconds() })
    }

    fn processor_seconds(&self) -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        Some(ticks / rustix::param::clock_ticks_per_second() as f64)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// Where it says what it says.
#[must_use]
pub fn log(folder: &Path) -> PathBuf {
    folder.join("controller.log")
}
