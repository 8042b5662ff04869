//! The token by which the kubeconfig's user is known, to be passed on to the controller.

use std::path::Path;

use http::{Request, Response};
use kube::Config;
use kube::client::{Body, ConfigExt as _};
use tower::{Layer as _, ServiceExt as _};

use crate::client::error::ClientError;

/// The token that requests of this configuration carry, whatever makes it: a file, a program, a login.
pub async fn of(config: &Config) -> Result<String, ClientError> {
    let unusable = |error: &dyn std::fmt::Display| ClientError::Configuration(error.to_string());
    let Some(layer) = config.auth_layer().map_err(|error| unusable(&error))? else {
        return Err(ClientError::NoToken);
    };
    // What would be sent is looked at, and sent nowhere.
    let seen = tower::service_fn(|request: Request<Body>| async move {
        let mut response = Response::new(Body::empty());
        if let Some(value) = request.headers().get(http::header::AUTHORIZATION) {
            response.headers_mut().insert(http::header::AUTHORIZATION, value.clone());
        }
        Ok::<_, tower::BoxError>(response)
    });
    let answered = layer.layer(seen).oneshot(Request::new(Body::empty())).await;
    let answered = answered.map_err(|error| unusable(&error))?;
    let header = answered.headers().get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    header.and_then(|header| header.strip_prefix("Bearer ")).map(str::to_owned).ok_or(ClientError::NoToken)
}

/// A token that the user made.
pub fn from_file(file: &Path) -> Result<String, ClientError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| ClientError::Configuration(format!("{}: {error}", file.display())))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ClientError::Configuration(format!("{} holds no token", file.display())));
    }
    Ok(token.to_owned())
}
