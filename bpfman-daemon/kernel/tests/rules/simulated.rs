use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpfman_model::{Direction, HookKind, Interface, NetnsId};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::{SimHandle, SimKernel};
use bpfmand_kernel::{ListAnchor, XdpMode};

use crate::bench::{At, Bench, Machine};

struct Simulation(Arc<SimKernel>);

impl Simulation {
    fn namespace(&self, name: &str) -> PathBuf {
        let netns = Path::new("/run/netns").join(name);
        self.0.add_namespace(&netns);
        for name in ["left", "right"] {
            self.add_interface(&netns, name);
        }
        netns
    }

    fn id(&self, netns: &Path) -> NetnsId {
        let interface = Interface { name: "lo".to_owned(), netns: Some(netns.to_owned()) };
        self.0.find_hook(&interface, HookKind::Xdp).unwrap().netns.into()
    }
}

impl Machine<SimKernel> for Simulation {
    fn add_interface(&self, netns: &Path, name: &str) {
        self.0.add_interface(Some(netns), name).unwrap();
    }

    fn remove_interface(&self, netns: &Path, name: &str) {
        self.0.remove_interface(Some(netns), name);
    }

    fn rename_interface(&self, netns: &Path, name: &str, new: &str) {
        assert!(self.0.rename_interface(Some(netns), name, new));
    }

    fn switch_interface(&self, netns: &Path, name: &str, up: bool) {
        assert!(self.0.switch_interface(Some(netns), name, up));
    }

    fn attach_xdp_by_netlink(&self, at: &At<'_>, program: &SimHandle, mode: XdpMode) {
        self.0.attach_xdp_by_netlink(Some(at.netns), at.ifindex, program, mode).unwrap();
    }

    fn detach_xdp_by_netlink(&self, at: &At<'_>) {
        assert!(self.0.detach_xdp_by_netlink(Some(at.netns), at.ifindex));
    }

    fn attach_tcx_program(&self, at: &At<'_>, direction: Direction, program: &SimHandle, anchor: ListAnchor) {
        self.0.attach_tcx_program(Some(at.netns), at.ifindex, direction, program, anchor).unwrap();
    }

    fn add_namespace(&self) -> PathBuf {
        self.namespace("other")
    }

    fn remove_namespace(&self, netns: &Path) {
        self.0.remove_namespace(netns);
    }

    fn enter(&self, netns: &Path) -> PathBuf {
        let process = PathBuf::from("/proc/4711/ns/net");
        assert!(self.0.add_name(&process, self.id(netns)));
        process
    }

    fn leave(&self, process: &Path) {
        self.0.remove_name(process);
    }

    fn keep(&self, _: &Path) {}

    fn remove_name(&self, netns: &Path) {
        self.0.remove_name(netns);
    }

    fn close(&self, netns: NetnsId) {
        self.0.end_namespace(netns);
    }
}

pub fn bench() -> Bench<SimKernel> {
    bench_of(SimKernel::default())
}

pub fn bench_of(kernel: SimKernel) -> Bench<SimKernel> {
    let machine = Simulation(Arc::new(kernel));
    let (kernel, netns) = (Arc::clone(&machine.0), machine.namespace("simulated"));
    Bench { machine: Box::new(machine), kernel, netns }
}
