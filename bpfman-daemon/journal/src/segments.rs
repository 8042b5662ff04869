//! Files of the journal: lines are appended to the last one, the oldest one is removed.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use crate::open::{self, OpenSegment};
use crate::settings::SEGMENTS;
use crate::{JournalSettings, JournalSync, name};

#[derive(Debug)]
pub(crate) struct Segments {
    settings: JournalSettings,
    /// First entry number of each segment. Entries are appended to the last segment.
    all: Vec<u64>,
    current: Option<OpenSegment>,
    next: u64,
}

impl Segments {
    /// Opens the files. Also returns the number of bytes that were cut from the last one.
    pub fn open(settings: JournalSettings) -> io::Result<(Self, u64)> {
        let mut segments = Self::unopened(settings);
        let cut = segments.reopen()?;
        Ok((segments, cut))
    }

    pub const fn unopened(settings: JournalSettings) -> Self {
        Self { settings, all: Vec::new(), current: None, next: 1 }
    }

    pub fn reopen(&mut self) -> io::Result<u64> {
        self.current = None;
        let folder = &self.settings.folder;
        match fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.all = name::segments(folder)?;
        let Some(first) = self.all.last().copied() else { return Ok(0) };
        let at_most = self.settings.bytes.saturating_mul(2);
        let found = open::last(&name::segment(folder, first), first, at_most)?;
        self.next = self.next.max(found.next);
        self.current = Some(found.segment);
        self.trim()?;
        Ok(found.cut)
    }

    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Skips the numbers of entries that may be missing from the files.
    pub const fn count(&mut self, entries: u64) {
        self.next += entries;
    }

    pub fn first(&self) -> u64 {
        self.all.first().copied().unwrap_or(self.next)
    }

    /// Appends all lines; if that fails, none.
    pub fn append(&mut self, lines: &str, first: u64, entries: u64) -> io::Result<()> {
        if self.current.is_none() {
            self.reopen()?;
        }
        let is_full = |current: &OpenSegment| {
            current.entries > 0
                && (current.length + lines.len() as u64 > self.settings.segment_bytes()
                    || current.entries + entries > self.settings.segment_entries())
        };
        if self.current.as_ref().is_none_or(is_full) {
            self.turn(first)?;
        }
        let Some(current) = &mut self.current else { return Err(io::ErrorKind::NotFound.into()) };
        let written = current.file.write_all(lines.as_bytes()).and_then(|()| match self.settings.sync {
            JournalSync::Kernel => Ok(()),
            JournalSync::Disk => current.file.sync_data(),
        });
        if let Err(error) = written {
            // Cut an incomplete line: later entries would not be read. Its numbers are assigned again.
            if current.file.set_len(current.length).is_err() {
                self.current = None;
            }
            return Err(error);
        }
        current.length += lines.len() as u64;
        current.entries += entries;
        Ok(())
    }

    fn turn(&mut self, first: u64) -> io::Result<()> {
        let folder = &self.settings.folder;
        if let Some(before) = &self.current {
            before.file.sync_data()?;
        }
        let path = name::segment(folder, first);
        self.current = Some(open::make(&path)?);
        self.all.push(first);
        sync(folder)?;
        self.trim()
    }

    fn trim(&mut self) -> io::Result<()> {
        while self.all.len() as u64 > SEGMENTS {
            fs::remove_file(name::segment(&self.settings.folder, self.all[0]))?;
            self.all.remove(0);
        }
        Ok(())
    }

    pub fn sync(&self) -> io::Result<()> {
        self.current.as_ref().map_or(Ok(()), |current| current.file.sync_data())
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}
