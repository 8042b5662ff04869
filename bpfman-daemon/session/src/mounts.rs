//! Mounts of a command, in a mount namespace of its own: a bpffs, a view of tracefs, and a `/run` that it can write to.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use anyhow::Context as _;
use bpfmand_notify::{Rights, own_mounts};
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change, mount_remount,
};

use crate::tracing_view;

const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const BPFFS: &str = "/sys/fs/bpf";
const TRACEFS: &str = "/sys/kernel/tracing";
/// Folder of debugfs, in which older libraries look for tracefs.
const DEBUGFS: &str = "/sys/kernel/debug";
const OLD_TRACEFS: &str = "/sys/kernel/debug/tracing";
const EVENTS: &str = "events";
const KALLSYMS: &str = "/proc/kallsyms";
const RUN: &str = "/run";
/// Folders that a command does not share with the machine.
pub const REPLACED: [&str; 4] = [BPFFS, TRACEFS, DEBUGFS, RUN];
/// File of the copy, in the command's own `/run`.
const COPY: &str = "/run/bpfman-kallsyms";

/// Gives this process and its children their own mounts. With `pins`, the bpffs is also mounted there, so that its pins
/// outlast the session.
pub fn prepare(rights: &Rights, kallsyms: bool, pins: Option<&Path>) -> anyhow::Result<()> {
    if let Some(pins) = pins {
        fs::create_dir(pins).with_context(|| format!("cannot make {}", pins.display()))?;
        mount_bpffs(pins, rights)?;
    }
    own_mounts().context("cannot make a mount namespace")?;
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", slave).context("cannot keep mounts from the machine")?;
    match pins {
        Some(pins) => {
            mount_bind(pins, BPFFS).with_context(|| format!("cannot mount {} at {BPFFS}", pins.display()))?;
        }
        None => mount_bpffs(Path::new(BPFFS), rights)?,
    }
    if let Some(view) = tracing_view::open().context("cannot make a view of tracefs")? {
        let machines = fs::File::open(TRACEFS)?;
        mount_bind(&view, TRACEFS).with_context(|| format!("cannot mount a view at {TRACEFS}"))?;
        mount_remount(TRACEFS, MountFlags::BIND | MountFlags::RDONLY | PLAIN, "")?;
        show_at_old_place(&machines)?;
    }
    make_run_writable(rights)?;
    if kallsyms { show_addresses() } else { Ok(()) }
}

fn mount_bpffs(at: &Path, rights: &Rights) -> anyhow::Result<()> {
    mount("bpf", at, "bpf", PLAIN, Some(c"mode=0700"))
        .with_context(|| format!("cannot mount a bpffs at {}", at.display()))?;
    Ok(chown(at, Some(rights.uid), Some(rights.gid))?)
}

/// Mounts a folder over debugfs, since only root can enter debugfs. The folder has the events of the view,
/// and the lists of the machine's tracefs, which an instance lacks.
fn show_at_old_place(machines: &fs::File) -> anyhow::Result<()> {
    if !Path::new(DEBUGFS).is_dir() {
        return Ok(());
    }
    mount("tmpfs", DEBUGFS, "tmpfs", PLAIN, Some(c"mode=0755,size=64k"))
        .with_context(|| format!("cannot mount a folder at {DEBUGFS}"))?;
    let events = Path::new(OLD_TRACEFS).join(EVENTS);
    fs::create_dir_all(&events)?;
    show_read_only(&Path::new(TRACEFS).join(EVENTS), &events)?;
    let machines = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(machines));
    for list in tracing_view::LISTS {
        let (from, to) = (Path::new(&machines).join(list), Path::new(OLD_TRACEFS).join(list));
        if from.exists() {
            fs::File::create(&to)?;
            show_read_only(&from, &to)?;
        }
    }
    Ok(())
}

fn show_read_only(from: &Path, to: &Path) -> anyhow::Result<()> {
    mount_bind(from, to).with_context(|| format!("cannot mount {}", to.display()))?;
    Ok(mount_remount(to, MountFlags::BIND | MountFlags::RDONLY | PLAIN, "")?)
}

/// Mounts a copy of the symbols that every user can read: the kernel shows addresses to root only.
fn show_addresses() -> anyhow::Result<()> {
    let text = fs::read(KALLSYMS)?;
    let mut copy = fs::File::create_new(COPY).with_context(|| format!("cannot make {COPY}"))?;
    copy.write_all(&text)?;
    fs::set_permissions(COPY, fs::Permissions::from_mode(0o444))?;
    mount_bind(COPY, KALLSYMS).with_context(|| format!("cannot mount a copy at {KALLSYMS}"))?;
    // The mount keeps the file.
    Ok(fs::remove_file(COPY)?)
}

/// Mounts a folder over `/run` in which the user can make files, with all entries of the machine's `/run`.
fn make_run_writable(rights: &Rights) -> anyhow::Result<()> {
    let old = fs::File::open(RUN).with_context(|| format!("cannot open {RUN}"))?;
    let old = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&old));
    let entries: Vec<fs::DirEntry> = fs::read_dir(RUN)?.filter_map(Result::ok).collect();
    mount("tmpfs", RUN, "tmpfs", PLAIN, Some(c"mode=0755,size=64m"))
        .with_context(|| format!("cannot mount a tmpfs at {RUN}"))?;
    for entry in entries {
        let (from, to) = (Path::new(&old).join(entry.file_name()), Path::new(RUN).join(entry.file_name()));
        let Ok(kind) = entry.file_type() else { continue };
        let placed = if kind.is_symlink() {
            fs::read_link(&from).and_then(|target| std::os::unix::fs::symlink(target, &to))
        } else {
            let made = if kind.is_dir() { fs::create_dir(&to) } else { fs::File::create(&to).map(drop) };
            made.and_then(|()| Ok(mount_bind_recursive(&from, &to)?))
        };
        match placed {
            // The entry is gone meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let _empty = if kind.is_dir() { fs::remove_dir(&to) } else { fs::remove_file(&to) };
            }
            placed => {
                placed.with_context(|| format!("cannot keep {} in the command's {RUN}", to.display()))?;
            }
        }
    }
    chown(RUN, Some(rights.uid), Some(rights.gid))?;
    Ok(())
}
