//! Bench on this machine's kernel: a bpffs and network namespaces of its own, removed on drop, also by a panic.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bpfman_model::{Direction, NetnsId, ProgramId};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{ListAnchor, Probe, XdpMode};

use crate::bench::{At, Bench, Machine, TEST_TIMEOUT};

struct Mounted(tempfile::TempDir);

impl Drop for Mounted {
    fn drop(&mut self) {
        println!("{}", attempt("umount", &["-l", &self.0.path().display().to_string()]).1);
    }
}

struct ThisMachine {
    kernel: Arc<LinuxKernel>,
    test: String,
    namespaces: Mutex<Vec<String>>,
    processes: Mutex<BTreeMap<PathBuf, Child>>,
    kept: Mutex<BTreeMap<u64, File>>,
    pins: Mounted,
}

fn end(mut process: Child) {
    drop(process.stdin.take());
    process.wait().unwrap();
}

impl Drop for ThisMachine {
    fn drop(&mut self) {
        let processes = std::mem::take(self.processes.get_mut().unwrap_or_else(PoisonError::into_inner));
        processes.into_values().for_each(end);
        for namespace in self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            println!("{}", attempt("ip", &["netns", "del", &namespace]).1);
        }
    }
}

pub fn name(netns: &Path) -> &str {
    netns.file_name().unwrap().to_str().unwrap()
}

pub fn run(program: &str, arguments: &[&str]) {
    let (worked, output) = attempt(program, arguments);
    assert!(worked, "{program} {arguments:?}: {output}");
}

pub fn attempt(program: &str, arguments: &[&str]) -> (bool, String) {
    match Command::new(program).args(arguments).output() {
        Ok(done) => {
            let said = [done.stdout, done.stderr].concat();
            (done.status.success(), String::from_utf8_lossy(&said).into_owned())
        }
        Err(error) => (false, format!("{program}: {error}")),
    }
}

pub fn ip(netns: &Path, arguments: &[&str]) {
    run("ip", &[&["-n", name(netns)], arguments].concat());
}

pub fn tc(netns: &Path, arguments: &[&str]) -> (bool, String) {
    attempt("tc", &[&["-n", name(netns)], arguments].concat())
}

pub fn with_pin(program: ProgramId, command: &str, arguments: &[&str]) {
    let folder = Mounted(tempfile::tempdir().unwrap());
    let path = folder.0.path().display().to_string();
    run("mount", &["-t", "bpf", "bpffs", &path]);
    let pin = format!("{path}/program");
    run("bpftool", &["prog", "pin", "id", &program.to_string(), &pin]);
    let arguments: Vec<&str> =
        arguments.iter().map(|argument| if *argument == "PIN" { &pin } else { *argument }).collect();
    run(command, &arguments);
}

impl ThisMachine {
    fn namespace(&self, suffix: &str) -> PathBuf {
        let name = format!("rules-{}-{}{suffix}", std::process::id(), self.test);
        run("ip", &["netns", "add", &name]);
        self.namespaces.lock().unwrap().push(name.clone());
        let netns = Path::new("/run/netns").join(name);
        ip(&netns, &["link", "add", "left", "type", "veth", "peer", "name", "right"]);
        netns
    }
}

impl Machine<LinuxKernel> for ThisMachine {
    fn add_interface(&self, netns: &Path, name: &str) {
        ip(netns, &["link", "add", name, "type", "veth", "peer", "name", &format!("{name}-peer")]);
    }

    fn remove_interface(&self, netns: &Path, name: &str) {
        ip(netns, &["link", "del", name]);
    }

    fn rename_interface(&self, netns: &Path, name: &str, new: &str) {
        ip(netns, &["link", "set", name, "name", new]);
    }

    fn switch_interface(&self, netns: &Path, name: &str, up: bool) {
        ip(netns, &["link", "set", name, if up { "up" } else { "down" }]);
    }

    fn attach_xdp_by_netlink(&self, at: &At<'_>, program: &OwnedFd, mode: XdpMode) {
        let how = match mode {
            XdpMode::Native => "xdpdrv",
            XdpMode::Generic => "xdpgeneric",
            XdpMode::Offload => "xdpoffload",
        };
        let id = self.kernel.program_of(program).unwrap().id;
        with_pin(id, "ip", &["-n", name(at.netns), "link", "set", at.name, how, "pinned", "PIN"]);
    }

    fn detach_xdp_by_netlink(&self, at: &At<'_>) {
        ip(at.netns, &["link", "set", at.name, "xdp", "off"]);
        ip(at.netns, &["link", "set", at.name, "xdpgeneric", "off"]);
    }

    fn attach_tcx_program(&self, at: &At<'_>, direction: Direction, program: &OwnedFd, anchor: ListAnchor) {
        crate::strangers::attach_to_tcx(at, direction, program.as_raw_fd(), anchor).unwrap();
    }

    fn add_namespace(&self) -> PathBuf {
        self.namespace("-other")
    }

    fn remove_namespace(&self, netns: &Path) {
        let name = name(netns);
        run("ip", &["netns", "del", name]);
        self.namespaces.lock().unwrap().retain(|other| other != name);
    }

    fn enter(&self, netns: &Path) -> PathBuf {
        let inside = format!("--net={}", netns.display());
        let process = Command::new("nsenter").args([&inside, "cat"]).stdin(Stdio::piped()).spawn().unwrap();
        let file = PathBuf::from(format!("/proc/{}/ns/net", process.id()));
        self.processes.lock().unwrap().insert(file.clone(), process);
        let inode = |path: &Path| std::fs::metadata(path).map(|found| found.ino()).ok();
        let began = Instant::now();
        while inode(&file) != inode(netns) {
            assert!(began.elapsed() < TEST_TIMEOUT, "it does not enter");
            std::thread::yield_now();
        }
        file
    }

    fn leave(&self, process: &Path) {
        end(self.processes.lock().unwrap().remove(process).unwrap());
    }

    fn keep(&self, netns: &Path) {
        let file = File::open(netns).unwrap();
        self.kept.lock().unwrap().insert(file.metadata().unwrap().ino(), file);
    }

    fn remove_name(&self, netns: &Path) {
        self.remove_namespace(netns);
    }

    fn close(&self, netns: NetnsId) {
        drop(self.kept.lock().unwrap().remove(&netns.inode).unwrap());
    }
}

pub fn bench(test: &str) -> Bench<LinuxKernel> {
    bench_without(test, &[])
}

pub fn bench_without(test: &str, probes: &[&Probe]) -> Bench<LinuxKernel> {
    let pins = Mounted(tempfile::tempdir().unwrap());
    let mut kernel = LinuxKernel::new(pins.0.path()).unwrap();
    probes.iter().for_each(|probe| kernel.switch_off(probe));
    let kernel = Arc::new(kernel);
    let (namespaces, test) = (Mutex::default(), test.to_owned());
    let (processes, kept) = (Mutex::default(), Mutex::default());
    let machine = ThisMachine { kernel: Arc::clone(&kernel), test, namespaces, processes, kept, pins };
    let netns = machine.namespace("");
    assert!(machine.pins.0.path().is_dir());
    Bench { machine: Box::new(machine), kernel, netns }
}
