//! `xdp-loader` and the daemon at one hook, with either of them killed: no program of the other one is lost,
//! and the daemon's program is attached completely or not at all.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::command::Outcome;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::random::{Random, setting};
use bpfman_tests::requests::{load, xdp};
use bpfman_tests::{Daemon, Launch, Network, compile, wait};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::equipment::detach;
use crate::kill::{Attach, Operation as _, kill_at_every_step, with};

struct Pins(tempfile::TempDir);

impl Pins {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        mount("bpf", folder.path(), "bpf", MountFlags::empty(), None).unwrap();
        Self(folder)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _not_mounted = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

struct Loader {
    pins: Pins,
    network: Network,
}

impl Loader {
    fn new() -> Self {
        Self { pins: Pins::new(), network: Network::new() }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.network.far.path().display())).arg("xdp-loader").args(words);
        command.env("LIBXDP_BPFFS", self.pins.0.path());
        command
    }

    fn run(&self, words: &[&str]) -> String {
        Outcome::of(&mut self.command(words)).success()
    }

    fn loading(object: &str, priority: u32) -> Vec<String> {
        let folders = ["/usr/lib/x86_64-linux-gnu/bpf", "/usr/lib/aarch64-linux-gnu/bpf", "/usr/lib/bpf"];
        let mut paths = folders.iter().map(|folder| Path::new(folder).join(format!("{object}.o")));
        let path: PathBuf =
            paths.find(|path| path.exists()).unwrap_or_else(|| panic!("{object}.o is missing"));
        let priority = priority.to_string();
        let words = ["load", INTERFACE, "--prio", &priority, "--mode", "native", &path.display().to_string()];
        words.map(str::to_owned).into()
    }

    fn load(&self, object: &str, priority: u32) {
        let words = Self::loading(object, priority);
        self.run(&words.iter().map(String::as_str).collect::<Vec<_>>());
    }

    fn rows(&self) -> Vec<(String, String, u32)> {
        let printed = self.run(&["status", INTERFACE]);
        let rows = printed.lines().filter_map(|line| line.trim_start().strip_prefix("=>"));
        rows.map(|row| {
            let words: Vec<&str> = row.split_whitespace().collect();
            (words[1].to_owned(), words[0].to_owned(), words[2].parse().unwrap())
        })
        .collect()
    }

    fn theirs(&self) -> Vec<(String, String, u32)> {
        self.rows().into_iter().filter(|(name, ..)| name.starts_with("xdpfilt")).collect()
    }

    fn folders(&self) -> usize {
        std::fs::read_dir(self.pins.0.path().join("xdp")).map_or(0, |folder| {
            folder
                .flatten()
                .filter(|entry| entry.file_name().to_string_lossy().starts_with("dispatch"))
                .count()
        })
    }
}

fn together(test: &str) -> Option<(Loader, Daemon, Launch)> {
    let loader = Loader::new();
    loader.load("xdpfilt_alw_eth", 20);
    if loader.theirs().is_empty() {
        eprintln!("SKIPPED(freplace): {test}");
        return None;
    }
    loader.load("xdpfilt_dny_eth", 60);
    let variable = ("LIBXDP_BPFFS".to_owned(), loader.pins.0.path().display().to_string());
    let launch = Launch { environment: vec![variable], ..Launch::default() };
    let daemon = Daemon::start_with(&launch);
    Some((loader, daemon, launch))
}

fn program(daemon: &Daemon) -> u32 {
    let loaded = daemon.wire().load(load(&compile::object("chain"), &[("xdp_member", Type::Xdp)])).unwrap();
    loaded.programs[0].kernel_info.as_ref().unwrap().id
}

fn join(loader: &Loader, daemon: &Daemon) -> Attach {
    Attach { program: program(daemon), info: xdp(&loader.network.far.path(), INTERFACE, 40, &[]) }
}

#[test]
fn daemon_killed_at_any_step_beside_xdp_loader_takes_nothing() {
    let test = "daemon_killed_at_any_step_beside_xdp_loader_takes_nothing";
    let Some((loader, mut daemon, launch)) = together(test) else { return };
    let theirs = loader.theirs();
    let join = join(&loader, &daemon);
    let mut seen = (0, 0);
    let mut look = |_: &Daemon, has_ours: bool| {
        let rows = loader.rows();
        assert_eq!(loader.theirs(), theirs, "others' programs: {rows:?}");
        assert_eq!(rows.len(), 2 + usize::from(has_ours), "{rows:?}");
        assert_eq!(loader.folders(), 1, "one dispatcher");
        *(if has_ours { &mut seen.0 } else { &mut seen.1 }) += 1;
    };
    kill_at_every_step(&mut daemon, &launch, &join, &mut look);
    assert!(seen.0 > 0 && seen.1 > 0, "there, and not there: {seen:?}");
    assert_eq!((loader.theirs(), loader.rows().len(), loader.folders()), (theirs, 2, 1));
}

