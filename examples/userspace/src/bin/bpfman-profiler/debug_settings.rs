use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Error, Result};
use bpfman_examples::failure::Failure;
use reqwest::{Client, Url, redirect};

const URLS: &str = "DEBUGINFOD_URLS";
const CACHE: &str = "DEBUGINFOD_CACHE_PATH";
const TIMEOUT: &str = "DEBUGINFOD_TIMEOUT";
pub const MAX_SIZE_VARIABLE: &str = "DEBUGINFOD_MAXSIZE";

const USUAL_TIMEOUT: Duration = Duration::from_secs(90);
const USUAL_MOST: u64 = 1 << 30;
/// Maximum time for the debug files of one profile, because the user waits for it.
pub const MAX_TIME: Duration = Duration::from_secs(300);

pub struct Settings {
    pub servers: Vec<Url>,
    pub folder: PathBuf,
    pub timeout: Duration,
    pub most: u64,
}

impl Settings {
    pub fn new(named: &[String]) -> Result<Option<Self>> {
        let servers = servers(named, &env::var(URLS).unwrap_or_default())?;
        if servers.is_empty() {
            return Ok(None);
        }
        let variable = |name: &str| number(name, &env::var(name).unwrap_or_default());
        let timeout = match variable(TIMEOUT)? {
            None => USUAL_TIMEOUT,
            Some(0) => MAX_TIME,
            Some(seconds) => Duration::from_secs(seconds).min(MAX_TIME),
        };
        let most = variable(MAX_SIZE_VARIABLE)?.filter(|most| *most > 0).unwrap_or(USUAL_MOST);
        Ok(Some(Self { servers, folder: folder(|name| env::var_os(name))?, timeout, most }))
    }

    pub fn client(&self) -> Result<Client> {
        let builder = || {
            Client::builder()
                .connect_timeout(self.timeout)
                .read_timeout(self.timeout)
                .redirect(redirect::Policy::limited(3))
        };
        let error = match builder().build() {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        match self.servers.iter().find(|server| server.scheme() == "https") {
            Some(server) => {
                let message = format!("cannot ask {}: {:#}", shown(server), Error::new(error));
                let hint = "certificate authorities are looked for in /etc/ssl/certs; SSL_CERT_FILE names another file";
                Err(Failure::invalid(message, hint).into())
            }
            // The image of this program has no certificate authorities, and plain HTTP needs none.
            None => Ok(builder().tls_certs_only([]).build()?),
        }
    }
}

/// Returns the server without user name and password, because other users may read the message.
pub fn shown(server: &Url) -> String {
    let mut server = server.clone();
    let _both_can_be_taken_from_http = (server.set_username(""), server.set_password(None));
    server.to_string()
}

fn servers(named: &[String], of_environment: &str) -> Result<Vec<Url>> {
    if !named.is_empty() {
        return named.iter().map(|text| parse(text)).collect();
    }
    // The variable may contain elfutils' signature policies (`ima:`), which are ignored: a file provides names only.
    of_environment.split_whitespace().filter(|word| !word.starts_with("ima:")).map(parse).collect()
}

fn parse(text: &str) -> Result<Url> {
    let wrong = |why: &str| {
        let hint = format!("servers are addresses of http or https, in --debuginfod-urls or {URLS}");
        Failure::invalid(format!("{text:?} is no server of debuginfod: {why}"), hint)
    };
    // Without a trailing slash, joining would replace the last part of the path.
    let url = Url::parse(&format!("{}/", text.trim_end_matches('/')));
    let url = url.map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("expected http or https").into());
    }
    Ok(url)
}

/// Parses a limit. Zero and negative numbers mean no limit, as for elfutils' client; both are 0 here.
fn number(variable: &str, text: &str) -> Result<Option<u64>> {
    if text.is_empty() {
        return Ok(None);
    }
    let number: i64 = text.parse().map_err(|_| {
        Failure::invalid(format!("{variable} is no number: {text:?}"), "give a whole number, or unset it")
    })?;
    Ok(Some(u64::try_from(number).unwrap_or(0)))
}

fn folder(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let of = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let usual = || of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")));
    let found = of(CACHE).or_else(|| Some(usual()?.join("debuginfod_client")));
    found.ok_or_else(|| {
        let message = "there is no folder to keep symbols in: HOME is not set";
        Failure::invalid(message, format!("name one in {CACHE}")).into()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::path::Path;

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
        assert!(with(&[]).is_err());
    }

    #[test]
    fn a_server_is_an_address_of_http_and_keeps_its_path() {
        let url = |text: &str| parse(text).map(|server| server.to_string());
        assert_eq!(url("https://debuginfod.example/a").unwrap(), "https://debuginfod.example/a/");
        assert_eq!(url("http://127.0.0.1:8002/").unwrap(), "http://127.0.0.1:8002/");
        for text in ["", "debuginfod.example", "ftp://debuginfod.example", "file:///etc"] {
            assert!(url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn flag_replaces_environment_servers_even_with_signature_words() {
        let of = |named: &[&str], environment: &str| {
            let named: Vec<String> = named.iter().map(|url| (*url).to_owned()).collect();
            servers(&named, environment).unwrap().iter().map(Url::to_string).collect::<Vec<_>>()
        };
        let environment = "ima:enforcing http://one.example  ima:ignore http://two.example";
        assert_eq!(of(&[], environment), ["http://one.example/", "http://two.example/"]);
        assert_eq!(of(&["http://three.example"], environment), ["http://three.example/"]);
        assert!(of(&[], "").is_empty());
    }

    #[test]
    fn a_limit_is_a_whole_number_and_none_below_one() {
        assert_eq!(number(MAX_SIZE_VARIABLE, "").unwrap(), None);
        assert_eq!(number(MAX_SIZE_VARIABLE, "4096").unwrap(), Some(4096));
        assert_eq!(number(MAX_SIZE_VARIABLE, "0").unwrap(), Some(0));
        assert_eq!(number(MAX_SIZE_VARIABLE, "-1").unwrap(), Some(0));
        assert!(number(MAX_SIZE_VARIABLE, "1G").unwrap_err().to_string().contains(MAX_SIZE_VARIABLE));
    }

    #[test]
    fn a_password_is_not_shown() {
        let server = parse("https://ann:secret@debuginfod.example/a").unwrap();
        assert_eq!(shown(&server), "https://debuginfod.example/a/");
    }
}
