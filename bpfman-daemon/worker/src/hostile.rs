//! Simulation of an intruder in a worker, for tests of debug builds: tries a forbidden act and logs the result.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;

use anyhow::Context as _;
use bpfmand_cage::WorkerRights;
use bpfmand_frames::Answering;
use bpfmand_frames::environment::HOSTILE;
use rustix::process::{Pid, Signal};

/// Returns role and act of [`HOSTILE`], if the role is this. Acts are `read:PATH`, `write:PATH`, `list:PATH`,
/// `connect:PATH`, `dial:ADDRESS`, `execute:PATH` and `kill:PID`; for `reader` also `lie:NAME`, which reports a map of
/// that name for any object, and `hang:`, which never responds.
pub fn act_of(rights: WorkerRights) -> Option<String> {
    let act = std::env::var(HOSTILE).ok()?;
    let role = format!("{rights:?}:").to_lowercase();
    act.starts_with(&role).then_some(act)
}

pub fn run(role_and_act: &str, stream: UnixStream) -> anyhow::Result<()> {
    let (role, act) = role_and_act.split_once(':').context("no role")?;
    let (what, on) = act.split_once(':').context("no act")?;
    // Log first: a forbidden system call kills the process.
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
        "lie" => return lie(stream, on),
        "hang" => return hang(stream),
        other => anyhow::bail!("{other} is no act"),
    };
    match done {
        Ok(()) => eprintln!("hostile: did {role}:{act}"),
        Err(error) => eprintln!("hostile: could not {role}:{act}: {error}"),
    }
    Ok(())
}

fn lie(stream: UnixStream, name: &str) -> anyhow::Result<()> {
    let mut served = Answering::new(stream);
    let _question: Option<serde_json::Value> = served.question()?;
    let _object = served.take()?;
    let map = serde_json::json!({
        "name": name, "map_type": 2, "key_size": 4, "value_size": 8, "max_entries": 1, "flags": 0, "map_extra": 0, "numa_node": 0,
        "pin_by_name": true, "role": "Ordinary", "initial": 0, "types": [0, 0], "inner": null,
    });
    let facts = serde_json::json!({
        "programs": [{ "name": "xdp_member", "section": "xdp", "is_static": false }],
        "maps": [map], "types": [[null, false]], "slots": [], "globals": [], "license": "GPL", "kconfig": null,
    });
    served.say(&serde_json::json!({ "Ok": facts }))?;
    served.give(&[])?;
    served.say(&false)?;
    served.say(&true)?;
    // Stay alive, so that the daemon sees no early exit of this process.
    let _never: Option<serde_json::Value> = served.question()?;
    Ok(())
}

fn hang(stream: UnixStream) -> anyhow::Result<()> {
    let mut served = Answering::new(stream);
    let _question: Option<serde_json::Value> = served.question()?;
    let _object = served.take()?;
    let _never: Option<serde_json::Value> = served.question()?;
    Ok(())
}
