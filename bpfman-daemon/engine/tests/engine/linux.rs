//! Bench on the kernel of this machine, with a bpffs and a network namespace, which are removed on drop.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bpfman_model::ProgramId;
use bpfmand_kernel::Probe;
use bpfmand_kernel::linux::{LinuxKernel, test_run};
use bpfmand_kernel::prelude::*;

use crate::bench::{Bench, Testable, quick_folder};

impl Testable for LinuxKernel {
    fn verdict(&self, program: ProgramId) -> u32 {
        let program = self.open_program(program).unwrap().unwrap();
        test_run(&program, &[0; 64], 1).unwrap().verdict
    }

    fn add_interface(&self, netns: &Path, name: &str) {
        // Not every kernel has dummy interfaces.
        ip(netns, &["add", name, "type", "veth", "peer", "name", &format!("peer-{name}")]);
        self.switch_interface(netns, name, true);
    }

    /// One process adds all interfaces: a thousand processes would take longer than the code under test.
    fn add_interfaces(&self, netns: &Path, many: usize) {
        let lines = (0..many).map(|number| {
            format!("link add pod{number} type veth peer name peer{number}\nlink set pod{number} up\n")
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines.collect::<String>()).unwrap();
        let name = netns.file_name().unwrap().to_str().unwrap();
        assert!(run("ip", &["-n", name, "-batch", file.path().to_str().unwrap()]));
    }

    fn remove_interface(&self, netns: &Path, name: &str) {
        ip(netns, &["del", name]);
    }

    fn rename_interface(&self, netns: &Path, name: &str, new: &str) {
        self.switch_interface(netns, name, false);
        ip(netns, &["set", name, "name", new]);
        self.switch_interface(netns, new, true);
    }

    fn switch_interface(&self, netns: &Path, name: &str, up: bool) {
        ip(netns, &["set", name, if up { "up" } else { "down" }]);
    }

    fn add_other_name(&self, netns: &Path, name: &str, other: &str) {
        ip(netns, &["property", "add", "dev", name, "altname", other]);
    }
}

struct Machine {
    namespace: String,
    _pins: Mounted,
}

struct Mounted(tempfile::TempDir);

impl Drop for Mounted {
    fn drop(&mut self) {
        // Detach lazily: the bench's kernel may still be in use.
        run("umount", &["-l", &self.0.path().display().to_string()]);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        run("ip", &["netns", "del", &self.namespace]);
    }
}

pub fn command_in(netns: &Path, environment: (&str, &Path), words: &[&str]) -> String {
    let done = Command::new("nsenter")
        .arg(format!("--net={}", netns.display()))
        .args(words)
        .env(environment.0, environment.1)
        .output()
        .unwrap();
    let [out, said] = [&done.stdout, &done.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(done.status.success(), "{words:?}: {out}{said}");
    out
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let done = Command::new(program).args(arguments).output();
    match done {
        Ok(done) if done.status.success() => true,
        Ok(done) => {
            println!("{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
            false
        }
        Err(error) => {
            println!("{program}: {error}");
            false
        }
    }
}

fn ip(netns: &Path, words: &[&str]) {
    let name = netns.file_name().unwrap().to_str().unwrap();
    assert!(run("ip", &[&["-n", name, "link"], words].concat()));
}

pub fn bench(test: &str) -> Bench<LinuxKernel> {
    bench_without(test, &[])
}

pub fn bench_without(test: &str, probes: &[&str]) -> Bench<LinuxKernel> {
    let namespace = format!("engine-{}-{test}", std::process::id());
    let mounted = Mounted(tempfile::tempdir().unwrap());
    let libxdp_pins = mounted.0.path().join("libxdp/xdp");
    let mut kernel = LinuxKernel::new(mounted.0.path()).unwrap();
    probes.iter().for_each(|probe| kernel.switch_off(Probe::named(probe).unwrap()));
    assert!(run("ip", &["netns", "add", &namespace]));
    let machine = Machine { namespace: namespace.clone(), _pins: mounted };
    assert!(run("ip", &["-n", &namespace, "link", "add", "left", "type", "veth", "peer", "name", "right"]));
    Bench {
        kernel: Arc::new(kernel),
        folder: quick_folder(),
        netns: PathBuf::from("/run/netns").join(namespace),
        tc_by_clsact: false,
        leftover_bytes: None,
        libxdp_pins,
        _machine: Box::new(machine),
    }
}

pub fn remove_interface(namespace: &str, name: &str) {
    assert!(run("ip", &["-n", namespace, "link", "del", name]));
}

pub fn add_interface_of_number(bench: &Bench<LinuxKernel>, name: &str, number: u32) -> bool {
    let namespace = bench.netns.file_name().unwrap().to_str().unwrap();
    let peer = format!("peer-{name}");
    let number = number.to_string();
    run(
        "ip",
        &["-n", namespace, "link", "add", name, "index", &number, "type", "veth", "peer", "name", &peer],
    )
}

pub fn send_packets(bench: &Bench<LinuxKernel>, count: usize) {
    let namespace = bench.netns.file_name().unwrap().to_str().unwrap();
    let ip = |arguments: &[&str]| run("ip", &[&["-n", namespace], arguments].concat());
    for name in ["left", "right"] {
        assert!(ip(&["link", "set", name, "up"]));
    }
    assert!(ip(&["address", "replace", "192.0.2.1/24", "dev", "right"]));
    let peer = ["neighbour", "replace", "192.0.2.2", "lladdr", "02:00:00:00:00:02", "dev", "right"];
    assert!(ip(&peer));
    let script = format!("for n in $(seq {count}); do echo $n > /dev/udp/192.0.2.2/9; done");
    assert!(run("ip", &["netns", "exec", namespace, "bash", "-c", &script]));
}

pub fn set_mtu(bench: &Bench<LinuxKernel>, mtu: u32) {
    let namespace = bench.netns.file_name().unwrap().to_str().unwrap();
    for name in ["left", "right"] {
        assert!(run("ip", &["-n", namespace, "link", "set", name, "mtu", &mtu.to_string()]));
    }
}
