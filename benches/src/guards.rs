//! Cost of a tenant guard per run, by the kernel's run statistics, which add the cost of reading the clock.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bpfman_proto::v1::{self, BpfmanProgramType as Type, attach_info::Info};

use crate::client::Client;
use crate::daemon::Daemon;
use crate::objects::Objects;
use crate::samples::{Results, ms};

const ROUNDS: usize = 20;
pub const CALLS: u64 = 100_000;
const KINDS: usize = 3;
/// Without this setting, the daemon would detach probes that run as often.
pub const CONFIG: &str = "[limits]\nprobe_share = \"off\"\n";
const COUNTED: &str = "/proc/sys/kernel/bpf_stats_enabled";

pub async fn run(objects: &Objects) -> anyhow::Result<()> {
    let mut results = Results::new("guards")?;
    let before = fs::read_to_string(COUNTED)?;
    fs::write(COUNTED, "1")?;
    let measured = async {
        for (how, grouped) in [("cgroup", true), ("process namespace", false)] {
            by(how, grouped, objects, &mut results).await?;
        }
        crate::guards_user::run(objects, &mut results).await
    };
    let measured = measured.await;
    fs::write(COUNTED, before)?;
    measured
}

async fn by(how: &str, grouped: bool, objects: &Objects, results: &mut Results) -> anyhow::Result<()> {
    let daemon = Daemon::start_with(CONFIG, "")?;
    let mut client = Client::connect(&daemon.socket()).await?;
    let binary = objects.path("probed").with_extension("exe");
    let mut ours = Container::start(&binary, grouped.then_some(1))?;
    let other = Container::start(&binary, grouped.then_some(2))?;
    let tenant = [("bpfman.io/ProgramNamespace", "shop"), ("bpfman.io/ProgramName", "probe")];
    // The first program at an attach point pays for cold caches, so each variant is once at each position.
    let kinds = [(&[][..], ours.pid), (&tenant[..], ours.pid), (&tenant[..], other.pid)];
    let mut programs = Vec::new();
    for place in 0..KINDS * KINDS {
        let kind = (place + place / KINDS) % KINDS;
        let (metadata, pid) = kinds[kind];
        let (id, _) = client.load_with(&objects.path("probed"), "on_probed", Type::Uprobe, metadata).await?;
        let info = v1::UprobeAttachInfo {
            fn_name: Some("probed".to_owned()),
            target: binary.display().to_string(),
            container_pid: Some(pid.cast_signed()),
            ..Default::default()
        };
        client.attach(id, Info::UprobeAttachInfo(info)).await?;
        programs.push((kind, id));
    }
    let mut times: [Vec<f64>; KINDS] = Default::default();
    for _ in 0..ROUNDS {
        let before = counts(&programs)?;
        ours.probed.call(CALLS)?;
        let after = counts(&programs)?;
        let mut sums = [0.0; KINDS];
        for ((kind, _), (before, after)) in programs.iter().zip(before.iter().zip(after)) {
            let (runs, nanoseconds) = (after.0 - before.0, after.1 - before.1);
            ensure!(runs >= CALLS, "only {runs} runs of {CALLS} were counted");
            sums[*kind] += nanoseconds as f64 / runs as f64 / KINDS as f64;
        }
        times.iter_mut().zip(sums).for_each(|(samples, sum)| samples.push(sum));
    }
    let [without, passed, out] = times;
    let less =
        |with: &[f64]| with.iter().zip(&without).map(|(with, without)| with - without).collect::<Vec<_>>();
    let (passes, refuses) = (less(&passed), less(&out));
    results.add(&format!("by {how}: the program alone"), "ns", without.clone())?;
    results.add(&format!("by {how}: guarded, its own task"), "ns", passed)?;
    results.add(&format!("by {how}: guarded, another's task"), "ns", out)?;
    results.add(&format!("by {how}: more than alone, its own"), "ns", passes)?;
    results.add(&format!("by {how}: more than alone, another's"), "ns", refuses)?;
    Ok(())
}

pub fn counts(programs: &[(usize, u32)]) -> anyhow::Result<Vec<(u64, u64)>> {
    let count = |(_, id): &(usize, u32)| {
        let output = Command::new("bpftool").args(["-j", "prog", "show", "id", &id.to_string()]).output()?;
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let field = |name: &str| shown[name].as_u64().unwrap_or_default();
        Ok((field("run_cnt"), field("run_time_ns")))
    };
    programs.iter().map(count).collect()
}

/// Running `programs/probed.c`.
pub struct Probed {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    pub pid: u32,
}

impl Probed {
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().context("no standard input")?;
        let mut stdout = BufReader::new(child.stdout.take().context("no standard output")?);
        stdout.read_line(&mut String::new())?;
        let pid = child.id();
        Ok(Self { child, stdin, stdout, pid })
    }

    pub fn call(&mut self, times: u64) -> anyhow::Result<()> {
        writeln!(self.stdin, "{times}")?;
        self.stdout.read_line(&mut String::new())?;
        Ok(())
    }
}

impl Drop for Probed {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

struct Container {
    probed: Probed,
    pid: u32,
    group: Option<PathBuf>,
}

impl Container {
    fn start(binary: &Path, number: Option<u32>) -> anyhow::Result<Self> {
        let mut command = Command::new("unshare");
        let probed = Probed::start(command.args(["--pid", "--fork", "--kill-child"]).arg(binary))?;
        let starter = probed.pid;
        let children = fs::read_to_string(format!("/proc/{starter}/task/{starter}/children"))?;
        let pid = children.trim().parse()?;
        let mut group = None;
        if let Some(number) = number {
            let digits = format!("{:056x}{number:08x}", std::process::id());
            let path = unified_hierarchy()?.join(format!("cri-containerd-{digits}.scope"));
            fs::create_dir(&path)?;
            fs::write(path.join("cgroup.procs"), format!("{pid}"))?;
            group = Some(path);
        }
        Ok(Self { probed, pid, group })
    }
}

pub fn unified_hierarchy() -> anyhow::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let hierarchy = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    Ok(hierarchy.and_then(|line| line.split(' ').nth(1)).context("no cgroup2")?.into())
}

impl Drop for Container {
    fn drop(&mut self) {
        let _gone = self.probed.child.kill();
        let _ended = self.probed.child.wait();
        let start = Instant::now();
        while self.group.as_ref().is_some_and(|group| fs::remove_dir(group).is_err()) && ms(start) < 10_000.0
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
