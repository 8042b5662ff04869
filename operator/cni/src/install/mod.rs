//! `bpfman-cni install` and `uninstall`: the binary and its place in the node's network configuration.

mod folder;
mod options;
mod rival;

use std::fs;
use std::io;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

pub use self::options::{InstallOptions, UsageError};
use self::rival::Rival;
use crate::PLUGIN;
use crate::conflist::Unfit;
use crate::write::atomically;

/// How often `--watch` looks. A network plugin that writes its configuration anew takes ours out of it for so long.
const TURN: Duration = Duration::from_millis(500);

/// How many turns `--watch` leaves the configuration alone where another program takes the plugin out each time: two
/// programs that rewrite a file all the time keep the node's runtime busy, and protect no pod.
const BACK_OFF: u32 = 20;

/// Why it was not installed. What is named was not changed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The words make no command.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// There is nothing to be added to.
    #[error(
        "{0}: there is no network configuration yet; install a network plugin, or pass --watch to wait for one"
    )]
    NoConfiguration(PathBuf),
    /// The active one cannot be added to.
    #[error("{file}: {why}; it is left as it is")]
    Unfit {
        /// The file.
        file: PathBuf,
        /// Why.
        why: Unfit,
    },
    /// Signals cannot be waited for.
    #[error("SIGTERM cannot be waited for: {0}")]
    Signal(io::Error),
    /// The file system refuses.
    #[error("{file}: {error}")]
    File {
        /// Where.
        file: PathBuf,
        /// What it says.
        error: io::Error,
    },
}

/// An error at a file.
fn at(file: &Path) -> impl FnOnce(io::Error) -> InstallError + '_ {
    move |error| InstallError::File { file: file.to_owned(), error }
}

/// Does what the words say.
///
/// # Errors
/// [`InstallError`].
pub fn command(words: &[String]) -> Result<(), InstallError> {
    let options = InstallOptions::parse(words)?;
    if options.uninstall {
        return uninstall(&options);
    }
    folders_of_agent(&options)?;
    binary(&options)?;
    if options.watch {
        watch(&options)
    } else if options.prepare {
        // An agent whose programs are back lets pods in: the plugin is there before. A configuration that is missing, or
        // that cannot be added to, keeps no agent from its work; who watches says so again.
        add(&options).unwrap_or_else(|error| eprintln!("{PLUGIN}: {error}"));
        Ok(())
    } else {
        add(&options)
    }
}

/// Once.
fn add(options: &InstallOptions) -> Result<(), InstallError> {
    if let Some(file) = folder::add(options)? {
        eprintln!("{PLUGIN}: added to {}", file.display());
    }
    Ok(())
}

/// Once, as `--watch` does it: says how often it was in vain, once another program takes the plugin out each time.
fn add_again(options: &InstallOptions, rival: &mut Rival) -> Result<(), InstallError> {
    let added = folder::add(options)?;
    rival.looked(added.is_some());
    match (added, rival.undone()) {
        (Some(file), None) => eprintln!("{PLUGIN}: added to {}", file.display()),
        (Some(file), Some(times)) => eprintln!(
            "{PLUGIN}: warning: another program rewrites {} again and again and takes this plugin out ({times} times so far): \
             pods start without it. A network plugin that keeps the folder to itself has to be told not to (Cilium: \
             cni.exclusive=false). Next attempt in {} s",
            file.display(),
            (TURN * BACK_OFF).as_secs()
        ),
        (None, _) => {}
    }
    Ok(())
}

/// Keeps the plugin in the active configuration until SIGTERM or SIGINT. When this ends, it stays in it: pods are
/// protected while a new version of this takes over.
///
/// The first process of a container has no default for these signals: without these lines every new version of the agent
/// beside it would wait for the end of the pod's whole grace period.
fn watch(options: &InstallOptions) -> Result<(), InstallError> {
    let ends = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        flag::register(signal, Arc::clone(&ends)).map_err(InstallError::Signal)?;
    }
    let mut last_reported = String::new();
    let mut rival = Rival::default();
    while !ends.load(Ordering::Relaxed) {
        match add_again(options, &mut rival) {
            Ok(()) => last_reported.clear(),
            Err(error) => {
                // A folder that cannot be read has no rival: the next configuration gets the plugin at once.
                rival = Rival::default();
                let text = error.to_string();
                if text != last_reported {
                    eprintln!("{PLUGIN}: {text}");
                    last_reported = text;
                }
            }
        }
        // In turns, so that a signal does not wait for all of them.
        let turns = if rival.undone().is_some() { BACK_OFF } else { 1 };
        for _ in 0..turns {
            if !ends.load(Ordering::Relaxed) {
                thread::sleep(TURN);
            }
        }
    }
    Ok(())
}

/// Copies this program. A runtime that calls it meanwhile has the old one or the new one.
fn binary(options: &InstallOptions) -> Result<(), InstallError> {
    let this = std::env::current_exe().map_err(at(Path::new("/proc/self/exe")))?;
    let target = options.bin_dir.join(PLUGIN);
    let contents = fs::read(&this).map_err(at(&this))?;
    if fs::read(&target).is_ok_and(|there| there == contents) {
        return Ok(());
    }
    atomically(&target, &contents, 0o755).map_err(at(&target))
}

/// The agent has no rights on its node: the folders of its socket and of its rules are made for it.
fn folders_of_agent(options: &InstallOptions) -> Result<(), InstallError> {
    let Some(user) = options.agent_user else { return Ok(()) };
    for folder in &options.agent_dirs {
        fs::create_dir_all(folder).map_err(at(folder))?;
        chown(folder, Some(user), Some(user)).map_err(at(folder))?;
    }
    Ok(())
}

/// Takes it out of every configuration, and then the binary away: never the other way round.
fn uninstall(options: &InstallOptions) -> Result<(), InstallError> {
    for file in folder::remove(options)? {
        eprintln!("{PLUGIN}: removed from {}", file.display());
    }
    let target = options.bin_dir.join(PLUGIN);
    match fs::remove_file(&target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&target)(error)),
        _ => Ok(()),
    }
}
