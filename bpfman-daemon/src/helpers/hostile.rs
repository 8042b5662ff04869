//! What a process for images does once an intruder runs code in it, for tests of debug builds: after it gave up what it
//! gives up, it tries something else than its work, tells its log what came of it, and ends.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;

use anyhow::Context as _;
use bpfmand_image::HelperRole;
use rustix::process::{Pid, Signal};

/// Who tries what, as in `verifier:read:/etc/shadow`: `read:PATH`, `write:PATH`, `list:PATH`, `connect:PATH`, `dial:ADDRESS`, `execute:PATH`, `kill:PID`.
pub const ACT: &str = "BPFMAN_TEST_HOSTILE_HELPER";

/// What this one is to try, if anything.
pub fn act_of(role: HelperRole) -> Option<String> {
    let act = std::env::var(ACT).ok()?;
    Some(act.strip_prefix(&format!("{role}:"))?.to_owned())
}

/// Tries it.
pub fn run(role: HelperRole, act: &str) -> anyhow::Result<()> {
    let (what, on) = act.split_once(':').context("no act")?;
    // Before: a call that is not allowed is the last one.
    eprintln!("hostile: trying {role}:{act}");
    let done = match what {
        "read" => File::open(on).map(drop),
        "write" => File::create(on).map(drop),
        "list" => std::fs::read_dir(on).map(drop),
        "connect" => UnixStream::connect(on).map(drop),
        "dial" => {
            on.parse::<SocketAddr>().map_err(std::io::Error::other).and_then(TcpStream::connect).map(drop)
        }
        "execute" => Command::new(on).status().map(drop),
        "kill" => {
            let pid = on.parse().ok().and_then(Pid::from_raw).context("no process")?;
            rustix::process::kill_process(pid, Signal::KILL).map_err(Into::into)
        }
        other => anyhow::bail!("{other} is no act"),
    };
    match done {
        Ok(()) => eprintln!("hostile: did {role}:{act}"),
        Err(error) => eprintln!("hostile: could not {role}:{act}: {error}"),
    }
    Ok(())
}
