//! Answers to a registry's authentication challenge: a password, or a token fetched with it.

use bpfman_image_format::{Challenge, causes};
use bpfman_registry::TokenAnswer;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use bpfmand_image::messages::RepositoryPlace;
use bpfmand_image::{AuthorizationError, Limits};

use super::pace::TransferPace;
use super::reach::{RegistryReach, shown};
use super::refusal;

const TOKEN_LIMIT: usize = 64 << 10;

pub(crate) async fn answer(
    http: &reqwest::Client,
    headers: &HeaderMap,
    place: &RepositoryPlace,
    reach: &RegistryReach,
    limits: &Limits,
) -> Result<HeaderValue, AuthorizationError> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let challenges = Challenge::read(texts);
    let offers_basic = Challenge::of_scheme(&challenges, "basic").is_some();
    let header = match (Challenge::of_scheme(&challenges, "bearer"), &place.credential) {
        (Some(bearer), Some(credential)) if bearer.parameter("realm").is_none() && offers_basic => {
            credential.basic()
        }
        (Some(bearer), _) => format!("Bearer {}", token(http, bearer, place, reach, limits).await?),
        (None, Some(credential)) if offers_basic => credential.basic(),
        (None, _) => return Err(AuthorizationError::NoCredential),
    };
    sensitive(&header)
}

/// Keeps the header out of logs.
fn sensitive(header: &str) -> Result<HeaderValue, AuthorizationError> {
    let mut header = HeaderValue::try_from(header).map_err(|_| AuthorizationError::NotText)?;
    header.set_sensitive(true);
    Ok(header)
}

/// Tokens are not cached: requests of different callers have different rights.
async fn token(
    http: &reqwest::Client,
    challenge: &Challenge,
    place: &RepositoryPlace,
    reach: &RegistryReach,
    limits: &Limits,
) -> Result<String, AuthorizationError> {
    let realm = challenge.parameter("realm").ok_or(AuthorizationError::NoRealm)?;
    let mut url: Url = realm.parse().map_err(|_| AuthorizationError::BadRealm)?;
    reach.token_from(&url)?;
    // The registry controls the rest of the address.
    let realm = shown(&url);
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = challenge.parameter("service") {
            query.append_pair("service", service);
        }
        query.append_pair("scope", &format!("repository:{}:pull", place.repository));
    }
    let mut request = http.get(url);
    if let Some(credential) = &place.credential {
        request = request.header(AUTHORIZATION, sensitive(&credential.basic())?);
    }
    let failed =
        |error: reqwest::Error| AuthorizationError::Unreachable(realm.clone(), causes(&error.without_url()));
    let instead = |what: String| AuthorizationError::NoToken { realm: realm.clone(), what };
    let mut response = request.send().await.map_err(failed)?;
    if !response.status().is_success() {
        return Err(instead(format!("answers {}", refusal::read(response, limits).await)));
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
    TokenAnswer::read(&bytes).ok_or_else(|| instead("gives no token".to_owned()))
}
