//! Files with the symbols of binaries that were shipped without: kept in a folder, and fetched from servers of the protocol
//! debuginfod, by build id. Variables, folder and files are those of elfutils' client, so that what one has fetched the
//! other finds.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use blazesym::helper::read_elf_build_id;
use reqwest::{Client, StatusCode, Url, redirect};
use tokio::runtime::Runtime;

/// Servers, as elfutils' client takes them.
pub const URLS: &str = "DEBUGINFOD_URLS";
const CACHE: &str = "DEBUGINFOD_CACHE_PATH";
const TIMEOUT: &str = "DEBUGINFOD_TIMEOUT";
const MOST: &str = "DEBUGINFOD_MAXSIZE";

/// Seconds without a byte, unless it is said.
const USUAL_TIMEOUT: u64 = 90;
/// Bytes of a file, unless it is said.
const USUAL_MOST: u64 = 1 << 30;
/// Time of all servers together for one profile: who waits for it waits no longer.
const LONGEST: Duration = Duration::from_secs(300);
/// Build ids that one profile asks for.
const MOST_ASKED: usize = 128;
/// No build id is longer.
const LONGEST_ID: usize = 64;

/// Where files are kept, and who is asked for others.
pub struct DebugFiles {
    servers: Vec<Server>,
    folder: PathBuf,
    timeout: Duration,
    most: u64,
    client: Client,
    runtime: Runtime,
    /// What came of each build id that was asked for.
    found: BTreeMap<String, Option<PathBuf>>,
    /// When servers are asked no more.
    end: Instant,
    asked: usize,
}

struct Server {
    url: Url,
    /// Why it is asked no more for this profile.
    failed: Option<String>,
}

impl DebugFiles {
    /// By these servers, or those of the environment; none if there are none.
    ///
    /// # Errors
    /// A server is no URL, a variable no number, or there is no folder to keep files in.
    pub fn new(servers: &[String]) -> Result<Option<Self>> {
        let of_environment = env::var(URLS).unwrap_or_default();
        let named: Vec<&str> = match servers {
            [] => of_environment.split_whitespace().collect(),
            named => named.iter().map(String::as_str).collect(),
        };
        if named.is_empty() {
            return Ok(None);
        }
        let servers = named.into_iter().map(Server::parse).collect::<Result<_>>()?;
        let timeout = Duration::from_secs(number(TIMEOUT)?.unwrap_or(USUAL_TIMEOUT));
        let client = Client::builder()
            .connect_timeout(timeout)
            .read_timeout(timeout)
            .redirect(redirect::Policy::limited(3))
            .build()
            .context("cannot ask servers for symbols")?;
        Ok(Some(Self {
            servers,
            folder: folder(|name| env::var_os(name))?,
            timeout,
            most: number(MOST)?.filter(|most| *most > 0).unwrap_or(USUAL_MOST),
            client,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            found: BTreeMap::new(),
            end: Instant::now(),
            asked: 0,
        }))
    }

    /// Another profile: servers that failed are asked again.
    pub fn begin(&mut self) {
        self.end = Instant::now() + LONGEST;
        self.asked = 0;
        self.found.retain(|_, file| file.is_some());
        self.servers.iter_mut().for_each(|server| server.failed = None);
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
        let kept = self.folder.join(&id).join("debuginfo");
        let found = if is_of(&kept, build_id) { Some(kept) } else { self.fetch(&id, build_id, &kept) };
        self.found.insert(id, found.clone());
        found
    }

    /// Why servers failed.
    pub fn failures(&self) -> impl Iterator<Item = &str> {
        self.servers.iter().filter_map(|server| server.failed.as_deref())
    }

    fn fetch(&mut self, id: &str, build_id: &[u8], kept: &Path) -> Option<PathBuf> {
        for at in 0..self.servers.len() {
            if self.asked >= MOST_ASKED || Instant::now() >= self.end {
                return None;
            }
            if self.servers[at].failed.is_some() {
                continue;
            }
            self.asked += 1;
            match self.fetch_from(&self.servers[at].url, id, build_id, kept) {
                Ok(true) => return Some(kept.to_owned()),
                Ok(false) => {}
                Err(error) => {
                    let server = &mut self.servers[at];
                    server.failed = Some(format!("no symbols from {}: {error:#}", server.url));
                }
            }
        }
        None
    }

