//! Two network namespaces, joined by a veth.

use crate::wait::within;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::run;
use crate::wait;

pub const INTERFACE: &str = "veth0";
pub const NEAR_ADDRESS: &str = "10.77.0.1";
pub const FAR_ADDRESS: &str = "10.77.0.2";
const NEAR_MAC: &str = "02:00:00:00:00:01";
const FAR_MAC: &str = "02:00:00:00:00:02";

static COUNT: AtomicU32 = AtomicU32::new(0);

#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    #[must_use]
    pub fn new(role: &str) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bpfman-test-{}-{number}-{role}", std::process::id());
        run(&["ip", "netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    #[must_use]
    pub fn named_again(&self, role: &str) -> Self {
        let name = format!("{}-{role}", self.name);
        let path = PathBuf::from("/run/netns").join(&name);
        File::create_new(&path).unwrap();
        run(&["mount", "--bind", &self.path().display().to_string(), &path.display().to_string()]);
        Self { name }
    }

    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    pub fn ip(&self, words: &[&str]) -> String {
        run(&[&["ip", "-n", &self.name], words].concat())
    }

    pub fn await_up(&self, interface: &str) {
        wait::until("the interface is up", || {
            self.ip(&["link", "show", "dev", interface]).contains("state UP")
        });
    }

    #[must_use]
    pub fn command(&self, program: &str) -> std::process::Command {
        let mut command = std::process::Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg(program);
        command
    }

    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let file = File::open(self.path()).unwrap();
        let thread = std::thread::spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        });
        within("what runs in the namespace", || thread.join()).unwrap()
    }

    pub fn delete(&self) {
        run(&["ip", "netns", "delete", &self.name]);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if self.path().exists() {
            let _ = std::process::Command::new("ip").args(["netns", "delete", &self.name]).output();
        }
    }
}

#[derive(Debug)]
pub struct Network {
    pub near: Namespace,
    pub far: Namespace,
}

impl Network {
    /// Creates both ends. Each has an [`INTERFACE`] and knows the other's addresses, so that none sends ARP.
    #[must_use]
    pub fn new() -> Self {
        let (near, far) = (Namespace::new("near"), Namespace::new("far"));
        run(&[
            "ip", "link", "add", INTERFACE, "netns", &near.name, "address", NEAR_MAC, "type", "veth", "peer",
            "name", INTERFACE, "netns", &far.name, "address", FAR_MAC,
        ]);
        for (end, own, other, mac) in
            [(&near, NEAR_ADDRESS, FAR_ADDRESS, FAR_MAC), (&far, FAR_ADDRESS, NEAR_ADDRESS, NEAR_MAC)]
        {
            end.ip(&["address", "add", &format!("{own}/24"), "dev", INTERFACE]);
            end.ip(&["link", "set", INTERFACE, "up"]);
            end.ip(&["neighbour", "replace", other, "lladdr", mac, "dev", INTERFACE, "nud", "permanent"]);
        }
        near.await_up(INTERFACE);
        far.await_up(INTERFACE);
        Self { near, far }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}