#[test]
fn daemon_killed_while_leaving_xdp_loader_takes_nothing() {
    let test = "daemon_killed_while_leaving_xdp_loader_takes_nothing";
    let Some((loader, mut daemon, launch)) = together(test) else { return };
    let theirs = loader.theirs();
    let join = join(&loader, &daemon);
    let (mut step, mut seen, mut whole) = (1, (0, 0), false);
    while !whole {
        join.act(&daemon.wire()).unwrap();
        daemon.terminate();
        daemon.again(&with(&launch, "BPFMAN_TEST_KILL_AT", &step.to_string()));
        let links = daemon.wire().list_links(Default::default()).unwrap().links;
        whole = daemon.wire().detach(v1::DetachRequest { link_id: links[0].id }).is_ok();
        if !whole {
            daemon.ended();
            daemon.again(&launch);
        }
        let (links, rows) = (daemon.wire().list_links(Default::default()).unwrap().links, loader.rows());
        assert_eq!(loader.theirs(), theirs, "killed before step {step}: {rows:?}");
        assert_eq!(
            (rows.len(), loader.folders()),
            (2 + links.len(), 1),
            "killed before step {step}: {rows:?}"
        );
        for link in links {
            assert_eq!(link.state, "ok", "killed before step {step}");
            seen.0 += 1;
            daemon.wire().detach(v1::DetachRequest { link_id: link.id }).unwrap();
        }
        seen.1 += 1;
        step += 1;
    }
    assert!(seen.0 > 0 && seen.1 > seen.0, "there, of all: {seen:?}");
}

#[test]
fn an_xdp_loader_that_is_killed_leaves_ours_where_they_are() {
    let rounds = setting("KILL_ROUNDS", 6);
    let seed = setting("KILL_SEED", u64::from(std::process::id()) | 1);
    let Some((loader, daemon, _)) = together("an_xdp_loader_that_is_killed_leaves_ours_where_they_are")
    else {
        return;
    };
    println!("{rounds} rounds, KILL_SEED={seed}");
    let mut random = Random(seed);
    let join = join(&loader, &daemon);
    join.act(&daemon.wire()).unwrap();
    let begun = std::time::Instant::now();
    loader.load("xdpfilt_alw_ip", 30);
    let whole = begun.elapsed();
    let ours = |rows: &[(String, String, u32)]| rows.iter().filter(|(name, ..)| name == "xdp_member").count();
    for round in 0..rounds {
        let id = loader
            .rows()
            .into_iter()
            .find(|(name, ..)| name == "xdpfilt_alw_ip")
            .map(|(.., id)| id.to_string());
        let words = match &id {
            Some(id) => ["unload", INTERFACE, "--id", id].map(str::to_owned).into(),
            None => Loader::loading("xdpfilt_alw_ip", 30),
        };
        let mut command = loader.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole.mul_f64(random.below(1000) as f64 / 1000.0).max(Duration::from_millis(1)));
        let _ended_already = child.kill();
        child.wait().unwrap();
        // A loader killed before it has written its process id blocks all others until the file is removed.
        let _none = std::fs::remove_file("/run/xdp-loader.lck");
        wait::until(&format!("round {round}: ours runs among theirs, once"), || {
            let links = daemon.bpfman("list links -o json").json();
            links["links"][0]["state"] == "ok" && ours(&loader.rows()) == 1
        });
        let names: Vec<_> = loader.theirs().into_iter().map(|(name, ..)| name).collect();
        assert!(
            names.contains(&"xdpfilt_alw_eth".to_owned()) && names.contains(&"xdpfilt_dny_eth".to_owned()),
            "{names:?}"
        );
    }
    let links = daemon.wire().list_links(Default::default()).unwrap().links;
    detach(&daemon.wire(), links[0].id);
    assert_eq!(ours(&loader.rows()), 0);
    loader.run(&["unload", INTERFACE, "--all"]);
    join.act(&daemon.wire()).unwrap();
}
