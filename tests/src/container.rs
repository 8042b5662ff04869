//! Containers in the form that a container runtime creates: cgroups with the container id in their names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::network::Namespace;
use crate::target::{self, Target};
use crate::wait;

#[derive(Debug)]
pub struct Container {
    pub id: String,
    pub digits: String,
    group: PathBuf,
    process: Option<Target>,
}

impl Container {
    /// Creates a container without processes. `number` is unique within the test's process.
    #[must_use]
    pub fn empty(number: u32) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let hierarchy = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|fields| fields[2] == "cgroup2")
            .map(|fields| PathBuf::from(fields[1]))
            .expect("cgroups of version 2 are mounted");
        let digits = format!("{:056x}{number:08x}", std::process::id());
        let group = hierarchy.join(format!("cri-containerd-{digits}.scope"));
        fs::create_dir(&group).unwrap();
        Self { id: format!("containerd://{digits}"), digits, group, process: None }
    }

    #[must_use]
    pub fn start(number: u32, network: &Namespace) -> Self {
        let mut container = Self::empty(number);
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", network.path().display())).arg(target::binary());
        let process = Target::start_by(&mut command);
        container.take(process.pid());
        container.process = Some(process);
        container
    }

    pub fn take(&self, pid: u32) {
        fs::write(self.group.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.group
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().pid()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.process = None;
        wait::until("the cgroup is empty", || fs::remove_dir(&self.group).is_ok());
    }
}
