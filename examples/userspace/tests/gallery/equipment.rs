use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use bpfman_tests::command::run;
use bpfman_tests::network::Namespace;
use bpfman_tests::registry::Registry;
use bpfman_tests::{Daemon, Launch, Outcome, binaries, compile};

/// User id that this machine does not have, for processes without capabilities.
pub const WATCHER: u32 = 64_777;
pub const STRANGER: u32 = 64_778;

pub struct Gallery {
    pub daemon: Daemon,
    registry: Registry,
    key: String,
    launch: Launch,
}

impl Gallery {
    pub fn open() -> Self {
        Self::with_grants("")
    }

    pub fn with_grants(grants: &str) -> Self {
        let registry = Registry::start();
        let mut daemon = Daemon::prepare();
        let prefix = daemon.path("trusted").display().to_string();
        daemon.bpfman(&format!("image generate-key-pair {prefix}")).success();
        let policy = format!(
            "[[images]]\npattern = \"{}\"\nkeys = [\"{prefix}.pub\"]\n\
             [[grants]]\nname = \"sides\"\nusers = [{WATCHER}]\nallow = [\"read\", \"maps-read\", \"maps-write\"]\n\
             over = \"all\"\n{grants}",
            registry.image("*")
        );
        let launch = Launch { policy, ..Launch::default() };
        daemon.again(&launch);
        daemon.open_to_users();
        Self { daemon, registry, key: format!("{prefix}.key"), launch }
    }

    pub fn publish(&self, entry: &str) -> String {
        let image = self.registry.image(&format!("gallery/{entry}:v1"));
        self.daemon.publish(&image, &compile::example(entry), &self.key);
        image
    }

    pub fn load(&self, entry: &str, words: &str) -> Vec<u64> {
        let image = self.publish(entry);
        let loaded = self.daemon.bpfman(&format!("load image -i {image} {words} -o json")).json();
        loaded["programs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|program| program["program_id"].as_u64().unwrap())
            .collect()
    }

    pub fn manifest(&self, entry: &str) -> String {
        self.manifest_of(entry, "app.yaml")
    }

    pub fn manifest_of(&self, entry: &str, file: &str) -> String {
        let image = self.publish(entry);
        let source = format!("{}/../{entry}/{file}", env!("CARGO_MANIFEST_DIR"));
        let published = format!("localhost:5000/examples/{entry}:latest");
        let text = fs::read_to_string(&source).unwrap_or_else(|error| panic!("{source}: {error}"));
        assert!(text.contains(&published), "{source} does not name {published}");
        let path = self.daemon.path(format!("{entry}-{file}")).display().to_string();
        fs::write(&path, text.replace(&published, &image)).unwrap();
        path
    }

    /// Writes the manifest for `interface`, because the machine's primary interface is in use.
    pub fn manifest_at(&self, entry: &str, file: &str, interface: &Interface) -> String {
        let path = self.manifest_of(entry, file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("primaryNodeInterface: true"), "{path}");
        let here = format!("interfaces: [{}]", interface.0);
        fs::write(&path, text.replace("primaryNodeInterface: true", &here)).unwrap();
        path
    }

    pub fn side_as(&self, user: u32, entry: &str) -> Command {
        let copy = self.daemon.path(format!("side-{entry}"));
        if !copy.exists() {
            fs::copy(binaries::side(entry), &copy).unwrap();
            fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
        }
        let user = user.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--inh-caps=-all", "--"]);
        command.arg(copy).env("BPFMAN_SOCKET_PATH", self.daemon.socket());
        command
    }

    pub fn side_in(&self, namespace: &Namespace, user: u32, entry: &str) -> Command {
        let side = self.side_as(user, entry);
        let mut command = namespace.command(&side.get_program().to_string_lossy());
        command.args(side.get_args());
        for (name, value) in side.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command
    }

    pub fn side(&self, entry: &str, line: &str) -> Outcome {
        Outcome::of(self.side_as(WATCHER, entry).args(line.split_whitespace()))
    }

    pub fn restart(&mut self) {
        self.daemon.kill();
        self.daemon.again(&self.launch);
        self.daemon.open_to_users();
    }
}

fn begin_turn(gallery: &Gallery, program: u64, process: u32, namespace: u64) {
    let pin = format!("{}/writer", map_folder(gallery, program));
    let value = (namespace << 32 | u64::from(process)).to_le_bytes().map(|byte| byte.to_string());
    let words = ["bpftool", "map", "update", "pinned", &pin, "key", "0", "0", "0", "0", "value"];
    run(&words.into_iter().chain(value.iter().map(String::as_str)).collect::<Vec<_>>());
}

pub fn begin_own_turn(gallery: &Gallery, program: u64) {
    let here = fs::metadata("/proc/self/ns/pid").unwrap().ino();
    begin_turn(gallery, program, std::process::id(), here);
}

fn map_folder(gallery: &Gallery, program: u64) -> String {
    let shown = gallery.daemon.bpfman(&format!("get program {program} -o json")).json();
    shown["map_pin_path"].as_str().unwrap().to_owned()
}

/// Asserts that a running holder of the lock is not disturbed, and that a killed holder's lock is acquired.
pub fn turns(gallery: &Gallery, program: u64, apply: &dyn Fn() -> Outcome, unlock: &dyn Fn() -> Outcome) {
    let here = fs::metadata("/proc/self/ns/pid").unwrap().ino();
    let begin = |process: u32, namespace: u64| begin_turn(gallery, program, process, namespace);
    let own = std::process::id();
    begin(own, here);
    apply().fails(7, &[&format!("process {own} is replacing the rules"), "nothing was changed"]);
    unlock().success();
    // A process of another PID namespace cannot be checked.
    begin(7, here + 1);
    apply().fails(7, &["process 7 is replacing the rules", "`unlock`"]);
    unlock().success();
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    begin(ended.id(), here);
    apply().success();
    apply().success();
}

pub struct Interface(pub String);

impl Interface {
    pub fn new() -> Self {
        let name = format!("gl{}", std::process::id());
        run(&["ip", "link", "add", &name, "type", "veth", "peer", "name", &format!("{name}b")]);
        Self(name)
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["link", "delete", &self.0]).status();
    }
}

