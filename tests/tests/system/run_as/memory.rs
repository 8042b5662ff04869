//! Memory of a session's maps: the kernel charges it to the cgroup of the client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bpfman_tests::Outcome;
use bpfman_tests::wait::until;
use rustix::process::{Pid, Signal, kill_process};

use super::{ADA, Sessions, sessions};

const MAP: u64 = 64 << 20;

/// A cgroup of its own whose memory the kernel counts, of either version.
struct MemoryGroup {
    folder: PathBuf,
    file: &'static str,
}

impl MemoryGroup {
    /// Returns `None` on a machine that does not count memory by cgroup.
    fn new() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let counts = |line: &&str| {
            line.contains(" - cgroup ") && line.ends_with(",memory") || line.contains(" - cgroup2 ")
        };
        for line in mounts.lines().filter(counts) {
            let root = Path::new(line.split(' ').nth(4).unwrap());
            let is_first = line.contains(" - cgroup ");
            let is_counted = is_first || fs::write(root.join("cgroup.subtree_control"), "+memory").is_ok();
            if is_counted {
                let folder = root.join(format!("run-as-memory-{}", std::process::id()));
                fs::create_dir(&folder).unwrap();
                let file = if is_first { "memory.usage_in_bytes" } else { "memory.current" };
                return Some(Self { folder, file });
            }
        }
        None
    }

    fn used(&self) -> u64 {
        fs::read_to_string(self.folder.join(self.file)).unwrap().trim().parse().unwrap()
    }

    /// Runs a session's client in the group.
    fn session(&self, daemon: &Sessions, script: &str) -> std::process::Command {
        let client = daemon.session_command(ADA, &["sh", "-c", script]);
        let enter = format!("echo 0 > {}/cgroup.procs && exec \"$@\"", self.folder.display());
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &enter, "sh"]).arg(client.get_program()).args(client.get_args()).current_dir("/");
        command.envs(client.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _gone_already = fs::remove_dir(&self.folder);
    }
}

fn map(entries: u64) -> String {
    format!("bpftool map create /sys/fs/bpf/m type array key 4 value 4096 entries {entries} name m")
}

#[test]
fn memory_of_maps_is_that_of_the_clients_cgroup() {
    let Some(group) = MemoryGroup::new() else {
        return println!("SKIPPED(no cgroup counts memory): memory_of_maps_is_that_of_the_clients_cgroup");
    };
    let mut daemon = sessions();
    let script =
        format!("{} && echo made && read line; rm /sys/fs/bpf/m; {} && echo again", map(MAP / 4096), map(1));
    let mut command = group.session(&daemon, &script);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line, "made\n");
    assert!(group.used() >= MAP, "{}", group.used());
    // After a restart, the daemon finds the process that makes the maps.
    let policy = fs::read_to_string(daemon.path("policy.toml")).unwrap();
    daemon.daemon.kill();
    daemon.daemon.again(&bpfman_tests::Launch { policy, ..Default::default() });
    daemon.open_to_users();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"\n").unwrap();
    line.clear();
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line, "again\n");
    assert!(child.wait().unwrap().success());
    until("no process is left in the group", || {
        fs::read_to_string(group.folder.join("cgroup.procs")).unwrap().is_empty()
    });
    until("no file of the session is left", || daemon.path("run/sessions").read_dir().unwrap().count() == 1);
}

/// Returns root's process that makes maps of sessions; unlike root's other processes, it has a seccomp filter.
fn map_maker(daemon: &Sessions) -> Option<Pid> {
    let folder = daemon.path("run/sessions").display().to_string();
    let is_it = |process: &Path| {
        let [command, status] =
            ["cmdline", "status"].map(|file| fs::read_to_string(process.join(file)).unwrap_or_default());
        command.contains(&folder) && status.contains("\nUid:\t0\t") && status.contains("\nSeccomp:\t2\n")
    };
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let found = processes
        .filter(|process| is_it(process))
        .find_map(|process| process.file_name()?.to_str()?.parse().ok());
    found.and_then(Pid::from_raw)
}

#[test]
fn process_that_makes_maps_is_started_again() {
    let daemon = sessions();
    let script = "for i in 1 2 3 4; do bpftool map create /sys/fs/bpf/m$i type array key 4 value 4 entries 1 name m || exit 1; \
                  echo made; read line; done";
    let mut command = daemon.session_command(ADA, &["sh", "-c", script]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut killed = None;
    for _ in 0..4 {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        assert_eq!(line, "made\n");
        until("another process makes maps", || map_maker(&daemon).is_some_and(|maker| Some(maker) != killed));
        killed = map_maker(&daemon);
        kill_process(killed.unwrap(), Signal::KILL).unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"\n").unwrap();
    }
    assert!(child.wait().unwrap().success());
    until("no process of the session is left", || map_maker(&daemon).is_none());
}

#[test]
fn maps_above_the_cgroups_memory_are_refused() {
    let Some(group) = MemoryGroup::new() else {
        return println!("SKIPPED(no cgroup counts memory): maps_above_the_cgroups_memory_are_refused");
    };
    let daemon = sessions();
    let limit = if group.file == "memory.current" { "memory.max" } else { "memory.limit_in_bytes" };
    fs::write(group.folder.join(limit), (MAP / 2).to_string()).unwrap();
    // The kernel may kill processes of the cgroup before it refuses the map; the daemon is in another cgroup.
    let refused = Outcome::of(&mut group.session(&daemon, &map(MAP / 4096)));
    assert_ne!(refused.code, 0, "{refused:?}");
    daemon.session_shell(ADA, &map(MAP / 4096)).success();
}

#[test]
fn maps_that_need_more_than_ebpf_are_made() {
    let daemon = sessions();
    // Sockmaps and maps of interfaces need more than CAP_BPF; the attribute of a map of maps has a descriptor.
    let script = "cd /sys/fs/bpf; for t in hash array lru_hash sockmap sockhash cpumap devmap xskmap; do \
                  bpftool map create $t type $t key 4 value 4 entries 8 name $t || exit 1; done; \
                  bpftool map create outer type hash_of_maps key 4 value 4 entries 8 name outer inner_map pinned hash && ls";
    let made = daemon.session_shell(ADA, script).success();
    assert_eq!(made.lines().filter(|name| !name.ends_with(".debug")).count(), 9, "{made}");
}

#[test]
fn programs_look_up_arrays_as_roots_do() {
    let daemon = sessions();
    let object = daemon.readable(&bpfman_tests::compile::object("clones")).display().to_string();
    let dump = |folder: &str| {
        format!(
            "cd {folder} && bpftool prog load {object} p && bpftool prog dump xlated pinned p opcodes | grep -v '^  *18 '"
        )
    };
    let pins = daemon.path("own").display().to_string();
    fs::create_dir(&pins).unwrap();
    bpfman_tests::command::run(&["mount", "-t", "bpf", "bpf", &pins]);
    let as_root = Outcome::of(std::process::Command::new("sh").args(["-c", &dump(&pins)]));
    bpfman_tests::command::run(&["umount", &pins]);
    let brokered = daemon.session_shell(ADA, &dump("/sys/fs/bpf"));
    let shape = |outcome: &Outcome| -> Vec<String> {
        let lines = outcome.stdout.lines().filter(|line| line.contains(": ("));
        // A session does not see kernel addresses, and so no names of functions.
        lines
            .map(|line| line.split("map[id:").next().unwrap().split(" call ").next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(shape(&brokered), shape(&as_root), "{brokered:?} {as_root:?}");
    assert!(shape(&as_root).len() > 10, "{as_root:?}");
}
