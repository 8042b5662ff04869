//! Token of the kubeconfig's user. Login programs issue tokens for minutes, so that it is obtained for each request.

use std::path::{Path, PathBuf};
use std::pin::Pin;

use http::{Request, Response};
use kube::Config;
use kube::client::middleware::AuthLayer;
use kube::client::{Body, ConfigExt as _};
use tower::{Layer as _, ServiceExt as _};

use crate::client::error::ClientError;

pub enum UserToken {
    /// Credential of a file or program that kube reads, caches, and renews before it expires.
    Login(AuthLayer),
    File(PathBuf),
}

impl UserToken {
    pub fn of(config: &Config) -> Result<Self, ClientError> {
        let layer = config.auth_layer().map_err(|error| ClientError::Configuration(error.to_string()))?;
        layer.map(Self::Login).ok_or(ClientError::NoToken)
    }

    pub async fn now(&self) -> Result<String, ClientError> {
        match self {
            Self::Login(layer) => sent_by(layer).await,
            Self::File(file) => in_file(file).await,
        }
    }
}

async fn sent_by(layer: &AuthLayer) -> Result<String, ClientError> {
    // The request is inspected and not sent.
    let seen = tower::service_fn(|request: Request<Body>| async move {
        let mut response = Response::new(Body::empty());
        if let Some(value) = request.headers().get(http::header::AUTHORIZATION) {
            response.headers_mut().insert(http::header::AUTHORIZATION, value.clone());
        }
        Ok::<_, tower::BoxError>(response)
    });
    // The type is named because the compiler cannot prove that the layer's own future is `Send`.
    type Answered = Pin<Box<dyn Future<Output = Result<Response<Body>, tower::BoxError>> + Send>>;
    let answered: Answered = Box::pin(layer.layer(seen).oneshot(Request::new(Body::empty())));
    let answered = answered.await.map_err(|error| ClientError::Token(error.to_string()))?;
    let header = answered.headers().get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    header.and_then(|header| header.strip_prefix("Bearer ")).map(str::to_owned).ok_or(ClientError::NoToken)
}

async fn in_file(file: &Path) -> Result<String, ClientError> {
    let text = tokio::fs::read_to_string(file).await;
    let text = text.map_err(|error| ClientError::Token(format!("{}: {error}", file.display())))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ClientError::Token(format!("{} holds no token", file.display())));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_file_is_read_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let token = UserToken::File(folder.path().join("token"));
        assert!(token.now().await.unwrap_err().to_string().contains("/token: "));
        for text in ["first", "second"] {
            std::fs::write(folder.path().join("token"), format!("{text}\n")).unwrap();
            assert_eq!(token.now().await.unwrap(), text);
        }
        std::fs::write(folder.path().join("token"), "\n").unwrap();
        assert!(token.now().await.unwrap_err().to_string().contains("holds no token"));
    }

    #[tokio::test]
    async fn a_program_is_asked_again_when_its_token_has_expired() {
        let folder = tempfile::tempdir().unwrap();
        let asked = folder.path().join("asked");
        let credential = json!({
            "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
            "status": { "token": "NUMBER", "expirationTimestamp": "2020-01-01T00:00:00Z" },
        });
        let script = format!(
            "echo >> '{file}' && echo '{credential}' | sed \"s/NUMBER/token-$(wc -l < '{file}')/\"",
            file = asked.display()
        );
        let mut config = Config::new("https://192.0.2.1".parse().unwrap());
        let exec = json!({
            "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
            "interactiveMode": "Never",
        });
        config.auth_info = serde_json::from_value(json!({ "exec": exec })).unwrap();
        let token = UserToken::of(&config).unwrap();
        assert_eq!(token.now().await.unwrap(), "token-2");
        assert_eq!(token.now().await.unwrap(), "token-3");
        std::fs::remove_file(&asked).unwrap();
        std::fs::create_dir(&asked).unwrap();
        assert!(matches!(token.now().await, Err(ClientError::Token(_))));
    }

    #[test]
    fn user_without_token_gets_a_hint() {
        let config = Config::new("https://192.0.2.1".parse().unwrap());
        assert!(matches!(UserToken::of(&config), Err(ClientError::NoToken)));
    }
}
