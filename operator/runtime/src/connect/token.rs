//! Bearer token in a file, reloaded by the monotonic clock: kube sends expired tokens if the wall clock is set back.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::Request;
use hyper::header::{AUTHORIZATION, HeaderValue, InvalidHeaderValue};
use kube::client::AuthError;
use kube::{Config, Error};
use tower::util::MapRequestLayer;
use tracing::warn;

const YOUNG: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct TokenFile(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    path: PathBuf,
    read: Mutex<(HeaderValue, Instant)>,
}

impl TokenFile {
    /// Removes the token file from a configuration if it provides the credential, so that kube adds none.
    pub fn take(config: &mut Config) -> Result<Option<Self>, Error> {
        let who = &mut config.auth_info;
        let other = who.auth_provider.is_some()
            || who.username.is_some() && who.password.is_some()
            || who.token.is_some();
        let Some(path) = who.token_file.take_if(|_| !other).map(PathBuf::from) else { return Ok(None) };
        let text = std::fs::read_to_string(&path)
            .map_err(|source| Error::Auth(AuthError::ReadTokenFile(source, path.clone())))?;
        let header = header(&text).map_err(|error| Error::Auth(AuthError::InvalidBearerToken(error)))?;
        Ok(Some(Self(Arc::new(Kept { path, read: Mutex::new((header, Instant::now())) }))))
    }

    pub fn telling<B>(&self) -> MapRequestLayer<impl Fn(Request<B>) -> Request<B> + Clone + use<B>> {
        let file = self.clone();
        MapRequestLayer::new(move |mut request: Request<B>| {
            request.headers_mut().insert(AUTHORIZATION, file.at(Instant::now()));
            request
        })
    }

    /// Returns the header, reread once a minute. If reading fails, the last token may still be valid.
    fn at(&self, now: Instant) -> HeaderValue {
        let mut read = self.0.read.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(read.1) >= YOUNG {
            let path = &self.0.path;
            match std::fs::read_to_string(path) {
                Ok(text) => match header(&text) {
                    Ok(header) => read.0 = header,
                    Err(error) => {
                        warn!(path = %path.display(), %error, "the file holds no token; the last one is kept")
                    }
                },
                Err(error) => {
                    warn!(path = %path.display(), %error, "no new token could be read; the last one is kept")
                }
            }
            read.1 = now;
        }
        read.0.clone()
    }
}

fn header(text: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut header = HeaderValue::try_from(format!("Bearer {}", text.trim_end()))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use kube::config::AuthInfo;

    use super::*;

    fn config(auth_info: AuthInfo) -> Config {
        let mut config = Config::new("https://localhost:1".parse().unwrap());
        config.auth_info = auth_info;
        config
    }

    #[test]
    fn token_is_reread_after_a_minute_and_kept_without_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "first\n").unwrap();
        let mut config =
            config(AuthInfo { token_file: Some(path.display().to_string()), ..AuthInfo::default() });
        let file = TokenFile::take(&mut config).unwrap().unwrap();
        assert_eq!(config.auth_info.token_file, None, "kube would read it by the clock on the wall");
        let begun = Instant::now();
        let at = |seconds| file.at(begun + Duration::from_secs(seconds));
        std::fs::write(&path, "second").unwrap();
        assert_eq!(
            (at(0), at(50)),
            (HeaderValue::from_static("Bearer first"), HeaderValue::from_static("Bearer first"))
        );
        assert_eq!(at(61), "Bearer second");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(at(200), "Bearer second");
        std::fs::write(&path, "no\ntoken").unwrap();
        assert_eq!(at(300), "Bearer second");
        std::fs::write(&path, "third").unwrap();
        assert_eq!(
            (at(301), at(361)),
            (HeaderValue::from_static("Bearer second"), HeaderValue::from_static("Bearer third"))
        );
    }

    #[test]
    fn kube_handles_other_credentials_and_missing_file_is_named() {
        let nowhere = Some("/nowhere/token".to_owned());
        let with_token = AuthInfo {
            token: Some("t".to_owned().into()),
            token_file: nowhere.clone(),
            ..AuthInfo::default()
        };
        assert!(TokenFile::take(&mut config(with_token)).unwrap().is_none());
        assert!(TokenFile::take(&mut config(AuthInfo::default())).unwrap().is_none());
        let alone = AuthInfo { token_file: nowhere, ..AuthInfo::default() };
        let error = TokenFile::take(&mut config(alone)).unwrap_err();
        assert!(format!("{error:?}").contains("/nowhere/token"), "{error:?}");
    }
}
