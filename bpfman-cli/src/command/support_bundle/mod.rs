//! `bpfman support-bundle`: what somebody needs who helps, in one archive.
//!
//! Each part is collected by itself, within a time and a size, and one that fails says why in the archive: it is asked for
//! when something is broken. The parts are what this user's own commands print, so nobody learns more than they may.

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

/// The longest that all parts together may take. A daemon that hangs is no reason for having no archive.
const LONGEST: Duration = Duration::from_secs(180);
/// The longest that one part may take.
const LONGEST_PART: Duration = Duration::from_secs(20);

/// What is in an archive: its first file.
#[derive(Debug, Serialize)]
struct BundleManifest {
    /// Of this form. A later one has other fields.
    schema: u32,
    created: String,
    client: &'static str,
    uid: u32,
    parts: Vec<PartRecord>,
}

/// One part, as the manifest has it.
#[derive(Debug, Serialize)]
struct PartRecord {
    name: String,
    /// The command line, or the file.
    source: String,
    bytes: usize,
    /// There was more than a part may have, and its beginning, or of a log its end, is here.
    cut: bool,
    milliseconds: u64,
    exit_code: Option<i32>,
    failure: Option<String>,
}

/// The answer to `support-bundle`.
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

/// Collects all, and writes it at once.
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

/// Before minutes are spent. Whether it is so is decided once more when the archive gets its name.
fn ensure_new(file: &Path) -> Result<(), CliError> {
    match file.symlink_metadata() {
        Ok(_) => Err(CliError::Invalid {
            what: format!("{} is there already", file.display()),
            hint: Some("name another file: an archive replaces none".to_owned()),
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
    let deadline = Instant::now() + LONGEST;
    let mut progress = ProgressLine::new(global, "collecting");
    let mut archive = BundleArchive::new(name);
    let mut records = Vec::new();
    let mut waiting = parts::of(global);
    let mut all = waiting.len();
    waiting.reverse();
    while let Some(part) = waiting.pop() {
        progress.step(&part.name, records.len(), all);
        let began = Instant::now();
        let time = LONGEST_PART.min(deadline.saturating_duration_since(began));
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
        let why = format!("no time was left: all parts together may take {} s", LONGEST.as_secs());
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

/// Puts a part into the archive, and says what it is.
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
        // That nothing is there is said where it is looked for.
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
