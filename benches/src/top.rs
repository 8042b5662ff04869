//! Cost of `bpfman top` with 500 programs, in the daemon and in the client.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bpfman_proto::v1::BpfmanProgramType as Type;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::client::{Client, quiet_probe, xdp_at};
use crate::daemon::{Daemon, Network, binary};
use crate::objects::Objects;
use crate::samples::Results;

const PROGRAMS: usize = 500;
const IN_CHAINS: usize = 100;
const CHAIN: usize = 10;
const WINDOW: Duration = Duration::from_secs(20);

pub async fn run(objects: &Objects) -> anyhow::Result<()> {
    let mut results = Results::new("top")?;
    let daemon = Daemon::start()?;
    let mut client = Client::connect(&daemon.socket()).await?;
    let network = Network::new()?;
    let object = objects.path("trivial");
    for number in 0..IN_CHAINS {
        let interface = format!("t{}", number / CHAIN);
        if number % CHAIN == 0 {
            network.add(&interface)?;
        }
        let (id, _) = client.load(&object, "xdp_trivial", Type::Xdp).await?;
        client.attach(id, xdp_at(&network.path(), &interface, (number % CHAIN) as i32)).await?;
    }
    for _ in IN_CHAINS..PROGRAMS {
        let (id, _) = client.load(&object, "uprobe_trivial", Type::Uprobe).await?;
        client.attach(id, quiet_probe()).await?;
    }
    let before = cpu_time(daemon.pid())?;
    std::thread::sleep(WINDOW);
    results.add("daemon, nobody reads", "% of a CPU", vec![percent(cpu_time(daemon.pid())? - before)])?;
    for (rows, columns) in [(24, 80), (60, 200)] {
        let mut top = spawn(&daemon, rows, columns)?;
        // The first samples warm up caches: descriptions of programs and maps.
        std::thread::sleep(Duration::from_secs(3));
        let pid = top.id();
        let (began, ours, theirs) = (Instant::now(), cpu_time(pid)?, cpu_time(daemon.pid())?);
        std::thread::sleep(WINDOW);
        let (ours, theirs) = (cpu_time(pid)? - ours, cpu_time(daemon.pid())? - theirs);
        anyhow::ensure!(top.try_wait()?.is_none(), "bpfman top ended");
        let scale = WINDOW.as_secs_f64() / began.elapsed().as_secs_f64();
        let screen = format!("top each second, 500 programs, {columns}x{rows}");
        results.add(&format!("{screen}: client"), "% of a CPU", vec![percent(ours) * scale])?;
        results.add(&format!("{screen}: daemon"), "% of a CPU", vec![percent(theirs) * scale])?;
        top.kill()?;
        top.wait()?;
    }
    Ok(())
}

fn spawn(daemon: &Daemon, rows: u16, columns: u16) -> anyhow::Result<Child> {
    let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let slave = File::options().read(true).write(true).open(name.to_str()?)?;
    tcsetwinsize(&slave, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    let child = Command::new(binary("bpfman")?)
        .arg("--socket-path")
        .arg(daemon.socket())
        .arg("top")
        .env("TERM", "xterm-256color")
        .stdin(slave.try_clone()?)
        .stdout(slave.try_clone()?)
        .stderr(slave)
        .spawn()?;
    std::thread::spawn(move || {
        let (mut terminal, mut chunk) = (File::from(master), [0; 65536]);
        while let Ok(1..) = terminal.read(&mut chunk) {}
    });
    Ok(child)
}

/// Returns user and system time, including that of ended threads, with a resolution of 10 ms.
fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').context("no name in stat")?.1;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>()?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

fn percent(time: Duration) -> f64 {
    time.as_secs_f64() * 100.0 / WINDOW.as_secs_f64()
}
