//! Containers of one image: each has its own file system on the same lower layer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::target::Target;
use crate::{compile, wait};

#[derive(Debug)]
pub struct ContainerImage {
    folder: PathBuf,
}

/// Running container with its own mount and process namespaces; the target is its first process.
#[derive(Debug)]
pub struct ImageContainer {
    pub target: Target,
    pub pid: u32,
}

impl ContainerImage {
    pub const PROGRAM: &str = "/target";

    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        fs::create_dir_all(folder.join("lower")).unwrap();
        fs::copy(Self::program(), folder.join("lower/target")).unwrap();
        Self { folder }
    }

    #[must_use]
    pub fn program() -> PathBuf {
        compile::static_executable("target")
    }

    #[must_use]
    pub fn run(&self, name: &str) -> ImageContainer {
        let own = self.folder.join(name);
        for part in ["upper", "work", "root"] {
            fs::create_dir_all(own.join(part)).unwrap();
        }
        let mount = format!(
            "mount -t overlay overlay -o lowerdir={0}/lower,upperdir={1}/upper,workdir={1}/work {1}/root",
            self.folder.display(),
            own.display()
        );
        let script = format!("{mount} && exec chroot {}/root {}", own.display(), Self::PROGRAM);
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]);
        let target = Target::start_by(command.args(["sh", "-c", &script]));
        let pid = child_of(target.pid());
        ImageContainer { target, pid }
    }
}

fn child_of(pid: u32) -> u32 {
    let children = || fs::read_to_string(Path::new("/proc").join(format!("{pid}/task/{pid}/children")));
    wait::until("the container has its process", || children().is_ok_and(|found| !found.trim().is_empty()));
    children().unwrap().trim().parse().unwrap()
}
