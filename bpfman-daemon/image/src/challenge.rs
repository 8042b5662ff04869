//! What to answer a registry that wants to know who asks: a password, or a token fetched with it.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bpfman_image_format::{Credential, ImageReference, causes};
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use crate::Limits;
use crate::registry::USER_AGENT;

/// The `Authorization` header for a registry that answered 401 with these headers; the error says why there is
/// none.
pub(crate) async fn answer(
    headers: &HeaderMap,
    image: &ImageReference,
    credential: Option<&Credential>,
    limits: Limits,
) -> Result<HeaderValue, String> {
    let challenges: Vec<&str> =
        headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).collect();
    let offers = |scheme: &str| {
        challenges
            .iter()
            .any(|text| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
    };
    let header = if offers("bearer ") {
        for realm in challenges.iter().filter_map(|text| realm(text)) {
            if !realm.starts_with("https://") && !image.is_loopback() {
                return Err(format!("it wants credentials sent to {realm}, without TLS"));
            }
        }
        format!("Bearer {}", token(image, credential, limits).await?)
    } else if let Some(credential) = credential.filter(|_| offers("basic ")) {
        let pair = format!("{}:{}", credential.user(), credential.password());
        format!("Basic {}", BASE64_STANDARD.encode(pair))
    } else {
        return Err("it wants a user and a password, and none were given".to_owned());
    };
    let mut header = HeaderValue::try_from(header).map_err(|_| "its token is not text".to_owned())?;
    header.set_sensitive(true);
    Ok(header)
}

/// The token handshake of oci-client, with a client of its own: it remembers credentials by host.
async fn token(
    image: &ImageReference,
    credential: Option<&Credential>,
    limits: Limits,
) -> Result<String, String> {
    let protocol = if image.is_loopback() {
        ClientProtocol::HttpsExcept(vec![image.registry().to_owned()])
    } else {
        ClientProtocol::Https
    };
    let config = ClientConfig {
        protocol,
        connect_timeout: Some(limits.connect_timeout),
        read_timeout: Some(limits.read_timeout),
        user_agent: USER_AGENT,
        ..ClientConfig::default()
    };
    // Not `Client::new`: it would go on with a default configuration when this one fails.
    let client = oci_client::Client::try_from(config).map_err(|error| causes(&error))?;
    let auth = match credential {
        Some(credential) => {
            RegistryAuth::Basic(credential.user().to_owned(), credential.password().to_owned())
        }
        None => RegistryAuth::Anonymous,
    };
    let (registry, repository) = (image.registry().to_owned(), image.repository().to_owned());
    let place = oci_client::Reference::with_tag(registry, repository, "latest".to_owned());
    let token = client.auth(&place, &auth, oci_client::RegistryOperation::Pull).await;
    token.map_err(|error| causes(&error))?.ok_or_else(|| "it gave no token".to_owned())
}

fn realm(challenge: &str) -> Option<&str> {
    challenge.split_once("realm=\"")?.1.split('"').next()
}
