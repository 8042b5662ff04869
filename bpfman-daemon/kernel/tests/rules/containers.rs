use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use bpfman_model::{ContainerFacts, ContainerId, HookKind, Interface, WantedContainers};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;

use crate::bench::Bench;
use crate::linux::name;
use crate::on_linux;

struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn waiting() -> Self {
        Self::start(&mut Command::new("cat"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

struct Groups(Vec<PathBuf>);

impl Groups {
    fn add(&mut self, path: PathBuf) -> PathBuf {
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.0.push(path.clone());
        path
    }

    fn enter(group: &Path, process: &Process) {
        let mut file = fs::OpenOptions::new().write(true).open(group.join("cgroup.procs")).unwrap();
        file.write_all(process.0.id().to_string().as_bytes()).unwrap();
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            // Processes leave their group a moment after they were waited for.
            let began = std::time::Instant::now();
            while fs::remove_dir(path).is_err() && began.elapsed().as_secs() < 10 {
                std::thread::yield_now();
            }
        }
    }
}

fn hierarchies(kind: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    // Processes can enter groups of "cpuset" only once these have processors.
    fields
        .filter(|fields| fields[2] == kind && !fields[3].contains("cpuset"))
        .map(|fields| PathBuf::from(fields[1]))
        .collect()
}

fn id() -> ContainerId {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    ContainerId::parse(&format!("{:032x}{count:032x}", std::process::id())).unwrap()
}

fn find(bench: &Bench<LinuxKernel>, ids: &[&ContainerId]) -> Vec<ContainerFacts> {
    bench.kernel.containers(&WantedContainers::new(ids.iter().map(|id| (*id).clone()))).unwrap().containers
}

fn container_is_found_in_all_hierarchies_by_all_driver_names(bench: &Bench<LinuxKernel>) {
    let all: Vec<PathBuf> = [hierarchies("cgroup2"), hierarchies("cgroup")]
        .into_iter()
        .filter_map(|h| h.into_iter().next())
        .collect();
    assert!(!all.is_empty(), "no cgroups at all");
    for hierarchy in all {
        for name in ["ID", "cri-containerd-ID.scope", "crio-ID.scope", "docker-ID.scope"] {
            let id = id();
            let mut groups = Groups(Vec::new());
            let pod = groups.add(hierarchy.join(format!("bpfman-test-pod-{}", &id.as_str()[24..])));
            let group = groups.add(pod.join(name.replace("ID", id.as_str())));
            assert_eq!(
                find(bench, &[&id]),
                [],
                "a group without processes is no container: {}",
                group.display()
            );
            let process = Process::waiting();
            Groups::enter(&group, &process);
            let found = find(bench, &[&id]);
            let [container] = &found[..] else { panic!("{}: {found:?}", group.display()) };
            assert_eq!((&container.id, &container.pids), (&id, &vec![process.0.id()]));
            let own = Path::new("/proc").join(process.0.id().to_string()).join("ns/net");
            assert_eq!(container.netns, own);
            assert_eq!(container.identity.inode, fs::metadata(own).unwrap().ino());
            drop(process);
            assert_eq!(find(bench, &[&id]), [], "its process has ended");
        }
    }
}

fn processes_of_inner_cgroups_belong_to_it_and_oldest_is_first(bench: &Bench<LinuxKernel>) {
    let hierarchy = hierarchies("cgroup2").into_iter().chain(hierarchies("cgroup")).next().unwrap();
    let (outer, inner, monitored) = (id(), id(), id());
    let mut groups = Groups(Vec::new());
    let outside = groups.add(hierarchy.join(format!("crio-{outer}.scope")));
    let part = groups.add(outside.join("container"));
    let inside = groups.add(part.join(inner.as_str()));
    let monitor = groups.add(hierarchy.join(format!("crio-conmon-{monitored}.scope")));
    let first = Process::start(Command::new("ip").args(["netns", "exec", name(&bench.netns), "cat"]));
    let waits = std::time::Instant::now();
    let net = |process: &Process| fs::metadata(format!("/proc/{}/ns/net", process.0.id())).unwrap().ino();
    while net(&first) != fs::metadata(&bench.netns).unwrap().ino() {
        assert!(waits.elapsed() < crate::bench::TEST_TIMEOUT, "it does not enter its namespace");
        std::thread::yield_now();
    }
    let (second, third, conmon) = (Process::waiting(), Process::waiting(), Process::waiting());
    for (group, process) in [(&part, &second), (&part, &first), (&inside, &third), (&monitor, &conmon)] {
        Groups::enter(group, process);
    }
    let found = find(bench, &[&outer, &inner, &monitored]);
    let [of_outer] = &found[..] else { panic!("{found:?}") };
    assert_eq!(
        (&of_outer.id, &of_outer.pids),
        (&outer, &[&first, &second, &third].map(|one| one.0.id()).to_vec())
    );
    let interface = Interface { name: "left".to_owned(), netns: Some(of_outer.netns.clone()) };
    let key = bench.kernel.find_hook(&interface, HookKind::Xdp).unwrap();
    assert_eq!(key, bench.key("left", HookKind::Xdp), "its namespace is that of its oldest process");
    assert_eq!(Some(of_outer.identity), key.netns.id());
    drop((first, second, third, conmon));
}

fn no_container_takes_the_name_of_another(bench: &Bench<LinuxKernel>) {
    let hierarchy = hierarchies("cgroup2").into_iter().chain(hierarchies("cgroup")).next().unwrap();
    let (evil, victim) = (id(), id());
    let mut groups = Groups(Vec::new());
    let pods = groups.add(hierarchy.join(format!("bpfman-test-kubepods-{}", &evil.as_str()[50..])));
    let own = groups.add(pods.join(format!("cri-containerd-{evil}.scope")));
    let named = groups.add(own.join(format!("cri-containerd-{victim}.scope")));
    let hidden = groups.add(own.join("kubepods.slice"));
    let hidden = groups.add(hidden.join(format!("cri-containerd-{victim}.scope")));
    let (older, other, younger) = (Process::waiting(), Process::waiting(), Process::waiting());
    Groups::enter(&named, &older);
    Groups::enter(&hidden, &other);
    assert_eq!(find(bench, &[&victim]), []);
    let true_one = groups.add(pods.join(format!("cri-containerd-{victim}.scope")));
    Groups::enter(&true_one, &younger);
    let found = find(bench, &[&victim]);
    assert_eq!(found.iter().map(|one| &one.pids[..]).collect::<Vec<_>>(), [[younger.0.id()]]);
    let both = find(bench, &[&victim, &evil]);
    let of_evil = both.iter().find(|one| one.id == evil).unwrap();
    assert_eq!(of_evil.pids, [older.0.id(), other.0.id()]);
    drop((older, other, younger));
}

fn child(process: &Process) -> u32 {
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        behind_name.split_whitespace().nth(1) == Some(&process.0.id().to_string())
    };
    let waits = std::time::Instant::now();
    loop {
        let mut numbers =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        if let Some(pid) = numbers.find(is_child) {
            return pid;
        }
        assert!(waits.elapsed().as_secs() < 30, "it begins no other");
        std::thread::yield_now();
    }
}

fn leaves_this_network(pid: u32) {
    let of = |pid: &str| fs::metadata(format!("/proc/{pid}/ns/net")).map(|file| file.ino());
    let (here, waits) = (of("self").unwrap(), std::time::Instant::now());
    while of(&pid.to_string()).unwrap() == here {
        assert!(waits.elapsed().as_secs() < 30, "it stays in this network");
        std::thread::yield_now();
    }
}

fn a_containers_network_is_none_that_its_processes_made(bench: &Bench<LinuxKernel>) {
    let hierarchy = hierarchies("cgroup2").into_iter().chain(hierarchies("cgroup")).next().unwrap();
    let id = id();
    let mut groups = Groups(Vec::new());
    let group = groups.add(hierarchy.join(format!("cri-containerd-{id}.scope")));
    let first = Process::start(Command::new("unshare").args(["--user", "--net", "cat"]));
    leaves_this_network(first.0.id());
    Groups::enter(&group, &first);
    assert_eq!(find(bench, &[&id]), [], "its own network is not known");
    let second = Process::start(Command::new("ip").args(["netns", "exec", name(&bench.netns), "cat"]));
    leaves_this_network(second.0.id());
    Groups::enter(&group, &second);
    let found = find(bench, &[&id]);
    let [container] = &found[..] else { panic!("{found:?}") };
    assert_eq!(container.pids, [first.0.id(), second.0.id()]);
    assert_eq!(container.netns, Path::new("/proc").join(second.0.id().to_string()).join("ns/net"));
    assert_eq!(Some(container.identity), bench.key("left", HookKind::Xdp).netns.id());
    drop((first, second));
}

fn container_in_a_user_namespace_has_that_namespaces_network(bench: &Bench<LinuxKernel>) {
    let hierarchy = hierarchies("cgroup2").into_iter().chain(hierarchies("cgroup")).next().unwrap();
    let id = id();
    let mut groups = Groups(Vec::new());
    let group = groups.add(hierarchy.join(format!("cri-containerd-{id}.scope")));
    // As a runtime does: user, pid and network namespace belong together.
    let runtime = Process::start(Command::new("unshare").args([
        "--user",
        "--map-root-user",
        "--pid",
        "--net",
        "--kill-child",
        "--fork",
        "cat",
    ]));
    let pid = child(&runtime);
    fs::write(group.join("cgroup.procs"), pid.to_string()).unwrap();
    let found = find(bench, &[&id]);
    assert_eq!(found.iter().map(|one| &one.pids[..]).collect::<Vec<_>>(), [[pid]]);
    drop(runtime);
}

on_linux!(
    no_container_takes_the_name_of_another,
    a_containers_network_is_none_that_its_processes_made,
    container_in_a_user_namespace_has_that_namespaces_network,
    container_is_found_in_all_hierarchies_by_all_driver_names,
    processes_of_inner_cgroups_belong_to_it_and_oldest_is_first,
);
