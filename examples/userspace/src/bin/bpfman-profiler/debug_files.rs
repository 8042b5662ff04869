//! Debug files of stripped binaries: cached, and fetched from debuginfod servers by build id. Variables, directory and
//! files are those of elfutils' client, so that both share their cache.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use blazesym::helper::read_elf_build_id;
use reqwest::{Client, StatusCode, Url};
use tokio::runtime::Runtime;

use crate::debug_settings::{MAX_SIZE_VARIABLE, MAX_TIME, Settings, shown};

const MAX_QUERIES: usize = 128;
const MAX_ID: usize = 64;

pub struct DebugFiles {
    settings: Settings,
    failed: Vec<Option<String>>,
    client: Client,
    runtime: Runtime,
    found: BTreeMap<String, Option<PathBuf>>,
    end: Instant,
    asked: usize,
    not_asked: usize,
    too_large: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    File,
    Absent,
    TooLarge,
}

impl DebugFiles {
    pub fn new(servers: &[String]) -> Result<Option<Self>> {
        let Some(settings) = Settings::new(servers)? else { return Ok(None) };
        Ok(Some(Self {
            failed: vec![None; settings.servers.len()],
            client: settings.client()?,
            settings,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            found: BTreeMap::new(),
            end: Instant::now(),
            asked: 0,
            not_asked: 0,
            too_large: 0,
        }))
    }

    pub fn begin(&mut self) {
        self.end = Instant::now() + MAX_TIME;
        (self.asked, self.not_asked, self.too_large) = (0, 0, 0);
        self.found.clear();
        self.failed.fill(None);
    }

    pub fn of(&mut self, build_id: &[u8]) -> Option<PathBuf> {
        if build_id.is_empty() || build_id.len() > MAX_ID {
            return None;
        }
        let id: String = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
        if let Some(found) = self.found.get(&id) {
            return found.clone();
        }
        let kept = self.settings.folder.join(&id).join("debuginfo");
        let found = if is_of(&kept, build_id) { Some(kept) } else { self.fetch(&id, build_id, &kept) };
        self.found.insert(id, found.clone());
        found
    }

    pub fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.failed.iter().flatten().cloned().collect();
        if self.too_large > 0 {
            let (files, most) = (self.too_large, self.settings.most);
            notes.push(format!(
                "{files} files of symbols not fetched: they have more than {most} bytes ({MAX_SIZE_VARIABLE})"
            ));
        }
        if self.not_asked > 0 {
            let (binaries, seconds) = (self.not_asked, MAX_TIME.as_secs());
            notes.push(format!(
                "{binaries} binaries without symbols not asked for: one profile asks {MAX_QUERIES} times, and {seconds} s, at most"
            ));
        }
        notes
    }

    fn fetch(&mut self, id: &str, build_id: &[u8], kept: &Path) -> Option<PathBuf> {
        for at in 0..self.failed.len() {
            if self.failed[at].is_some() {
                continue;
            }
            if self.asked >= MAX_QUERIES || Instant::now() >= self.end {
                self.not_asked += 1;
                return None;
            }
            self.asked += 1;
            let server = &self.settings.servers[at];
            match self.fetch_from(server, id, build_id, kept) {
                Ok(Answer::File) => return Some(kept.to_owned()),
                Ok(Answer::Absent) => {}
                Ok(Answer::TooLarge) => self.too_large += 1,
                Err(error) => {
                    self.failed[at] = Some(format!("no symbols from {}: {error:#}", shown(server)));
                }
            }
        }
        None
    }

    fn fetch_from(&self, server: &Url, id: &str, build_id: &[u8], kept: &Path) -> Result<Answer> {
        let url = server.join(&format!("buildid/{id}/debuginfo")).context("its address leads nowhere")?;
        let folder = kept.parent().unwrap_or(&self.settings.folder);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let part = folder.join(format!("debuginfo.{}", std::process::id()));
        let _left_by_another_of_this_number = fs::remove_file(&part);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&part);
        let file = file.as_mut().map_err(|error| anyhow!("cannot write {}: {error}", part.display()))?;
        let left = self.end.saturating_duration_since(Instant::now());
        let fetched = self.runtime.block_on(async {
            let get = self.get(url, file);
            tokio::time::timeout(left, get).await.context("all servers together took too long")?
        });
        let result = fetched.and_then(|answer| {
            if answer == Answer::File {
                // A file of another binary would give wrong names to functions.
                ensure!(is_of(&part, build_id), "what it answers for {id} is no file of that build id");
                fs::rename(&part, kept).with_context(|| format!("cannot write {}", kept.display()))?;
            }
            Ok(answer)
        });
        if !matches!(result, Ok(Answer::File)) {
            let _gone = fs::remove_file(&part);
            let _others_are_in_it = fs::remove_dir(folder);
        }
        result
    }

    async fn get(&self, url: Url, into: &mut File) -> Result<Answer> {
        let mut answer = self.client.get(url).send().await.map_err(|error| {
            let waited = self.settings.timeout.as_secs();
            if error.is_timeout() { anyhow!("it did not answer within {waited} s") } else { plain(error) }
        })?;
        match answer.status() {
            StatusCode::NOT_FOUND => return Ok(Answer::Absent),
            status if !status.is_success() => bail!("it answers {status}"),
            _ => {}
        }
        let most = self.settings.most;
        if answer.content_length().is_some_and(|length| length > most) {
            return Ok(Answer::TooLarge);
        }
        let mut bytes = 0;
        while let Some(piece) = answer.chunk().await.map_err(plain)? {
            bytes += piece.len() as u64;
            if bytes > most {
                return Ok(Answer::TooLarge);
            }
            into.write_all(&piece).context("cannot write what it answers")?;
        }
        Ok(Answer::File)
    }
}

fn plain(error: reqwest::Error) -> anyhow::Error {
    anyhow::Error::new(error.without_url())
}

fn is_of(file: &Path, build_id: &[u8]) -> bool {
    matches!(read_elf_build_id(file), Ok(Some(found)) if *found == *build_id)
}
