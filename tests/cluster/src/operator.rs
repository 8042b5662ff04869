//! Processes of the operator's binary: controller and agent.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use bpfman_tests::binaries;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::Cluster;

#[derive(Debug)]
pub struct Operator {
    what: String,
    folder: TempDir,
    process: Option<Child>,
}

impl Operator {
    #[must_use]
    pub fn start<S: AsRef<OsStr>>(
        cluster: &Cluster,
        subcommand: &str,
        kubeconfig: &Path,
        flags: &[S],
        environment: &[(&str, &str)],
    ) -> Self {
        let folder = tempfile::Builder::new().prefix("bpfman-operator-").tempdir().unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = cluster.command(binaries::find("bpfman-operator"));
        command.arg(subcommand).args(flags).env("KUBECONFIG", kubeconfig);
        command.env("HOME", folder.path()).envs(environment.iter().copied());
        let process = Self::spawn(&mut command, log);
        Self { what: subcommand.to_owned(), folder, process: Some(process) }
    }

    fn spawn(command: &mut Command, log: fs::File) -> Child {
        let errors = log.try_clone().unwrap();
        command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().unwrap()
    }

    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Asserts that an outage of the API server is reported at most once, however many watches fail and however often: by
    /// refused connections, then 403 until the server has read its roles, then 410.
    pub fn assert_outage_is_reported_once(&self) {
        let log = self.log();
        let bad = |line: &&str| line.contains(" WARN ") || line.contains("ERROR ");
        let warnings: Vec<&str> = log.lines().filter(bad).collect();
        let of_watches = warnings.iter().filter(|line| line.contains("cannot be watched")).count();
        let of_rights = warnings.iter().filter(|line| line.contains("forbidden")).count();
        assert!(of_watches <= 1 && of_rights == 0, "{warnings:#?}");
    }

    /// Returns the process id: `nsenter` replaces itself by the program.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    #[must_use]
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _gone = process.kill();
            process.wait().unwrap();
        }
    }

    pub fn terminate(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("it runs");
        kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
        process.wait().unwrap()
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(|process| process.try_wait().unwrap())
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the log of the {} ---\n{}", self.what, self.log());
        }
    }
}
