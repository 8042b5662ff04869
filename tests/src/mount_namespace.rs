//! Mount namespace of a test: its mounts are visible nowhere else, and removed with it.

use crate::wait::within;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

#[derive(Debug)]
pub struct MountNamespace {
    keeper: Child,
}

impl MountNamespace {
    #[must_use]
    pub fn new() -> Self {
        let mut keeper = Command::new("unshare")
            .args(["--mount", "sh", "-c", "echo ready; exec sleep infinity"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(keeper.stdout.take().unwrap());
        within("the keeper of the mount namespace to be there", || out.read_line(&mut line)).unwrap();
        assert_eq!(line, "ready\n");
        Self { keeper }
    }

    #[must_use]
    pub fn wrapper(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--mount=/proc/{}/ns/mnt", self.keeper.id())]
    }

    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let wrapper = self.wrapper();
        let mut command = Command::new(&wrapper[0]);
        command.args(&wrapper[1..]).arg(program.as_ref());
        command
    }

    #[must_use]
    pub fn path(&self, inside: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        root.join(inside.strip_prefix("/").expect("an absolute path"))
    }

    #[must_use]
    pub fn mounts(&self, text: &str) -> Vec<String> {
        let table = std::fs::read_to_string(format!("/proc/{}/mountinfo", self.keeper.id())).unwrap();
        table.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }
}

impl Default for MountNamespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for MountNamespace {
    fn drop(&mut self) {
        let _gone = self.keeper.kill();
        let _gone = self.keeper.wait();
    }
}
