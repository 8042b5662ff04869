//! Outages of the API server, allowed only for a cluster that a single test uses.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use crate::Cluster;

impl Cluster {
    pub fn kill_api_server(&self) {
        self.signal_api_server(Signal::KILL);
        let pid = self.process("kube-apiserver");
        bpfman_tests::wait::until("the API server ended", || !runs(pid));
    }

    pub fn start_api_server(&self) {
        self.up(std::process::id());
    }

    pub fn pause_api_server(&self) {
        self.signal_api_server(Signal::STOP);
    }

    pub fn resume_api_server(&self) {
        self.signal_api_server(Signal::CONT);
    }

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

/// Returns whether a process runs. A zombie does if it has other threads, which keep its sockets open.
fn runs(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let Some((_, rest)) = stat.rsplit_once(") ") else { return false };
    let fields: Vec<&str> = rest.split(' ').collect();
    // The first field is the state, the eighteenth the number of threads.
    fields[0] != "Z" || fields[17] != "1"
}
