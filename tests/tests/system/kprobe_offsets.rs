//! Offsets of kernel probes: a large offset leads into another function than the one that a grant names.

use std::fs;
use std::os::unix::fs::chown;

use bpfman_tests::skip::lacks_kprobes;
use bpfman_tests::{Daemon, compile};

use crate::equipment::test_name;
use crate::grants::daemon;

const ADA: u32 = 64_223;
const FUNCTIONS: [&str; 5] = ["vfs_read", "vfs_write", "vfs_fsync", "tcp_connect", "do_exit"];

fn distances(function: &str) -> Vec<u64> {
    let list = fs::read_to_string("/proc/kallsyms").unwrap();
    let functions = list.lines().filter_map(|line| {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let is_function = words.len() == 3 && matches!(words[1], "t" | "T");
        is_function.then(|| (u64::from_str_radix(words[0], 16).unwrap(), words[2]))
    });
    let functions: Vec<_> = functions.collect();
    let start = functions.iter().find(|(_, name)| *name == function).unwrap().0;
    let mut behind: Vec<u64> =
        functions.iter().filter(|(at, _)| *at > start).map(|(at, _)| at - start).collect();
    behind.sort_unstable();
    behind.truncate(20);
    behind
}

struct Settings(Vec<(&'static str, String)>);

impl Settings {
    /// Makes the kernel show its addresses to a process without CAP_SYSLOG. Returns `None` if that is not possible.
    fn show_addresses() -> Option<Self> {
        let wanted = [("kernel/kptr_restrict", "0"), ("kernel/perf_event_paranoid", "1")];
        let mut before = Self(Vec::new());
        for (name, value) in wanted {
            let path = format!("/proc/sys/{name}");
            before.0.push((name, fs::read_to_string(&path).ok()?));
            fs::write(&path, value).ok()?;
        }
        Some(before)
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        for (name, value) in &self.0 {
            let _read_only = fs::write(format!("/proc/sys/{name}"), value);
        }
    }
}

fn load(daemon: &Daemon, user: u32) -> u64 {
    let object = daemon.path(format!("{user}.o"));
    fs::copy(compile::object("probes"), &object).unwrap();
    chown(&object, Some(user), Some(user)).unwrap();
    let line = format!("load file -p {} --programs kprobe:on_kprobe -o json", object.display());
    let loaded = daemon.bpfman_as(user, &line).json();
    loaded["programs"][0]["program_id"].as_u64().unwrap_or_else(|| panic!("{loaded}"))
}

#[test]
fn a_grants_kernel_probe_stays_in_its_function() {
    if lacks_kprobes(&test_name()) {
        return;
    }
    let targets = FUNCTIONS.map(|name| format!("\"kprobe:{name}\"")).join(", ");
    let daemon = daemon(format!(
        "[files]\nusers = [0, {ADA}]\n[[grants]]\nname = \"tracing\"\nusers = [{ADA}]\nallow = [\"load\", \"attach\"]\n\
         targets = [{targets}]\n"
    ));
    let [own, roots] = [ADA, 0].map(|user| load(&daemon, user));
    let at = |id: u64, function: &str, offset: u64| format!("attach {id} kprobe -f {function} -o {offset}");
    // Root can probe another function by an offset: the kernel does not refuse it.
    let reached = FUNCTIONS.into_iter().find_map(|function| {
        let mut offsets = distances(function).into_iter();
        let taken = offsets.find(|offset| daemon.bpfman(&at(roots, function, *offset)).code == 0);
        Some((function, taken?))
    });
    let (function, offset) = reached.expect("an offset of a function leads into another one");
    let before = daemon.state();
    for offset in [offset, offset + 0x4000, u64::MAX] {
        let named = format!("kernel function \"{function}\"");
        daemon.bpfman_as(ADA, &at(own, function, offset)).fails(4, &[&named, "is outside of the function"]);
    }
    assert_eq!(daemon.state(), before);
    daemon.bpfman_as(ADA, &at(own, function, 0)).success();
    // The kernel shows addresses to a process without CAP_SYSLOG only where all may see them, which is not the default.
    let Some(_settings) = Settings::show_addresses() else {
        eprintln!("SKIPPED(settings of the kernel cannot be written): {}", test_name());
        return;
    };
    daemon.bpfman_as(ADA, &at(own, function, offset)).fails(4, &["which has 0x"]);
    let instruction = (1..64).find(|offset| daemon.bpfman_as(ADA, &at(own, function, *offset)).code == 0);
    assert!(instruction.is_some(), "no instruction of {function} is taken");
}
