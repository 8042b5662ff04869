//! Registry passwords as docker and podman keep them: a JSON file, and helper programs that it names.
//!
//! ```json
//! { "auths": { "quay.io/team": { "auth": "base64 of user:password" } },
//!   "credHelpers": { "registry.example": "pass" }, "credsStore": "secretservice" }
//! ```

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::{Credential, CredentialError, ImageReference, RegistryHost};

const ANSWER_LIMIT: u64 = 64 << 10;
/// Message of a credential helper that has no credentials; its protocol has no status code for this.
const NO_CREDENTIALS: &[u8] = b"credentials not found in native keychain";
const HELPER_TIMEOUT: Duration = Duration::from_secs(10);

/// Contents of the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AuthFile {
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
    #[serde(skip)]
    search_path: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    #[serde(rename = "identitytoken")]
    identity_token: Option<String>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry(..)")
    }
}

/// Reason why there is no password. Errors repeat no text of the file or of a helper: it may be the secret.
#[derive(Debug, thiserror::Error)]
pub enum AuthFileError {
    /// The file is not the JSON that docker and podman write.
    #[error("the file of registry passwords is not JSON as docker and podman write it (line {line})")]
    Syntax {
        /// Line of the mistake, from 1.
        line: usize,
    },
    #[error("the file of registry passwords, entry `{entry}`: {source}")]
    Entry {
        /// Registry or namespace.
        entry: String,
        /// Defect of the entry.
        source: CredentialError,
    },
    /// An entry holds an identity token, which is not supported.
    #[error(
        "the file of registry passwords, entry `{0}`: identity tokens are not read; use a user and a password"
    )]
    Token(String),
    #[error("the credential helper {program} gives no password for {registry}: {source}")]
    Helper {
        /// Name of the helper program.
        program: String,
        /// Registry of the password.
        registry: String,
        /// Cause of the failure.
        source: HelperFailure,
    },
}

/// Failure of a credential helper.
#[derive(Debug, thiserror::Error)]
pub enum HelperFailure {
    /// The file names a helper that cannot be a docker credential helper.
    #[error("its name is none of a program")]
    Name,
    /// The helper cannot be started or waited for.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("it takes longer than {} s", HELPER_TIMEOUT.as_secs())]
    Slow,
    #[error("it ends with {0}")]
    Ended(ExitStatus),
    #[error("its answer is not what helpers say")]
    Answer,
    /// The helper has a token instead of a user and a password.
    #[error("identity tokens are not read")]
    Token,
}

impl AuthFile {
    /// Parses the text of the file.
    pub fn parse(text: &str) -> Result<Self, AuthFileError> {
        serde_json::from_str(text).map_err(|error| AuthFileError::Syntax { line: error.line() })
    }

    /// Sets the folders to search for helpers, separated by `:`, instead of those in `PATH`.
    #[must_use]
    pub fn with_search_path(self, folders: &str) -> Self {
        Self { search_path: Some(folders.to_owned()), ..self }
    }

