//! One of the processes, from its first instruction.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bpfmand_cage::{HelperCage, HelperRights, confine_helper};
use bpfmand_image::{HelperRole, serve_helper};

use super::{Held, starter};

/// How long a process waits for its first question: one that was started ahead and is not needed ends by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// Does what the arguments say, until whoever is at the other end of standard input ends.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let Some((what, held)) = arguments.split_first() else { bail!("it is not said what to do") };
    let rights = match what.as_str() {
        "starter" => HelperRights::Starter,
        "fetcher" => HelperRights::Fetcher,
        "verifier" => HelperRights::Verifier,
        other => bail!("\"{other}\" is no process for images"),
    };
    let held = Held::parse(held)?;
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(std::env::var_os);
    let cage = HelperCage {
        rights,
        seccomp: held.seccomp,
        landlock: held.landlock,
        reads: named.map(PathBuf::from).collect(),
    };
    let input = std::io::stdin().as_fd().try_clone_to_owned().context("there is no standard input")?;
    confine_helper(&cage)?;
    let role = match rights {
        HelperRights::Starter => return starter::run(&input, held),
        HelperRights::Fetcher => HelperRole::Fetcher,
        HelperRights::Verifier => HelperRole::Verifier,
    };
    let stream = UnixStream::from(input);
    #[cfg(debug_assertions)]
    if let Some(act) = super::hostile::act_of(role) {
        // Asked for something, as an intruder in the reader of it would be.
        return if is_asked(&stream)? { super::hostile::run(role, &act) } else { Ok(()) };
    }
    if !is_asked(&stream)? {
        return Ok(());
    }
    Ok(serve_helper(role, stream)?)
}

/// Waits for the first question.
fn is_asked(stream: &UnixStream) -> anyhow::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let patience = Timespec { tv_sec: PATIENCE.as_secs().try_into()?, tv_nsec: 0 };
    let mut waiting = [PollFd::new(stream, PollFlags::IN)];
    Ok(poll(&mut waiting, Some(&patience))? > 0)
}
