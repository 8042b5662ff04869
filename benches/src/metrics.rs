use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfmand_kernel::linux::{LinuxKernel, test_run};
use bpfmand_kernel::prelude::*;

use crate::client::{Client, quiet_probe};
use crate::daemon::Daemon;
use crate::objects::Objects;
use crate::packets::{Mount, load};
use crate::samples::{Results, ms};

const PROGRAMS: usize = 500;
const SCRAPES: usize = 12;
/// Pause after which nothing is cached: the text is shared for one second, memory of maps for five.
const FRESH: Duration = Duration::from_millis(5_100);
const ROUNDS: usize = 15;
const REPEATS: u32 = 5_000_000;

pub async fn run(objects: &Objects) -> anyhow::Result<()> {
    let mut results = Results::new("metrics")?;
    let daemon = Daemon::start_with("[metrics]\nrun_statistics = true\n", "")?;
    let mut client = Client::connect(&daemon.socket()).await?;
    let object = objects.path("trivial");
    scrape_often(&daemon, &mut results, "nothing loaded")?;
    for number in 0..PROGRAMS {
        let application = format!("application-{number}");
        let metadata = [("bpfman_application", application.as_str())];
        let (id, _) = client.load_with(&object, "uprobe_trivial", Type::Uprobe, &metadata).await?;
        client.attach(id, quiet_probe()).await?;
    }
    let before = daemon.resident()?.0;
    scrape_often(&daemon, &mut results, &format!("{PROGRAMS} programs"))?;
    results.add("resident, before and after these scrapes", "MB", vec![before, daemon.resident()?.0])?;
    let mut shared = Vec::new();
    for _ in 0..1_000 {
        let begun = Instant::now();
        scrape(daemon.folder())?;
        shared.push(ms(begun));
    }
    results.add(&format!("scrape in a loop, {PROGRAMS} programs"), "ms", shared)?;
    drop(daemon);
    run_statistics(objects, &mut results)
}

fn scrape_often(daemon: &Daemon, results: &mut Results, what: &str) -> anyhow::Result<()> {
    let (mut took, mut sizes) = (Vec::new(), Vec::new());
    for _ in 0..=SCRAPES {
        std::thread::sleep(FRESH);
        let begun = Instant::now();
        let bytes = scrape(daemon.folder())?;
        took.push(ms(begun));
        sizes.push(bytes as f64 / 1e3);
    }
    // The first scrape opens all programs that were loaded since the last one.
    results.add(&format!("first scrape, {what}"), "ms", vec![took.remove(0)])?;
    results.add(&format!("scrape, {what}"), "ms", took)?;
    results.add(&format!("its text, {what}"), "kB", sizes)?;
    Ok(())
}

fn scrape(folder: &Path) -> anyhow::Result<usize> {
    let mut stream = UnixStream::connect(folder.join("metrics.sock"))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    anyhow::ensure!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"# EOF\n"), "no metrics");
    Ok(answer.len())
}

fn run_statistics(objects: &Objects, results: &mut Results) -> anyhow::Result<()> {
    let mount = Mount::new()?;
    let kernel = LinuxKernel::new(mount.path())?;
    let program = load(&kernel, objects, "trivial", "xdp_trivial")?;
    let each = || -> anyhow::Result<f64> {
        let begun = Instant::now();
        test_run(&program.handle, &[0_u8; 64], REPEATS)?;
        Ok(begun.elapsed().as_nanos() as f64 / f64::from(REPEATS))
    };
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(each()?);
        let _counting = kernel.count_runs()?;
        with.push(each()?);
    }
    results.add("run of an XDP program, not counted", "ns", without)?;
    results.add("run of an XDP program, counted and timed", "ns", with)?;
    Ok(())
}
