//! Callers of each principal: threads of this process with the principal's user, in the cgroup of its pod.

use std::fs;
use std::path::PathBuf;

use bpfman_tests::control_group::naming_hierarchy;

use super::as_user::as_user;
use super::principals::Principal;
use crate::forged_names::Group;

pub struct Callers {
    pods: Vec<(Principal, Group)>,
    outside: PathBuf,
}

impl Callers {
    pub fn new() -> Self {
        let hierarchy = naming_hierarchy();
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = |name: &str| groups.lines().find_map(|line| Some(line.split_once(name)?.1));
        let own = own(":name=systemd:/").or_else(|| own("0::/")).unwrap();
        let outside = hierarchy.join(own);
        let group = |one: Principal| {
            let container = "c".repeat(64);
            let path = format!("kubepods/pod{}/{container}", one.pod()?);
            Some((one, Group::new(&hierarchy, &path)))
        };
        Self { pods: Principal::ALL.into_iter().filter_map(group).collect(), outside }
    }

    pub fn act<T: Send>(&self, principal: Principal, work: impl FnOnce() -> T + Send) -> T {
        let pod = self.pods.iter().find(|(one, _)| *one == principal);
        let _inside = pod.map(|(_, group)| {
            fs::write(group.folder().join("cgroup.procs"), "0").unwrap();
            Inside(&self.outside)
        });
        as_user(principal.user(), work)
    }
}

struct Inside<'a>(&'a PathBuf);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        fs::write(self.0.join("cgroup.procs"), "0").unwrap();
    }
}
