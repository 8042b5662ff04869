//! Guarded networks of the [kill loop](super::kill_loop), with namespaces that can lose their names.

use std::path::PathBuf;

use bpfman_proto::v1::attach_info::Info;
use bpfman_tests::command::run;
use bpfman_tests::inside::Inside;
use bpfman_tests::mount_namespace::MountNamespace;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::random::Random;
use bpfman_tests::requests::{tc, xdp};
use bpfman_tests::{Daemon, Launch, Network};
use rustix::mount::{UnmountFlags, unmount};

#[derive(Clone, Copy)]
pub struct Mode {
    pub clsact: bool,
    pub unnamed: bool,
    /// While the bpffs is unmounted, a mount namespace has a copy of it, so that links outlive their pins.
    pub copied: bool,
}

impl Mode {
    pub fn of_environment() -> Self {
        let is = |name, value: &str| std::env::var(name).is_ok_and(|text| text == value);
        Self {
            clsact: is("KILL_TC", "clsact"),
            unnamed: is("KILL_UNNAMED", "yes"),
            copied: is("KILL_COPIED", "yes"),
        }
    }

    pub fn launch(self) -> Launch {
        let config = if self.clsact { "[tc]\nattach = \"clsact\"\n" } else { "" };
        Launch { config: config.to_owned(), ..Launch::default() }
    }
}

pub struct Guarded {
    pub network: Network,
    /// Process at the far end, if the namespace's name can disappear.
    inside: Option<Inside>,
}

impl Guarded {
    pub fn new(mode: Mode) -> Self {
        let network = Network::new();
        let inside = mode.unnamed.then(|| Inside::new(&network.far.path()));
        Self { network, inside }
    }

    pub fn path(&self, random: &mut Random) -> PathBuf {
        match &self.inside {
            Some(inside) if random.below(2) == 0 => inside.path(),
            _ => self.network.far.path(),
        }
    }

    pub fn name(&mut self) {
        let Some(before) = self.inside.take() else { return };
        let (path, next) = (self.network.far.path(), Inside::new(&before.path()));
        if path.exists() {
            self.network.far.delete();
        }
        run(&["ip", "netns", "attach", path.file_name().unwrap().to_str().unwrap(), &next.pid().to_string()]);
        before.end();
        self.inside = Some(next);
    }

    pub fn lose_name(&self, random: &mut Random) {
        if self.inside.is_none() {
            return;
        }
        self.network.far.delete();
        if random.below(2) == 0 {
            let path = self.network.far.path();
            run(&["ip", "netns", "add", path.file_name().unwrap().to_str().unwrap()]);
            self.network.far.ip(&["link", "add", INTERFACE, "type", "veth", "peer", "name", "peer"]);
        }
    }

    fn run(&self, words: &[&str]) -> String {
        match &self.inside {
            Some(inside) => inside.run(words),
            None => Inside::new(&self.network.far.path()).run(words),
        }
    }

    pub fn filters(&self) -> usize {
        let shown = self.run(&["tc", "filter", "show", "dev", INTERFACE, "ingress"]);
        shown.lines().filter(|line| line.contains("handle")).count()
    }
}

pub struct Place {
    pub xdp: Guarded,
    pub tc: Guarded,
    pub mode: Mode,
    pub has_tcx: bool,
    pub copy: Option<MountNamespace>,
}

impl Place {
    pub fn xdp_at(&self, priority: i32, random: &mut Random) -> Info {
        xdp(&self.xdp.path(random), INTERFACE, priority, &[])
    }

    pub fn tc_at(&self, priority: i32, random: &mut Random) -> Info {
        tc(&self.tc.path(random), INTERFACE, "ingress", priority, &[])
    }

    pub fn wipe(&mut self, daemon: &Daemon) {
        self.copy = self.mode.copied.then(MountNamespace::new);
        unmount(daemon.fs(), UnmountFlags::DETACH).unwrap();
        if self.mode.clsact {
            self.tc.run(&["tc", "qdisc", "del", "dev", INTERFACE, "clsact"]);
        }
    }
}
