//! What to answer a registry that wants to know its caller: a password, or a token fetched with it.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bpfman_image_format::{Credential, causes};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use serde::Deserialize;

use crate::pace::TransferPace;
use crate::reach::{RegistryReach, shown};
use crate::settings::RepositoryPlace;
use crate::{AuthorizationError, Limits};

/// Bytes of a token service's answer.
const TOKEN_LIMIT: usize = 64 << 10;

/// The `Authorization` header for a registry that answered 401 with these headers; the error says why there is
/// none.
pub(crate) async fn answer(
    http: &reqwest::Client,
    headers: &HeaderMap,
    place: &RepositoryPlace,
    reach: &RegistryReach,
    limits: &Limits,
) -> Result<HeaderValue, AuthorizationError> {
    let challenges: Vec<&str> =
        headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).collect();
    let offer = |scheme: &str| {
        challenges.iter().find_map(|text| {
            let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
            name.eq_ignore_ascii_case(scheme).then_some(rest)
        })
    };
    let header = if let Some(parameters) = offer("bearer") {
        format!("Bearer {}", token(http, parameters, place, reach, limits).await?)
    } else if let Some(credential) = place.credential.as_ref().filter(|_| offer("basic").is_some()) {
        basic(credential)
    } else {
        return Err(AuthorizationError::NoCredential);
    };
    sensitive(&header)
}

fn basic(credential: &Credential) -> String {
    let pair = format!("{}:{}", credential.user(), credential.password());
    format!("Basic {}", BASE64_STANDARD.encode(pair))
}

/// Kept out of logs.
fn sensitive(header: &str) -> Result<HeaderValue, AuthorizationError> {
    let mut header = HeaderValue::try_from(header).map_err(|_| AuthorizationError::NotText)?;
    header.set_sensitive(true);
    Ok(header)
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// Asks the service that the registry names for a token to read this repository with. Nothing is remembered: what one
/// request may read, another may not.
async fn token(
    http: &reqwest::Client,
    parameters: &str,
    place: &RepositoryPlace,
    reach: &RegistryReach,
    limits: &Limits,
) -> Result<String, AuthorizationError> {
    let realm = parameter(parameters, "realm").ok_or(AuthorizationError::NoRealm)?;
    let mut url: Url = realm.parse().map_err(|_| AuthorizationError::BadRealm)?;
    reach.token_from(&url)?;
    // What the registry wrote behind the host is repeated nowhere.
    let realm = shown(&url);
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = parameter(parameters, "service") {
            query.append_pair("service", service);
        }
        query.append_pair("scope", &format!("repository:{}:pull", place.repository));
    }
    let mut request = http.get(url);
    if let Some(credential) = &place.credential {
        request = request.header(AUTHORIZATION, sensitive(&basic(credential))?);
    }
    let failed =
        |error: reqwest::Error| AuthorizationError::Unreachable(realm.clone(), causes(&error.without_url()));
    let instead = |what: String| AuthorizationError::NoToken { realm: realm.clone(), what };
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status();
    if !status.is_success() {
        return Err(instead(format!("answers {status}")));
    }
    let (mut bytes, mut pace) = (Vec::new(), TransferPace::new(limits));
    while let Some(piece) = response.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&piece);
        if !pace.keeps_up(piece.len()) {
            return Err(instead("answers too slowly".to_owned()));
        }
        if bytes.len() > TOKEN_LIMIT {
            return Err(instead(format!("answers more than {TOKEN_LIMIT} bytes")));
        }
    }
    let token: Token =
        serde_json::from_slice(&bytes).map_err(|_| instead("answers no JSON token".to_owned()))?;
    token.token.or(token.access_token).ok_or_else(|| instead("gave no token".to_owned()))
}

/// A quoted parameter of a challenge.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    let start = format!("{name}=\"");
    let at = parameters.match_indices(&start).find(|(at, _)| {
        *at == 0 || parameters.as_bytes().get(at - 1).is_some_and(|byte| matches!(byte, b',' | b' '))
    })?;
    parameters.get(at.0 + start.len()..)?.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_a_challenge_are_told_apart() {
        let text = r#"realm="https://auth.example/token",service="a b",scope="repository:x:pull""#;
        assert_eq!(parameter(text, "realm"), Some("https://auth.example/token"));
        assert_eq!(parameter(text, "service"), Some("a b"));
        assert_eq!(parameter(text, "cope"), None);
        assert_eq!(parameter("", "realm"), None);
    }
}
