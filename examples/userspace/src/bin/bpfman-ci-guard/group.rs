//! Cgroup of a job. A separate process, the keeper, ends the cgroup's processes when its pipe closes, which only
//! ci-guard holds: nothing is left even if ci-guard is killed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};
use bpfman_examples::control_group;
use bpfman_examples::failure::Failure;
use rustix::event::{PollFd, PollFlags, poll};

pub const VERB: &str = "keep-group";
const NAME: &str = "ci-guard-";
/// Kernel's `PROC_CGROUP_INIT_INO`.
const FIRST_NAMESPACE: &str = "cgroup:[4026531835]";

#[derive(Clone, Debug)]
pub enum Place {
    Own,
    Below(PathBuf),
    Nowhere,
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "own" => Ok(Self::Own),
            "none" => Ok(Self::Nowhere),
            path if path.starts_with('/') => Ok(Self::Below(path.into())),
            other => {
                bail!("`{other}` is no absolute path of a cgroup's folder, and neither `own` nor `none`")
            }
        }
    }
}

pub struct Group {
    folder: PathBuf,
    pub id: (u64, u64),
    events: File,
    keeper: Child,
}

impl Group {
    /// Returns the reason if there is no cgroup: it was disabled, or no place was requested and none can be created.
    pub fn make(place: Option<&Place>) -> Result<Result<Self, String>> {
        match place {
            Some(Place::Nowhere) => Ok(Err("the user wants none".to_owned())),
            Some(Place::Below(folder)) => Self::below(folder).map(Ok),
            Some(Place::Own) => Self::below(&own()?).map(Ok),
            None => Ok(own().and_then(|folder| Self::below(&folder)).map_err(|error| format!("{error:#}"))),
        }
    }

    fn below(parent: &Path) -> Result<Self> {
        // Programs count the depth from the root of the initial namespace, which is not visible in other namespaces.
        let namespace = fs::read_link("/proc/self/ns/cgroup").context("cannot read /proc/self/ns/cgroup")?;
        if namespace.as_os_str() != FIRST_NAMESPACE {
            return Err(Failure::invalid(
                "ci-guard runs in a namespace of cgroups of its own",
                "run it in the machine's, or with `--cgroup none`",
            )
            .into());
        }
        control_group::id_and_level(parent)?;
        remove_left_over(parent);
        let folder = parent.join(format!("{NAME}{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot make the cgroup {}", folder.display()))?;
        Self::kept(&folder).inspect_err(|_| {
            let _as_it_was = fs::remove_dir(&folder);
        })
    }

    fn kept(folder: &Path) -> Result<Self> {
        let events = File::open(folder.join("cgroup.events")).context("cannot watch the cgroup")?;
        let id = control_group::id_and_level(folder)?;
        let mut keeper = Command::new("/proc/self/exe");
        // An interrupt at the terminal must not reach the keeper, so it gets its own process group.
        let keeper =
            keeper.arg(VERB).arg(folder).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        let keeper = keeper.spawn().context("cannot start a process")?;
        Ok(Self { folder: folder.to_owned(), id, events, keeper })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn enter(&self, process: u32) -> Result<()> {
        let shown = self.folder.display();
        fs::write(self.folder.join("cgroup.procs"), process.to_string())
            .with_context(|| format!("cannot move a process into the cgroup {shown}"))
    }

    /// Returns a file with an exceptional condition (`POLLPRI`) after the cgroup became populated or empty.
    pub const fn events(&self) -> &File {
        &self.events
    }

    pub fn is_populated(&self) -> Result<bool> {
        is_populated(&self.events)
    }

    pub fn end(mut self) -> Result<()> {
        drop(self.keeper.stdin.take());
        let status = self.keeper.wait().context("cannot wait for the keeper of the cgroup")?;
        if !status.success() || self.folder.exists() {
            bail!("the cgroup {} is left: its keeper ended with {status}", self.folder.display());
        }
        Ok(())
    }
}

/// Moves the child. If that fails and no place was requested, the job continues without a cgroup.
pub fn enter(group: &mut Result<Group, String>, child: &Child, place: Option<&Place>) -> Result<()> {
    let Ok(made) = group else { return Ok(()) };
    match made.enter(child.id()) {
        // Moving processes into the cgroup takes write access to the common ancestor, too.
        Err(error) if place.is_none() => {
            let made = std::mem::replace(group, Err(format!("{error:#}")));
            made.map_or(Ok(()), Group::end)
        }
        entered => entered,
    }
}

pub fn keep(folder: &Path) -> Result<()> {
    io::copy(&mut io::stdin(), &mut io::sink()).context("cannot wait for who runs the job")?;
    if !folder.exists() {
        return Ok(());
    }
    let events = File::open(folder.join("cgroup.events")).context("cannot watch the cgroup")?;
    fs::write(folder.join("cgroup.kill"), "1").context("cannot end the job's processes")?;
    loop {
        if !is_populated(&events)? {
            return remove(folder).with_context(|| format!("cannot remove the cgroup {}", folder.display()));
        }
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for the job's processes"),
        }
    }
}

fn is_populated(events: &File) -> Result<bool> {
    let mut buffer = [0; 256];
    let length = events.read_at(&mut buffer, 0).context("cannot read whether the cgroup is empty")?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    Ok(text.lines().any(|line| line == "populated 1"))
}

fn remove(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

fn own() -> Result<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").context("cannot read /proc/self/cgroup")?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let none =
        || Failure::invalid("this machine mounts no cgroups of version 2", "run it with `--cgroup none`");
    let (root, path) = (control_group::mount_point()?.ok_or_else(none)?, path.ok_or_else(none)?);
    Ok(root.join(path.trim_start_matches('/')))
}

fn remove_left_over(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let side = name.to_str().and_then(|name| name.strip_prefix(NAME)).and_then(|side| side.parse().ok());
        if side.is_some_and(|side: u32| !Path::new("/proc").join(side.to_string()).exists()) {
            // The kernel refuses to remove cgroups that contain processes.
            let _kept = remove(&entry.path());
        }
    }
}
