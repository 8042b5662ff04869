//! Files with the symbols of binaries that were shipped without: kept in a folder, and fetched from servers of the protocol
//! debuginfod, by build id. Variables, folder and files are those of elfutils' client, so that what one has fetched the
//! other finds.

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

use crate::debug_settings::{LONGEST, MOST, Settings, shown};

/// Questions to servers for one profile.
const MOST_ASKED: usize = 128;
/// No build id is longer.
const LONGEST_ID: usize = 64;

/// Where files are kept, and who is asked for others.
pub struct DebugFiles {
    settings: Settings,
    /// Why servers are asked no more for this profile, in the order of the settings.
    failed: Vec<Option<String>>,
    client: Client,
    runtime: Runtime,
    /// What came of each build id, for this profile.
    found: BTreeMap<String, Option<PathBuf>>,
    /// When servers are asked no more.
    end: Instant,
    asked: usize,
    /// Build ids for which no server was asked any more.
    not_asked: usize,
    /// Files that a server has, and that are too large.
    too_large: usize,
}

/// What a server says to a question.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It has the file, which is whole here.
    File,
    Absent,
    TooLarge,
}

impl DebugFiles {
    /// By these servers, or those of the environment; none if there are none.
    ///
    /// # Errors
    /// Those of [`Settings::new`] and [`Settings::client`].
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

    /// Another profile: servers that failed are asked again, and what is kept is looked at again.
    pub fn begin(&mut self) {
        self.end = Instant::now() + LONGEST;
        (self.asked, self.not_asked, self.too_large) = (0, 0, 0);
        self.found.clear();
        self.failed.fill(None);
    }

    /// The file with the symbols of a binary; none where nobody has it.
    pub fn of(&mut self, build_id: &[u8]) -> Option<PathBuf> {
        if build_id.is_empty() || build_id.len() > LONGEST_ID {
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

    /// What names lack, and why.
    pub fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.failed.iter().flatten().cloned().collect();
        if self.too_large > 0 {
            let (files, most) = (self.too_large, self.settings.most);
            notes.push(format!(
                "{files} files of symbols not fetched: they have more than {most} bytes ({MOST})"
            ));
        }
        if self.not_asked > 0 {
            let (binaries, seconds) = (self.not_asked, LONGEST.as_secs());
            notes.push(format!(
                "{binaries} binaries without symbols not asked for: one profile asks {MOST_ASKED} times, and {seconds} s, at most"
            ));
        }
        notes
    }

    fn fetch(&mut self, id: &str, build_id: &[u8], kept: &Path) -> Option<PathBuf> {
        for at in 0..self.failed.len() {
            if self.failed[at].is_some() {
                continue;
            }
            if self.asked >= MOST_ASKED || Instant::now() >= self.end {
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

    /// Keeps the file if this server has it.
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
                // A file of another binary would name its functions wrongly.
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

/// Without the address, which is told beside it.
fn plain(error: reqwest::Error) -> anyhow::Error {
    anyhow::Error::new(error.without_url())
}

/// Whether a file is a binary's, by the id that both have.
fn is_of(file: &Path, build_id: &[u8]) -> bool {
    matches!(read_elf_build_id(file), Ok(Some(found)) if *found == *build_id)
}