pub fn refusals(gallery: &mut Gallery, entry: &str, program: u64, line: &str) {
    let run = |gallery: &Gallery, user: u32, words: &str| {
        Outcome::of(gallery.side_as(user, entry).args(words.split_whitespace()))
    };
    run(gallery, WATCHER, "").fails(2, &["Usage"]);
    run(gallery, WATCHER, &format!("--program {program} --no-such-flag {line}"))
        .fails(2, &["--no-such-flag"]);
    run(gallery, WATCHER, &format!("--program {} {line}", u32::MAX - 7)).fails(5, &["error: ", "4294967288"]);
    run(gallery, WATCHER, &format!("--app nobody-made-it {line}"))
        .fails(5, &["error: ", "nobody-made-it", "hint: "]);
    run(gallery, STRANGER, &format!("--program {program} {line}")).fails(4, &["error: ", "may not"]);
    let other = gallery
        .daemon
        .bpfman(&format!("load file -p {} --programs xdp:pass -q", compile::object("pass").display()));
    let other = other.success().trim().to_owned();
    run(gallery, WATCHER, &format!("--program {other} {line}")).fails(5, &["error: ", &other, "hint: "]);
    run(gallery, WATCHER, &format!("--map-dir /nowhere {line}"))
        .fails(5, &["/nowhere/", "there is none", "hint: "]);
    run(gallery, WATCHER, &format!("--map-dir {} {line}", map_folder(gallery, program)))
        .fails(4, &["permission denied", "hint: "]);
    gallery.daemon.bpfman(&format!("unload {other}")).success();
    gallery.daemon.kill();
    run(gallery, WATCHER, &format!("--program {program} {line}"))
        .fails(3, &["error: ", "cannot reach bpfmand"]);
    gallery.restart();
}
