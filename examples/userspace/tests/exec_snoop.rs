//! Exec snoop on the running kernel reports a started program. Requires root, clang and make.

mod compiled;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::Ebpf;
use aya::programs::TracePoint;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;

const EVENT_TIMEOUT: Duration = Duration::from_secs(60);

const INSIDE: &str = "EXEC_SNOOP_TEST_INSIDE";

/// Runs the test again in its own mount namespace: otherwise every process would see a mount of tracefs.
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

    // No other process starts this file. Events before the start of the reader wait in the ring buffer.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("nobody-else's");
    std::fs::copy("/bin/true", &file)?;
    let mut started = Command::new(&file).spawn()?;
    let pid = started.id();
    ensure!(started.wait()?.success());

    // Not started by `timeout`: if that is terminated, its child continues and keeps the pipe open.
    let mut snoop = Command::new(env!("CARGO_BIN_EXE_bpfman-exec-snoop"));
    let mut snoop = snoop.arg("--json").arg("--map-dir").arg(bpffs).stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(snoop.stdout.take().context("stdout is piped")?).lines();
    let (sender, receiver) = channel();
    let wanted = file.clone();
    std::thread::spawn(move || {
        let of_file = |event: &Value| event["filename"].as_str().map(Path::new) == Some(&wanted);
        let events = lines.map_while(Result::ok).map(|line| serde_json::from_str::<Value>(&line));
        let found = events.map(Result::unwrap).find(of_file);
        let _ = sender.send(found);
    });
    let event = receiver.recv_timeout(EVENT_TIMEOUT);
    snoop.kill()?;
    snoop.wait()?;
    let event = event.with_context(|| {
        format!("the start of {} was not reported within {EVENT_TIMEOUT:?}", file.display())
    })?;
    let event = event.context("bpfman-exec-snoop ended before it reported the start")?;
    ensure!(event["pid"] == pid, "{event}");
    ensure!(event["uid"] == 0, "{event}");
    ensure!(event["comm"] == "nobody-else's", "{event}");
    Ok(())
}
