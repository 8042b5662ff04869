//! IPVS, the kernel's own balancer: datagrams of known connections, sent as IP in IP like the balancer's.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use bpfman_tests::network::{FAR_ADDRESS, Namespace};

use super::{BACKENDS, PORT, backend};
use crate::live_frames::inside;

pub fn lacks() -> Option<&'static str> {
    let _loaded = Command::new("modprobe").arg("ip_vs").output();
    if !Path::new("/proc/net/ip_vs").exists() {
        return Some("this kernel has no IPVS");
    }
    Command::new("ipvsadm").arg("--version").output().is_err().then_some("ipvsadm is missing")
}

pub fn set_up(far: &Namespace) {
    let mut text = format!("-A -u {FAR_ADDRESS}:{PORT} -s mh\n");
    for number in 1..=BACKENDS {
        writeln!(text, "-a -u {FAR_ADDRESS}:{PORT} -r {}:{PORT} -i", backend(number)).unwrap();
    }
    inside(far, &format!("ipvsadm --restore << end\n{text}end"));
}

pub fn tear_down(far: &Namespace) {
    inside(far, "ipvsadm --clear");
}
