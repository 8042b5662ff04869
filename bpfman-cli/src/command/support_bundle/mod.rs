//! `bpfman support-bundle`: one archive of parts, each limited in time and size. A failed part has its
//! reason. Parts are output of this user's own commands: they contain nothing that the user may not read.

mod archive;
mod collect;
mod parts;
mod settings;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use self::archive::BundleArchive;
use self::collect::CollectedPart;
use self::parts::{BundlePart, PartSource};
use super::progress::ProgressLine;
use crate::args::Global;
use crate::args::support_bundle::SupportBundle;
use crate::error::CliError;
use crate::show;
use crate::show::CommandOutput;
use crate::show::screen::{Screen, cell};

/// Time limit of all parts together: a daemon that hangs must not prevent the archive.
const MAX_TIME: Duration = Duration::from_secs(180);
const MAX_PART: Duration = Duration::from_secs(20);

#[derive(Debug, Serialize)]
struct BundleManifest {
    /// Version of the format. A later version has other fields.
    schema: u32,
    created: String,
    client: &'static str,
    uid: u32,
    parts: Vec<PartRecord>,
}

#[derive(Debug, Serialize)]
struct PartRecord {
    name: String,
    source: String,
    bytes: usize,
    /// True if only the beginning of the part is included, or the end of a log.
    cut: bool,
    milliseconds: u64,
    exit_code: Option<i32>,
    failure: Option<String>,
}

#[derive(Debug, Serialize)]
struct WrittenBundle {
    file: String,
    bytes: u64,
    parts: usize,
    failed: Vec<FailedPart>,
}

#[derive(Debug, Serialize)]
struct FailedPart {
    name: String,
    failure: String,
}

pub async fn run(global: &Global, command: SupportBundle) -> Result<(), CliError> {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let name = format!("bpfman-support-{}", now.replace(':', ""));
    let file = command.file.unwrap_or_else(|| PathBuf::from(format!("{name}.tar.gz")));
    ensure_new(&file)?;
    let global = global.clone();
    let collecting = tokio::task::spawn_blocking(move || write(&global, &file, &name, now));
    let written = collecting.await.map_err(|error| CliError::Output(std::io::Error::other(error)))?;
    let (global, written) = written?;
    show::answer(&global, &written)
}

/// Refuses an existing file before minutes are spent. It is checked again when the archive is moved into place.
fn ensure_new(file: &Path) -> Result<(), CliError> {
    match file.symlink_metadata() {
        Ok(_) => Err(CliError::Invalid {
            what: format!("{} is there already", file.display()),
            hint: Some("name another file: an archive replaces none".into()),
        }),
        Err(_) => Ok(()),
    }
}

fn write(
    global: &Global,
    file: &Path,
    name: &str,
    created: String,
) -> Result<(Global, WrittenBundle), CliError> {
    let deadline = Instant::now() + MAX_TIME;
    let mut progress = ProgressLine::new(global, "collecting");
    let mut archive = BundleArchive::new(name);
    let mut records = Vec::new();
    let mut waiting = parts::of(global);
    let mut all = waiting.len();
    waiting.reverse();
    while let Some(part) = waiting.pop() {
        progress.step(&part.name, records.len(), all);
        let began = Instant::now();
        let time = MAX_PART.min(deadline.saturating_duration_since(began));
        let collected = collect(&part, time);
        if let PartSource::Hooks = part.source {
            let more = parts::of_hooks(global, &collected.bytes);
            all += more.len();
            waiting.extend(more.into_iter().rev());
        }
        records.push(record(&mut archive, &part, collected, began.elapsed()));
    }
    let failed = records.iter().filter_map(|record| {
        Some(FailedPart { name: record.name.clone(), failure: record.failure.clone()? })
    });
    let failed: Vec<_> = failed.collect();
    let parts = records.len();
    let manifest = BundleManifest {
        schema: 1,
        created,
        client: env!("CARGO_PKG_VERSION"),
        uid: rustix::process::geteuid().as_raw(),
        parts: records,
    };
    progress.step("writing", parts, parts);
    let manifest =
        serde_json::to_vec_pretty(&manifest).map_err(|error| CliError::Encode(error.to_string()))?;
    let bytes = archive.write(&manifest, file)?;
    drop(progress);
    Ok((global.clone(), WrittenBundle { file: file.display().to_string(), bytes, parts, failed }))
}

fn collect(part: &BundlePart, time: Duration) -> CollectedPart {
    if time.is_zero() {
        let why = format!("no time was left: all parts together may take {} s", MAX_TIME.as_secs());
        return CollectedPart::failed(why);
    }
    match &part.source {
        PartSource::Command(command) | PartSource::Log(command) => {
            let ending = matches!(part.source, PartSource::Log(_));
            collect::of_command(command, time, ending)
        }
        PartSource::Values(command) => collect::of_command(command, time, false).without_values(),
        PartSource::Hooks => collect::of_command(&part.command, time, false),
        PartSource::File(path) => collect::of_file(path),
        PartSource::Settings(path, allowed) => settings::collect(path, allowed),
    }
}

fn record(
    archive: &mut BundleArchive,
    part: &BundlePart,
    collected: CollectedPart,
    took: Duration,
) -> PartRecord {
    let CollectedPart { bytes, cut, exit_code, mut failure } = collected;
    let fits = archive.add(&part.name, &bytes);
    if !fits {
        failure = Some("no room was left in the archive".to_owned());
    }
    if let Some(failure) = &failure {
        // Add the failure where the part is expected.
        let _said = archive.add(&format!("{}.failed.txt", part.name), format!("{failure}\n").as_bytes());
    }
    PartRecord {
        name: part.name.clone(),
        source: part.source.describe(&part.command),
        bytes: if fits { bytes.len() } else { 0 },
        cut,
        milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        exit_code,
        failure,
    }
}

impl CommandOutput for WrittenBundle {
    fn table(&self, _: Screen) -> String {
        let mut text = format!("{}: {} parts, {} KiB\n", self.file, self.parts, self.bytes.div_ceil(1024));
        for FailedPart { name, failure } in &self.failed {
            let first = failure.lines().next().unwrap_or_default();
            text.push_str(&format!("  without {}: {}\n", cell(name), cell(first)));
        }
        text
    }

    fn ids(&self) -> Vec<String> {
        vec![self.file.clone()]
    }
}
