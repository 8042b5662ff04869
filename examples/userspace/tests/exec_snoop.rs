//! The exec snoop on the running kernel: attached to its tracepoint, it reports a program that is started. Needs
//! root, clang and make.

mod compiled;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use aya::Ebpf;
use aya::programs::TracePoint;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Set in the process that has a mount namespace of its own.
const INSIDE: &str = "EXEC_SNOOP_TEST_INSIDE";

/// Tracefs may not be mounted here, and mounting it would be seen by everyone: the test runs itself again where it
/// is seen by nobody else.
#[test]
fn a_started_program_is_reported_with_user_and_file() -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return report_a_started_program();
    }
    let mut again = Command::new("unshare");
    again.args(["--mount", "--propagation", "private", "sh", "-c"]);
    again.arg("mountpoint -q /sys/kernel/tracing || mount -t tracefs none /sys/kernel/tracing; exec \"$@\"");
    again.args(["sh".as_ref(), std::env::current_exe()?.as_os_str()]);
    again.args(["--exact", "a_started_program_is_reported_with_user_and_file", "--nocapture"]);
    let output = again.env(INSIDE, "1").output()?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{stdout}{stderr}");
    ensure!(stdout.contains("1 passed"), "the test did not run inside: {stdout}");
    Ok(())
}

fn report_a_started_program() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("examples-").tempdir()?;
    mount("bpffs", folder.path(), "bpf", MountFlags::empty(), None).context("cannot mount a bpffs")?;
    let reported = started_and_reported(folder.path());
    unmount(folder.path(), UnmountFlags::DETACH)?;
    reported
}

fn started_and_reported(bpffs: &Path) -> Result<()> {
    let mut object = Ebpf::load_file(compiled::object("exec-snoop")?)?;
    for (name, map) in object.maps() {
        map.pin(bpffs.join(name))?;
    }
    let program: &mut TracePoint = object.program_mut("exec_snoop").context("no exec_snoop")?.try_into()?;
    program.load()?;
    program.attach("sched", "sched_process_exec")?;

    // A file that nobody else starts. What was started before the reader waits in the ring.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("nobody-else's");
    std::fs::copy("/bin/true", &file)?;
    let mut started = Command::new(&file).spawn()?;
    let pid = started.id();
    ensure!(started.wait()?.success());

    let mut snoop = Command::new("timeout");
    snoop.arg("60").arg(env!("CARGO_BIN_EXE_bpfman-exec-snoop")).arg("--json").arg("--map-dir").arg(bpffs);
    let mut snoop = snoop.stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(snoop.stdout.take().context("stdout is piped")?).lines();
    let mut event = None;
    for line in lines {
        let seen: Value = serde_json::from_str(&line?)?;
        if seen["filename"].as_str().map(Path::new) == Some(&file) {
            event = Some(seen);
            break;
        }
    }
    // Not kill: timeout hands this signal on to the reader.
    kill_process(Pid::from_child(&snoop), Signal::TERM)?;
    snoop.wait()?;
    let event = event.context("the start was not reported in time")?;
    ensure!(event["pid"] == pid, "{event}");
    ensure!(event["uid"] == 0, "{event}");
    ensure!(event["comm"] == "nobody-else's", "{event}");
    Ok(())
}
