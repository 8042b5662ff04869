//! Outages of the API server: only of a cluster of the test's own.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use crate::Cluster;

impl Cluster {
    /// Ends the API server at once. What it knows is in etcd, which runs on.
    pub fn kill_api_server(&self) {
        self.signal_api_server(Signal::KILL);
        let pid = self.process("kube-apiserver");
        bpfman_tests::wait::until("the API server ended", || !runs(pid));
    }

    /// Starts it again, and waits until it is ready.
    pub fn start_api_server(&self) {
        self.up(std::process::id());
    }

    /// Stops it without closing a connection, as a network that loses everything would; `resume_api_server` goes on.
    pub fn pause_api_server(&self) {
        self.signal_api_server(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume_api_server(&self) {
        self.signal_api_server(Signal::CONT);
    }

    /// Memory of a process of the control plane, in KiB: `kube-apiserver`, `etcd`, ...
    #[must_use]
    pub fn memory(&self, what: &str) -> u64 {
        let path = format!("/proc/{}/status", self.process(what).as_raw_nonzero());
        let status = fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn signal_api_server(&self, signal: Signal) {
        assert!(self.is_own(), "the shared API server serves other tests too");
        kill_process(self.process("kube-apiserver"), signal).unwrap();
    }

    fn process(&self, what: &str) -> Pid {
        let text = fs::read_to_string(self.path(format!("{what}.pid"))).unwrap();
        Pid::from_raw(text.split(' ').next().unwrap().parse().unwrap()).unwrap()
    }
}

/// A process that ended and waits for its parent runs no more. One whose first thread ended has its sockets until the
/// others have.
fn runs(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let Some((_, rest)) = stat.rsplit_once(") ") else { return false };
    let fields: Vec<&str> = rest.split(' ').collect();
    // State, and number of threads.
    fields[0] != "Z" || fields[17] != "1"
}
