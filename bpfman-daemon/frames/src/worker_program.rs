//! The program `bpfman-worker`: where it is, and its environment.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::environment;

const NAME: &str = "bpfman-worker";
const LIBEXEC: &str = "../libexec/bpfman";

/// Returns the path of the program: beside that of this process, or where packages put it.
///
/// # Errors
/// `NotFound`, with both places and the way out.
pub fn find() -> io::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let folder = this.parent().unwrap_or(Path::new("/"));
    let places = [folder.join(NAME), folder.join(LIBEXEC).join(NAME)];
    let found = places.iter().find(|place| place.is_file());
    found.cloned().ok_or_else(|| {
        let [beside, packaged] = places.each_ref().map(|place| place.display());
        let why = format!(
            "there is no {NAME}: neither {beside} nor {packaged}; install it with bpfmand, from one package or build"
        );
        io::Error::new(io::ErrorKind::NotFound, why)
    })
}

/// Returns a command that executes the program, with the variables that workers need.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let kept = environment::passed_on().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let mut command = Command::new(program);
    command.arg0(NAME).env_clear().envs(kept);
    command
}
