//! The table `[journal]` of `bpfman.toml`.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::bail;
use bpfmand_journal::{JournalSettings, JournalSync};
use serde::Deserialize;

const JOURNALD: &str = "/run/systemd/journal/socket";
const MIB: std::ops::RangeInclusive<u64> = 1..=1024;
const ENTRIES: std::ops::RangeInclusive<u64> = 1000..=10_000_000;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct JournalTable {
    mib: Option<u64>,
    entries: Option<u64>,
    sync: Option<String>,
}

pub fn settings(table: &JournalTable, state: &Path) -> anyhow::Result<JournalSettings> {
    let mut settings = JournalSettings::new(state.join("journal"));
    if let Some(mib) = table.mib {
        if !MIB.contains(&mib) {
            bail!("configuration: journal.mib {mib} is not between {} and {}", MIB.start(), MIB.end());
        }
        settings.bytes = mib << 20;
    }
    if let Some(entries) = table.entries {
        if !ENTRIES.contains(&entries) {
            let (least, most) = (ENTRIES.start(), ENTRIES.end());
            bail!("configuration: journal.entries {entries} is not between {least} and {most}");
        }
        settings.entries = entries;
    }
    settings.sync = match table.sync.as_deref() {
        None | Some("kernel") => JournalSync::Kernel,
        Some("disk") => JournalSync::Disk,
        Some(other) => bail!("configuration: journal.sync \"{other}\" is neither \"kernel\" nor \"disk\""),
    };
    settings.journald = journald();
    Ok(settings)
}

fn journald() -> Option<PathBuf> {
    let named = std::env::var("JOURNAL_STREAM").ok()?;
    let log = std::fs::metadata("/proc/self/fd/2").ok()?;
    (named == format!("{}:{}", log.dev(), log.ino())).then(|| PathBuf::from(JOURNALD))
}
