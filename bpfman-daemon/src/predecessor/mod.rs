//! v0.6 import: the daemon refuses to start over the state of bpfman v0.6.0, and `bpfmand --import-v0.6` reports how to
//! take it over. v0.6.0 keeps database and pins in the runtime folder, next to ours, until the next boot. The sled
//! database is parsed only on root's request, and only if it is root's.

mod script;
mod state;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bpfmand_store::open_foreign_sled;

use crate::arguments::DaemonArguments;
use crate::check;
use crate::config::Folders;
use script::Script;
use state::PredecessorState;

const SOON: Duration = Duration::from_secs(2);
const DATABASE: &str = "db";
/// Name of the database's folder once its programs can be taken over.
const SET_ASIDE: &str = "db.v0.6";
const BYTECODE: &str = "v0.6";

fn database(runtime: &Path) -> Option<PathBuf> {
    let folder = runtime.join(DATABASE);
    // sled creates both files at once.
    (folder.join("conf").is_file() && folder.join("db").is_file()).then_some(folder)
}

/// Refuses to start over the state of v0.6.0; call it before anything is changed.
pub fn refuse(runtime: &Path) -> anyhow::Result<()> {
    let Some(folder) = database(runtime) else { return Ok(()) };
    bail!(
        "bpfman v0.6.0 left its state in {}; nothing was changed, and what it attached runs on. \
         `bpfmand --import-v0.6 --dry-run` shows what is there, `bpfmand --import-v0.6` lets this daemon start beside it \
         and prints the commands that take it over; after a reboot nothing of it is left",
        folder.display()
    )
}

/// Prints the commands that take over the state of v0.6.0. Unless this is a dry run, also keeps its bytecode and
/// renames its database, so that the daemon can start. Fails before any change if a daemon of either version runs.
pub fn import(arguments: &DaemonArguments) -> anyhow::Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "only root may read what bpfman v0.6.0 left");
    let folders = Folders::of(arguments)?;
    let Some(folder) = database(&folders.runtime) else {
        bail!("bpfman v0.6.0 left no state in {}", folders.runtime.join(DATABASE).display());
    };
    let owner =
        fs::symlink_metadata(&folder).with_context(|| format!("cannot look at {}", folder.display()))?;
    ensure!(
        owner.is_dir() && owner.uid() == 0,
        "{} is not root's: its contents are not trusted",
        folder.display()
    );
    ensure!(
        check::info(&arguments.socket_path, SOON).is_err(),
        "a daemon answers on {}: stop it first",
        arguments.socket_path.display()
    );
    // Opening a sled database writes to it: a copy in the runtime folder is opened, and removed with `records`.
    let records = open_foreign_sled(&folder, &folders.runtime).with_context(|| {
        format!("cannot read {}: stop bpfman-rpc, which may have it open", folder.display())
    })?;
    let state = PredecessorState::read(records)?;
    let kept = folders.state.join(BYTECODE);
    let dispatchers = dispatcher_folders(&folders.fs());
    let script = Script { state: &state, bytecode: &kept, pins: &folders.fs(), dispatchers: &dispatchers };
    if arguments.dry_run {
        print!("{script}");
        println!("# Dry run: nothing was changed.");
        return Ok(());
    }
    let aside = folders.runtime.join(SET_ASIDE);
    ensure!(!aside.exists(), "{} is there already: an earlier import is not finished", aside.display());
    keep_bytecode(&state, &kept)?;
    rename_links(&state, &folders.fs())?;
    fs::rename(&folder, &aside)
        .with_context(|| format!("cannot rename {} to {}", folder.display(), aside.display()))?;
    print!("{script}");
    println!(
        "# Its database is {} from now on: bpfmand starts, and what v0.6.0 attached runs on.",
        aside.display()
    );
    Ok(())
}

/// Writes the bytecode of each program that came from a file: the file may have changed since.
fn keep_bytecode(state: &PredecessorState, folder: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    for program in &state.programs {
        let Some(bytes) = program.bytecode_of_file() else { continue };
        let path = script::bytecode_path(folder, program);
        let write = || -> std::io::Result<()> {
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn dispatcher_folders(pins: &Path) -> Vec<PathBuf> {
    let hooks = ["xdp", "tc-ingress", "tc-egress"].map(|hook| fs::read_dir(pins.join(hook)));
    let entries = hooks.into_iter().flatten().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"dispatcher_"))
        .map(|entry| entry.path())
        // Folder of the dispatchers with which v0.6.0 tests programs.
        .chain([pins.join("dispatcher-test")])
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

/// Renames pins to low numbers: v0.6.0's are random, and new ones continue above the highest. May run again.
fn rename_links(state: &PredecessorState, pins: &Path) -> anyhow::Result<()> {
    let folder = pins.join("links");
    for link in &state.links {
        let (from, to) = (folder.join(link.id.to_string()), folder.join(link.number.to_string()));
        if from == to || !from.exists() {
            continue;
        }
        ensure!(!to.exists(), "{} is there already: whose it is is not known", to.display());
        fs::rename(&from, &to)
            .with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}
