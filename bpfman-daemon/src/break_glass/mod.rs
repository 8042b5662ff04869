//! `bpfmand --break-glass` and `--end-break-glass`: detach everything, and restore it. Needs no record, configuration
//! or disk space: attachments are found by their pins and the kernel's lists. A running daemon must suspend its changes
//! first; otherwise nothing is detached, since both would undo each other's work.

mod marker;

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};
use bpfmand_engine::{OrderedAttachments, find_attached};
use bpfmand_kernel::linux::LinuxKernel;

use crate::arguments::DaemonArguments;
use crate::check;
use crate::config::Folders;

pub use marker::Marker;

/// Maximum time for a daemon to suspend: it first finishes the changes in progress.
const STILL: Duration = Duration::from_secs(20);
const ANSWER: Duration = Duration::from_secs(2);
const BACK: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(100);

pub fn begin(arguments: &DaemonArguments) -> anyhow::Result<()> {
    let folders = prepared(arguments)?;
    let marker = Marker::new(&folders.state, &folders.runtime);
    let time = humantime::format_rfc3339_seconds(SystemTime::now());
    let by = std::env::var("SUDO_USER").map(|user| format!(", by {user}")).unwrap_or_default();
    let by: String = by.chars().filter(|character| !character.is_control()).take(64).collect();
    let (written, problems) = marker.write(&format!("detached by bpfmand --break-glass at {time}{by}"));
    for file in &written {
        println!("marked: {}: no daemon attaches anything while it is there", file.display());
    }
    for problem in &problems {
        println!("not marked: {problem}");
    }
    let fs_root = folders.fs();
    let _alone = stand_alone(&fs_root, &arguments.socket_path, !written.is_empty())?;
    let kernel = LinuxKernel::new(&fs_root).context("the pins cannot be reached")?;
    let found = find_attached(&kernel);
    let OrderedAttachments { ours, left, .. } = &found;
    let mut stays = 0;
    for thing in ours {
        match thing.detach(&kernel) {
            Ok(()) => println!("detached: {thing}"),
            Err(error) => {
                stays += 1;
                println!("NOT detached: {thing}: {error}");
            }
        }
    }
    for other in left {
        println!("left: {other}");
    }
    let unseen = found.find_unseen(&kernel);
    for hidden in &unseen {
        println!("NOT seen: {hidden}");
    }
    println!(
        "{} detached, {stays} not; programs and maps stay loaded. `bpfmand --end-break-glass` puts all of it back",
        ours.len() - stays
    );
    if Path::new("/sys/fs/bpf/xdp").is_dir() {
        println!(
            "programs in slots of libxdp's dispatchers are not looked at: `xdp-loader status` shows them"
        );
    }
    ensure!(
        !written.is_empty(),
        "no marker could be written: a daemon that starts attaches everything again"
    );
    ensure!(stays == 0, "{stays} of {} could not be detached", ours.len());
    ensure!(unseen.is_empty(), "filters may run on where they cannot be seen");
    Ok(())
}

pub fn end(arguments: &DaemonArguments) -> anyhow::Result<()> {
    let folders = prepared(arguments)?;
    let marker = Marker::new(&folders.state, &folders.runtime);
    if marker.read().is_none() {
        println!("nothing is detached by --break-glass");
        return Ok(());
    }
    marker.remove().context("the marker cannot be removed")?;
    if lock(&folders.fs())?.is_some() {
        println!("no daemon runs: the next one that starts puts everything back (`systemctl start bpfmand`)");
        return Ok(());
    }
    let deadline = Instant::now() + BACK;
    while !check::info(&arguments.socket_path, BACK)?.detached.is_empty() {
        ensure!(Instant::now() < deadline, "the daemon puts things back for {BACK:?} now: its log has more");
        std::thread::sleep(LOOK);
    }
    println!("the daemon has put everything back, as far as it can: `bpfman doctor` compares");
    Ok(())
}

fn prepared(arguments: &DaemonArguments) -> anyhow::Result<Folders> {
    ensure!(rustix::process::geteuid().is_root(), "only root may do this");
    Folders::of(arguments)
}

/// Returns the lock that keeps a daemon from starting, or `None` once the running daemon has suspended its changes.
fn stand_alone(fs_root: &Path, socket: &Path, marked: bool) -> anyhow::Result<Option<File>> {
    if let Some(held) = lock(fs_root)? {
        return Ok(Some(held));
    }
    ensure!(
        marked,
        "a daemon runs, and no marker can be written that it would see: end it (`systemctl kill -s KILL bpfmand`), and run \
         this again"
    );
    println!("a daemon runs: waiting until it stops its changes");
    let deadline = Instant::now() + STILL;
    let mut last = "it gave no answer".to_owned();
    while Instant::now() < deadline {
        match check::info(socket, ANSWER) {
            Ok(info) if !info.detached.is_empty() => return Ok(None),
            Ok(_) => "it answers, and still changes things".clone_into(&mut last),
            Err(error) => last = format!("{error:#}"),
        }
        if let Some(held) = lock(fs_root)? {
            return Ok(Some(held));
        }
        std::thread::sleep(LOOK);
    }
    bail!(
        "the daemon does not stand still ({last}): nothing was detached. End it (`systemctl kill -s KILL bpfmand`, or kill -9), \
         and run this again; the marker keeps the next one from attaching anything"
    )
}

/// Acquires the lock that a daemon holds while it runs; `None` if a daemon holds it.
fn lock(fs_root: &Path) -> anyhow::Result<Option<File>> {
    let path = fs_root.join("owner");
    let folder = match File::open(&path) {
        Ok(folder) => folder,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // No daemon has run since the bpffs was mounted: any open file can serve as the lock.
            return Ok(Some(File::open("/")?));
        }
        Err(error) => return Err(error).with_context(|| format!("cannot open {}", path.display())),
    };
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}