    /// False if this server does not have it.
    fn fetch_from(&self, server: &Url, id: &str, build_id: &[u8], kept: &Path) -> Result<bool> {
        let url = server.join(&format!("buildid/{id}/debuginfo")).context("its address leads nowhere")?;
        let folder = kept.parent().unwrap_or(&self.folder);
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
        let result = fetched.and_then(|there| {
            if there {
                // A file of another binary would name its functions wrongly.
                ensure!(is_of(&part, build_id), "what it answers for {id} is no file of that build id");
                fs::rename(&part, kept).with_context(|| format!("cannot write {}", kept.display()))?;
            }
            Ok(there)
        });
        if !matches!(result, Ok(true)) {
            let _gone = fs::remove_file(&part);
            let _others_are_in_it = fs::remove_dir(folder);
        }
        result
    }

    async fn get(&self, url: Url, into: &mut File) -> Result<bool> {
        let mut answer = self.client.get(url).send().await.map_err(|error| {
            let waited = self.timeout.as_secs();
            if error.is_timeout() { anyhow!("it did not answer within {waited} s") } else { plain(error) }
        })?;
        match answer.status() {
            StatusCode::NOT_FOUND => return Ok(false),
            status if !status.is_success() => bail!("it answers {status}"),
            _ => {}
        }
        let too_large = || anyhow!("a file has more than {} bytes ({MOST})", self.most);
        let mut bytes = 0;
        ensure!(answer.content_length().is_none_or(|length| length <= self.most), too_large());
        while let Some(piece) = answer.chunk().await.map_err(plain)? {
            bytes += piece.len() as u64;
            ensure!(bytes <= self.most, too_large());
            into.write_all(&piece).context("cannot write what it answers")?;
        }
        Ok(true)
    }
}

impl Server {
    fn parse(text: &str) -> Result<Self> {
        // What is behind the last slash would be replaced.
        let url = Url::parse(&format!("{}/", text.trim_end_matches('/')));
        let url = url.map_err(|error| anyhow!("{text:?} is no server of debuginfod: {error}"))?;
        ensure!(
            matches!(url.scheme(), "http" | "https"),
            "{text:?} is no server of debuginfod: expected http or https"
        );
        Ok(Self { url, failed: None })
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

fn number(variable: &str) -> Result<Option<u64>> {
    let text = env::var(variable).unwrap_or_default();
    let number = (!text.is_empty()).then(|| text.parse()).transpose();
    number.map_err(|_| anyhow!("{variable} is no number: {text:?}"))
}

fn folder(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let of = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let usual = || of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")));
    of(CACHE)
        .or_else(|| Some(usual()?.join("debuginfod_client")))
        .with_context(|| format!("there is no folder to keep symbols in: say {CACHE}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn files_are_kept_where_elfutils_keeps_them() {
        let with = |given: &[(&str, &str)]| {
            folder(|name| Some(given.iter().find(|(one, _)| *one == name)?.1.into()))
        };
        let all = [(CACHE, "/kept"), ("XDG_CACHE_HOME", "/cache"), ("HOME", "/home/ann")];
        assert_eq!(with(&all).unwrap(), Path::new("/kept"));
        assert_eq!(with(&all[1..]).unwrap(), Path::new("/cache/debuginfod_client"));
        assert_eq!(with(&all[2..]).unwrap(), Path::new("/home/ann/.cache/debuginfod_client"));
        assert!(with(&[]).unwrap_err().to_string().contains(CACHE));
    }

    #[test]
    fn a_server_is_an_address_of_http_and_keeps_its_path() {
        let url = |text: &str| Server::parse(text).map(|server| server.url.to_string());
        assert_eq!(url("https://debuginfod.example/a").unwrap(), "https://debuginfod.example/a/");
        assert_eq!(url("http://127.0.0.1:8002/").unwrap(), "http://127.0.0.1:8002/");
        for text in ["", "debuginfod.example", "ftp://debuginfod.example", "file:///etc"] {
            assert!(url(text).is_err(), "{text}");
        }
    }
}
