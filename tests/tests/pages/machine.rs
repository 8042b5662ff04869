//! Environment in which a page is executed: a namespace with `eth0`, a registry, a daemon.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use bpfman_tests::network::Namespace;
use bpfman_tests::page::root;
use bpfman_tests::registry::Registry;
use bpfman_tests::{Daemon, Launch, binaries, compile};

/// Interface that pages name. It has the default route.
const INTERFACE: &str = "eth0";

pub struct Machine {
    pub registry: Registry,
    pub daemon: Daemon,
    pub work: PathBuf,
}

impl Machine {
    /// Runs a closure with a new machine. If `trusted`, its policy allows images signed with its key, otherwise none.
    pub fn with<T: Send + 'static>(trusted: bool, work: impl FnOnce(&Self) -> T + Send + 'static) -> T {
        let namespace = Namespace::new("page");
        namespace.ip(&["link", "add", INTERFACE, "type", "veth", "peer", "name", "peer0"]);
        for end in [INTERFACE, "peer0"] {
            namespace.ip(&["link", "set", end, "up"]);
        }
        namespace.ip(&["address", "add", "10.88.0.1/24", "dev", INTERFACE]);
        namespace.ip(&["route", "add", "default", "dev", INTERFACE]);
        namespace.inside(move || work(&Self::prepare(trusted)))
    }

    fn prepare(trusted: bool) -> Self {
        let registry = Registry::start();
        let mut daemon = Daemon::prepare();
        let work = daemon.path("work");
        fs::create_dir_all(work.join("target")).unwrap();
        fs::create_dir_all(work.join("examples")).unwrap();
        symlink(binaries::build_folder(), work.join("target/debug")).unwrap();
        symlink(compile::example("xdp-counter").parent().unwrap(), work.join("target/bpf")).unwrap();
        let mut policy = String::new();
        if trusted {
            let key = work.join("team").display().to_string();
            daemon.bpfman(&format!("image generate-key-pair {key}")).success();
            policy = format!("[[images]]\npattern = \"{}\"\nkeys = [\"{key}.pub\"]\n", registry.image("*"));
        }
        daemon.again(&Launch { policy, ..Launch::default() });
        Self { registry, daemon, work }
    }

    pub fn publish(&self, entry: &str) {
        let image = self.registry.image(&format!("examples/{entry}:latest"));
        let key = self.work.join("team.key").display().to_string();
        self.daemon.publish(&image, &compile::example(entry), &key);
        let manifest = fs::read_to_string(root().join("examples").join(entry).join("app.yaml")).unwrap();
        let published = format!("localhost:5000/examples/{entry}:latest");
        assert!(manifest.contains(&published), "{entry}/app.yaml does not name {published}");
        let folder = self.work.join("examples").join(entry);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("app.yaml"), manifest.replace(&published, &image)).unwrap();
    }

    pub fn shell(&self, words: &[&str]) -> Command {
        let folders = format!("{}:{}", binaries::build_folder().display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("bash");
        shell.args(words).current_dir(&self.work).env("PATH", folders);
        shell.env("BPFMAN_SOCKET_PATH", self.daemon.socket()).env("HOME", &self.work);
        // Never use the policy of the machine that runs the tests.
        shell.env("BPFMAN_POLICY", self.daemon.path("policy.toml"));
        shell
    }
}