    /// Returns the files of docker and podman, in their order of reading.
    #[must_use]
    pub fn places(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Vec<PathBuf> {
        let folder = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = folder("HOME");
        let below_home = |rest: &str| home.as_ref().map(|home| home.join(rest));
        [
            folder("REGISTRY_AUTH_FILE"),
            folder("XDG_RUNTIME_DIR").map(|runtime| runtime.join("containers/auth.json")),
            folder("XDG_CONFIG_HOME")
                .map(|config| config.join("containers/auth.json"))
                .or_else(|| below_home(".config/containers/auth.json")),
            folder("DOCKER_CONFIG")
                .map(|docker| docker.join("config.json"))
                .or_else(|| below_home(".docker/config.json")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Returns, without calling a helper, whether [`Self::find`] may find a password.
    #[must_use]
    pub fn may_have(&self, image: &ImageReference) -> bool {
        self.store.is_some()
            || self.helpers.keys().any(|host| one_spelling(host) == image.registry())
            || self.auths.keys().any(|key| covers(key, image))
    }

    /// Returns the password for an image's registry, from the longest entry that covers the image; none
    /// without such an entry. May call a helper, which blocks.
    pub fn find(&self, image: &ImageReference) -> Result<Option<Credential>, AuthFileError> {
        let of_registry = |(host, _): &(&String, _)| one_spelling(host) == image.registry();
        if let Some((_, program)) = self.helpers.iter().find(of_registry) {
            return self.ask(program, image.registry());
        }
        let mut keys = self.auths.keys().filter(|key| covers(key, image)).collect::<Vec<_>>();
        keys.sort_by_key(|key| key.len());
        for key in keys.into_iter().rev() {
            let Some(entry) = self.auths.get(key) else { continue };
            if entry.identity_token.as_ref().is_some_and(|token| !token.is_empty()) {
                return Err(AuthFileError::Token(key.clone()));
            }
            // An empty entry means that the credential store has the password.
            if let Some(text) = entry.auth.as_ref().filter(|text| !text.is_empty()) {
                let wrong = |source| AuthFileError::Entry { entry: key.clone(), source };
                return Credential::from_base64(text).map(Some).map_err(wrong);
            }
        }
        match &self.store {
            Some(program) => self.ask(program, image.registry()),
            None => Ok(None),
        }
    }
}

fn covers(key: &str, image: &ImageReference) -> bool {
    let bare = key.trim_start_matches("https://").trim_start_matches("http://");
    let bare = bare.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
    let (host, path) = bare.split_once('/').map_or((bare, None), |(host, path)| (host, Some(path)));
    let host = one_spelling(host);
    let bare = path.map_or_else(|| host.clone(), |path| format!("{host}/{path}"));
    let name = image.name();
    name.strip_prefix(&bare).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn one_spelling(host: &str) -> String {
    host.parse::<RegistryHost>().map_or_else(|_| host.to_owned(), |host| host.to_string())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl AuthFile {
    fn ask(&self, name: &str, registry: &str) -> Result<Option<Credential>, AuthFileError> {
        let program = format!("docker-credential-{name}");
        let failed = |source: HelperFailure| AuthFileError::Helper {
            program: program.clone(),
            registry: registry.to_owned(),
            source,
        };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        {
            return Err(failed(HelperFailure::Name));
        }
        let server = if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry };
        let found = self.search_path.as_deref().and_then(|folders| {
            folders.split(':').map(|folder| Path::new(folder).join(&program)).find(|path| path.is_file())
        });
        let mut child = Command::new(found.unwrap_or_else(|| PathBuf::from(&program)))
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(error.into()))?;
        if let Some(mut input) = child.stdin.take() {
            // A helper that does not read its input may still answer; otherwise it fails below.
            let _ = input.write_all(server.as_bytes());
        }
        let output = child.stdout.take();
        let reader = std::thread::spawn(move || {
            let mut answer = Vec::new();
            output.map(|output| output.take(ANSWER_LIMIT).read_to_end(&mut answer));
            answer
        });
        let deadline = Instant::now() + HELPER_TIMEOUT;
        let status = loop {
            match child.try_wait().map_err(|error| failed(error.into()))? {
                Some(status) => break status,
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                None => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(failed(HelperFailure::Slow));
                }
            }
        };
        let answer = reader.join().unwrap_or_default();
        if !status.success() {
            let none = answer.trim_ascii() == NO_CREDENTIALS;
            return if none { Ok(None) } else { Err(failed(HelperFailure::Ended(status))) };
        }
        let answer: Answer = serde_json::from_slice(&answer).map_err(|_| failed(HelperFailure::Answer))?;
        if answer.username == "<token>" {
            return Err(failed(HelperFailure::Token));
        }
        Ok(Some(Credential::new(answer.username, answer.secret)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(file: &str, image: &str) -> Result<Option<(String, String)>, AuthFileError> {
        let found = AuthFile::parse(file)?.find(&image.parse().unwrap())?;
        Ok(found.map(|found| (found.user().to_owned(), found.password().to_owned())))
    }

    #[test]
    fn the_longest_entry_that_covers_a_repository_wins() {
        let file = r#"{"auths":{
            "quay.io":{"auth":"YTph"},
            "quay.io/team":{"auth":"Yjpi"},
            "https://index.docker.io/v1/":{"auth":"Yzpj"},
            "Upper.example:443/team":{"auth":"ZDpk"},
            "empty.example":{}
        },"unknown":1}"#;
        let user = |image: &str| find(file, image).unwrap().map(|(user, _)| user);
        assert_eq!(user("quay.io/other/x:1").as_deref(), Some("a"));
        assert_eq!(user("quay.io/team/x:1").as_deref(), Some("b"));
        assert_eq!(user("quay.io/teams/x").as_deref(), Some("a"));
        assert_eq!(user("docker.io/x").as_deref(), Some("c"));
        assert_eq!(user("UPPER.example/team/x").as_deref(), Some("d"));
        assert_eq!(user("quay.io.evil.io/x"), None);
        assert_eq!(user("empty.example/x"), None);
    }

    #[test]
    fn mistakes_are_named_without_the_secret() {
        for (file, part) in [
            ("{\n\"auths\": 3}", "line 2"),
            (r#"{"auths":{"quay.io":{"auth":"c2VjcmV0"}}}"#, "quay.io"),
            (r#"{"auths":{"quay.io":{"identitytoken":"secret"}}}"#, "identity token"),
            (r#"{"credHelpers":{"quay.io":"../evil"}}"#, "name"),
            (
                r#"{"credHelpers":{"quay.io":"not-installed-anywhere"}}"#,
                "docker-credential-not-installed-anywhere",
            ),
        ] {
            let error = find(file, "quay.io/a").unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn files_are_looked_for_where_docker_and_podman_do() {
        let variable = |name: &str| match name {
            "HOME" => Some("/h".into()),
            "XDG_RUNTIME_DIR" => Some("/r".into()),
            "DOCKER_CONFIG" => Some("relative".into()),
            _ => None,
        };
        let places = AuthFile::places(variable);
        let expected =
            ["/r/containers/auth.json", "/h/.config/containers/auth.json", "/h/.docker/config.json"];
        assert_eq!(places, expected.map(PathBuf::from));
    }
}
