//! Process in a network namespace.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::command::run;
use crate::network::INTERFACE;
use crate::wait::{until, within};

#[derive(Debug)]
pub struct Inside {
    process: Child,
}

impl Inside {
    #[must_use]
    pub fn new(namespace: &Path) -> Self {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", namespace.display())).arg("cat");
        let inode = |path: &Path| std::fs::metadata(path).map(|file| file.ino()).ok();
        let wanted = inode(namespace);
        let inside = Self { process: command.stdin(Stdio::piped()).spawn().unwrap() };
        until("the process is inside", || inode(&inside.path()) == wanted);
        inside
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.pid()))
    }

    pub fn run(&self, words: &[&str]) -> String {
        run(&[&["nsenter", &format!("--net={}", self.path().display())], words].concat())
    }

    #[must_use]
    pub fn filters(&self) -> Vec<String> {
        let mut found = Vec::new();
        for direction in ["ingress", "egress"] {
            let shown = self.run(&["tc", "filter", "show", "dev", INTERFACE, direction]);
            found.extend(shown.lines().filter(|line| line.contains("handle")).map(str::to_owned));
        }
        found
    }

    pub fn end(self) {
        drop(self);
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        within("a process in a namespace", || self.process.wait()).unwrap();
    }
}
