//! Benchmark of the store: JSON lines, times in microseconds. The results depend on the file system of the folder in
//! the first argument (default: the temporary folder).

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use bpfmand_store::{Batch, EngineKind, Store, StoreOptions, Table};

const PROGRAMS: Table = Table("programs");
const LINKS: Table = Table("links");
const COMMITS: u32 = 1000;

fn main() -> anyhow::Result<()> {
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    report("fdatasync of 4 KiB", fdatasync_alone(&parent)?);
    memory("of an empty process")?;
    for kind in EngineKind::ALL {
        memory_of_fresh_store(&parent, kind)?;
    }
    for kind in EngineKind::ALL {
        let folder = tempfile::tempdir_in(&parent)?;
        let open = || Store::open(StoreOptions::new(folder.path(), 1).engine(kind));
        let store = open()?;
        fill(&store)?;
        report(&format!("{kind} durable put"), times(COMMITS, |n| put(&store, n))?);
        report(
            &format!("{kind} durable step of 3 records and a journal entry"),
            times(COMMITS, |n| step(&store, n))?,
        );
        report(&format!("{kind} durable put, 8 callers"), from_eight_threads(&store)?);
        report(&format!("{kind} load"), times(20, |_| store.load().map(drop))?);
        drop(store);
        let mut opened = Vec::new();
        for _ in 0..10 {
            let start = Instant::now();
            let store = open()?;
            opened.push(start.elapsed().as_secs_f64() * 1e6);
            drop(store);
        }
        report(&format!("{kind} open, 600 records, 10,000 journal entries"), opened);
        memory(&format!("after all of the above on {kind}"))?;
    }
    Ok(())
}

fn fill(store: &Store) -> anyhow::Result<()> {
    for chunk in 0..50u32 {
        let mut batch = Batch::new();
        for n in 0..10 {
            batch.put(PROGRAMS, &(chunk * 10 + n).to_be_bytes(), vec![chunk as u8; 1000]);
        }
        (0..200).for_each(|_| {
            batch.journal(vec![chunk as u8; 120]);
        });
        store.commit(batch)?;
    }
    Ok(())
}

fn put(store: &Store, n: u32) -> Result<(), bpfmand_store::StoreError> {
    let mut batch = Batch::new();
    batch.put(PROGRAMS, &(n % 500).to_be_bytes(), vec![n as u8; 1000]);
    store.commit(batch)
}

fn step(store: &Store, n: u32) -> Result<(), bpfmand_store::StoreError> {
    let mut batch = Batch::new();
    batch
        .put(PROGRAMS, &(n % 500).to_be_bytes(), vec![n as u8; 1000])
        .put(PROGRAMS, &((n + 7) % 500).to_be_bytes(), vec![n as u8; 1000])
        .put(LINKS, &(n % 100).to_be_bytes(), vec![n as u8; 300])
        .journal(vec![n as u8; 120]);
    store.commit(batch)
}

fn from_eight_threads(store: &Store) -> anyhow::Result<Vec<f64>> {
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|writer| scope.spawn(move || times(COMMITS / 8, |n| put(store, writer * 60 + n))))
            .collect();
        let mut all = Vec::new();
        for writer in writers {
            all.extend(writer.join().ok().context("a writer panicked")??);
        }
        Ok(all)
    })
}

/// Measures `fdatasync` alone, the lower bound of every durable write.
fn fdatasync_alone(parent: &Path) -> anyhow::Result<Vec<f64>> {
    use std::os::unix::fs::FileExt;
    let file = tempfile::tempfile_in(parent)?;
    file.write_all_at(&[1; 1 << 20], 0)?;
    file.sync_all()?;
    times(COMMITS, |n| {
        file.write_all_at(&[n as u8; 4096], u64::from(n % 256) * 4096)?;
        file.sync_data()
    })
    .map_err(anyhow::Error::from)
}

fn times<T, E>(count: u32, mut work: impl FnMut(u32) -> Result<T, E>) -> Result<Vec<f64>, E> {
    (0..count)
        .map(|n| {
            let start = Instant::now();
            work(n)?;
            Ok(start.elapsed().as_secs_f64() * 1e6)
        })
        .collect()
}

fn report(case: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let (Some(min), Some(max)) = (times.first(), times.last()) else { return };
    let median = times[times.len() / 2];
    println!(
        "{{\"case\":\"store: {case}\",\"n\":{},\"unit\":\"us\",\"min\":{min:.1},\"median\":{median:.1},\"max\":{max:.1}}}",
        times.len()
    );
}

fn memory_of_fresh_store(parent: &Path, kind: EngineKind) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(parent)?;
    let store = Store::open(StoreOptions::new(folder.path(), 1).engine(kind))?;
    for n in 0..20 {
        put(&store, n)?;
    }
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    memory(&format!("with 20 records in {kind}, {threads} threads"))
}

fn memory(case: &str) -> anyhow::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    println!(
        "{{\"case\":\"store: resident {case}\",\"n\":1,\"unit\":\"KiB\",\"min\":{kib},\"median\":{kib},\"max\":{kib}}}"
    );
    Ok(())
}
