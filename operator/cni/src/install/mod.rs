//! `bpfman-cni install` and `uninstall`: the binary, and its entry in the node's network configuration.

mod competing_editor;
mod folder;
mod options;

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

use self::competing_editor::PollHistory;
pub use self::options::{InstallOptions, UsageError};
use crate::ask::ask;
use crate::conflist::ConflistError;
use crate::protocol::{PluginAnswer, PluginRequest, Verb};
use crate::write::atomically;
use crate::{PLUGIN, SOCKET};

/// Interval of the checks: if a network plugin rewrites its configuration, the entry is missing for up to this time.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Number of intervals between checks if another program keeps removing the entry: rewriting it would not protect pods.
const BACK_OFF: u32 = 20;

const REPORT: Duration = Duration::from_secs(5);

/// Reason why the installation failed. The named file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error(
        "{0}: there is no network configuration yet; install a network plugin, or pass --watch to wait for one"
    )]
    NoConfiguration(PathBuf),
    #[error("{file}: {why}; it is left as it is")]
    ConflistError {
        file: PathBuf,
        /// Reason why the plugin cannot be added.
        why: ConflistError,
    },
    #[error("SIGTERM cannot be waited for: {0}")]
    Signal(io::Error),
    /// Error of the file system.
    #[error("{file}: {error}")]
    File { file: PathBuf, error: io::Error },
}

fn at(file: &Path) -> impl FnOnce(io::Error) -> InstallError + '_ {
    move |error| InstallError::File { file: file.to_owned(), error }
}

/// Runs the command of the arguments.
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
        // The agent admits pods once its programs are back, so the plugin must be in place before. Without a usable
        // configuration the agent starts nevertheless; `--watch` reports the problem again.
        add(&options).unwrap_or_else(|error| eprintln!("{PLUGIN}: {error}"));
        Ok(())
    } else {
        add(&options)
    }
}

fn add(options: &InstallOptions) -> Result<(), InstallError> {
    if let Some(file) = folder::add(options)? {
        eprintln!("{PLUGIN}: added to {}", file.display());
    }
    Ok(())
}

fn add_again(options: &InstallOptions, rival: &mut PollHistory) -> Result<(), InstallError> {
    let added = folder::add(options)?;
    rival.looked(added.is_some());
    match (added, rival.undone()) {
        (Some(file), None) => eprintln!("{PLUGIN}: added to {}", file.display()),
        (Some(file), Some(times)) => {
            eprintln!(
                "{PLUGIN}: warning: another program rewrites {} again and again and takes this plugin out ({times} times so far): \
                 pods start without it. A network plugin that keeps the folder to itself has to be configured not to (Cilium: \
                 cni.exclusive=false). Next attempt in {} s",
                file.display(),
                (CHECK_INTERVAL * BACK_OFF).as_secs()
            );
            tell_agent(options, &file);
        }
        (None, _) => {}
    }
    Ok(())
}

/// Reports the rewritten file to the agent, which writes an event: more people see events than this log.
fn tell_agent(options: &InstallOptions, file: &Path) {
    let socket = options.entry.agent_socket.as_deref().unwrap_or(SOCKET);
    let file = file.display().to_string();
    let request = PluginRequest { file, ..PluginRequest::of(Verb::Displaced) };
    match ask(Path::new(socket), &request, REPORT) {
        Ok(PluginAnswer { unknown: None, .. }) => {}
        Ok(PluginAnswer { unknown: Some(why), .. }) => eprintln!("{PLUGIN}: the agent was not told: {why}"),
        Err(error) => eprintln!("{PLUGIN}: the agent was not told: {socket}: {error}"),
    }
}

/// Restores the plugin until a signal arrives, and leaves it for the next version. For a container's first
/// process, the kernel ignores signals without a handler: an update would take the whole grace period.
fn watch(options: &InstallOptions) -> Result<(), InstallError> {
    let ends = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        flag::register(signal, Arc::clone(&ends)).map_err(InstallError::Signal)?;
    }
    let mut last_reported = String::new();
    let mut rival = PollHistory::default();
    while !ends.load(Ordering::Relaxed) {
        match add_again(options, &mut rival) {
            Ok(()) => last_reported.clear(),
            Err(error) => {
                rival = PollHistory::default();
                let text = error.to_string();
                if text != last_reported {
                    eprintln!("{PLUGIN}: {text}");
                    last_reported = text;
                }
            }
        }
        // Sleep in short steps, so that a signal does not wait for the whole pause.
        let turns = if rival.undone().is_some() { BACK_OFF } else { 1 };
        for _ in 0..turns {
            if !ends.load(Ordering::Relaxed) {
                thread::sleep(CHECK_INTERVAL);
            }
        }
    }
    Ok(())
}

/// Installs this binary atomically, because the runtime may call it meanwhile.
fn binary(options: &InstallOptions) -> Result<(), InstallError> {
    let this = std::env::current_exe().map_err(at(Path::new("/proc/self/exe")))?;
    let target = options.bin_dir.join(PLUGIN);
    let contents = fs::read(&this).map_err(at(&this))?;
    if fs::read(&target).is_ok_and(|there| there == contents) {
        return Ok(());
    }
    atomically(&target, &contents, 0o755).map_err(at(&target))
}

/// Creates the agent's folders, which the agent itself lacks the privileges for.
fn folders_of_agent(options: &InstallOptions) -> Result<(), InstallError> {
    let Some(user) = options.agent_user else { return Ok(()) };
    for folder in &options.agent_dirs {
        fs::create_dir_all(folder).map_err(at(folder))?;
        chown(folder, Some(user), Some(user)).map_err(at(folder))?;
    }
    Ok(())
}

/// Removes the binary last, because a configuration may still call it.
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
