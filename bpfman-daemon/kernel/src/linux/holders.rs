use std::io;
use std::path::Path;

use bpfman_model::{Held, Holder};

use crate::ObjectHolders;

/// A machine has some ten thousand descriptors.
const MAX_DESCRIPTORS: usize = 1_000_000;

pub fn find(of: Held) -> io::Result<Vec<Holder>> {
    let mut budget = MAX_DESCRIPTORS;
    Ok(pids()?.into_iter().filter(|pid| holds(*pid, of, &mut budget)).map(describe).collect())
}

fn holds(pid: u32, of: Held, budget: &mut usize) -> bool {
    look(pid, budget, &mut |info| is_of(info, of))
}

fn look(pid: u32, budget: &mut usize, found: &mut dyn FnMut(&str) -> bool) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    for descriptor in descriptors.flatten() {
        if *budget == 0 {
            tracing::warn!("too many open descriptors to find all holders of a program");
            return false;
        }
        *budget -= 1;
        let Ok(target) = std::fs::read_link(descriptor.path()) else { continue };
        // Names: "anon_inode:bpf-prog", "anon_inode:bpf_link" and "anon_inode:bpf-link".
        if !target.to_string_lossy().starts_with("anon_inode:bpf") {
            continue;
        }
        let info = Path::new("/proc").join(pid.to_string()).join("fdinfo").join(descriptor.file_name());
        if std::fs::read_to_string(info).is_ok_and(|info| found(&info)) {
            return true;
        }
    }
    false
}

const MAX_NAMED: usize = 8;

pub fn find_all() -> io::Result<ObjectHolders> {
    let mut all = ObjectHolders::default();
    let mut budget = MAX_DESCRIPTORS;
    for pid in pids()? {
        let mut holder = None;
        look(pid, &mut budget, &mut |info| {
            let of =
                |field| info.lines().find_map(|line| line.strip_prefix(field)?.trim().parse::<u32>().ok());
            let held = match (of("link_id:"), of("prog_id:")) {
                (Some(link), _) => all.links.entry(link),
                (None, Some(program)) => all.programs.entry(program),
                (None, None) => return false,
            };
            let holders = held.or_default();
            if holders.len() < MAX_NAMED && holders.last().is_none_or(|last| last.pid != pid) {
                holders.push(holder.get_or_insert_with(|| describe(pid)).clone());
            }
            false
        });
    }
    Ok(all)
}

fn pids() -> io::Result<Vec<u32>> {
    let mut pids: Vec<u32> = std::fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

/// Returns whether an fdinfo is of an object. That of a link is of its program, too.
fn is_of(info: &str, of: Held) -> bool {
    let (field, id) = match of {
        Held::Program(id) => ("prog_id:", id.0),
        Held::Link(id) => ("link_id:", id.0),
    };
    info.lines().filter_map(|line| line.strip_prefix(field)).any(|value| value.trim().parse() == Ok(id))
}

fn describe(pid: u32) -> Holder {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let command = read("comm").trim_end_matches('\n').replace(char::is_control, "?");
    Holder { pid, command, unit: unit(&read("cgroup")) }
}

/// Returns the innermost systemd unit or container: of version 2, or else of systemd's hierarchy of version 1.
fn unit(groups: &str) -> Option<String> {
    let path = |line: &str| line.splitn(3, ':').nth(2).map(str::to_owned);
    let unified = groups.lines().find(|line| line.starts_with("0::")).and_then(path);
    let systemd = groups.lines().find(|line| line.contains(":name=systemd:")).and_then(path);
    [unified, systemd].into_iter().flatten().find_map(|path| {
        path.rsplit('/').find(|part| is_unit(part)).map(|part| part.replace(char::is_control, "?"))
    })
}

fn is_unit(part: &str) -> bool {
    const CONTAINER_ID: usize = 64;
    part.ends_with(".service")
        || part.ends_with(".scope")
        || (part.len() == CONTAINER_ID && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use bpfman_model::{KernelLinkId, ProgramId};

    use super::*;

    #[test]
    fn units_and_containers_are_read_from_control_groups() {
        let id = "3f".repeat(32);
        let nested = format!("0::/kubepods/burstable/pod12/{id}\n");
        for (text, expected) in [
            ("0::/system.slice/cilium.service\n", Some("cilium.service")),
            ("0::/system.slice/docker-3f2a.scope/init\n", Some("docker-3f2a.scope")),
            (nested.as_str(), Some(id.as_str())),
            ("12:cpu:/\n1:name=systemd:/system.slice/ssh.service\n0::/\n", Some("ssh.service")),
            ("0::/\n", None),
            ("", None),
        ] {
            assert_eq!(unit(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_descriptor_is_of_its_own_object_only() {
        let info = "pos:\t0\nlink_type:\txdp\nlink_id:\t12\nprog_tag:\t00\nprog_id:\t34\n";
        assert!(is_of(info, Held::Link(KernelLinkId(12))) && is_of(info, Held::Program(ProgramId(34))));
        assert!(!is_of(info, Held::Link(KernelLinkId(1))) && !is_of(info, Held::Program(ProgramId(12))));
    }
}
