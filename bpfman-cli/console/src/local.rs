//! Console of one user on loopback.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::answer::{ConsoleAnswer, ConsoleRefusal};
use crate::assets::page;
use crate::guard::OwnNames;
use crate::request::ConsoleRequest;
use crate::serve::ConsoleHandler;
use crate::session::PageSession;
use crate::{ConsoleSource, assets};

/// Notice for the user's terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleNotice {
    /// A browser started the session.
    Opened,
    /// The token was used again: someone else may have it.
    TokenAgain,
}

impl ConsoleNotice {
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Opened => "a browser has opened the console",
            Self::TokenAgain => {
                "the address was opened a second time, and that was refused. If it was not you, somebody else has seen it: end \
                 this console with Ctrl-C"
            }
        }
    }
}

/// Pages, a session, and the source of data.
pub struct LocalConsole<S> {
    source: S,
    names: OwnNames,
    session: PageSession,
    address: SocketAddr,
    tell: fn(ConsoleNotice),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BeginSession {
    token: String,
}

impl<S: ConsoleSource> LocalConsole<S> {
    /// Creates a console at its listener's address. Fails if the kernel provides no random bytes.
    pub fn new(source: S, address: SocketAddr, tell: fn(ConsoleNotice)) -> std::io::Result<Self> {
        let session = PageSession::new(address.port(), Instant::now())?;
        Ok(Self { source, names: OwnNames::of(address), session, address, tell })
    }

    /// Returns the address with the token. Browsers do not send the part after `#`, so it appears in no log.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/#token={}", self.address, self.session.token())
    }

    async fn answer(&self, request: Request<Bytes>) -> Result<ConsoleAnswer, ConsoleRefusal> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        self.names.check(&head.headers, path == "/")?;
        let Some(api) = path.strip_prefix("/api/") else {
            let asset: &assets::Asset = page(path).ok_or_else(|| ConsoleRefusal::not_found(path))?;
            only(&head.method, &[Method::GET, Method::HEAD])?;
            return Ok(ConsoleAnswer::part(asset.content_type, asset.bytes));
        };
        only(&head.method, &[Method::GET, Method::POST])?;
        if api == "session" {
            only(&head.method, &[Method::POST])?;
            return self.begin(&body);
        }
        self.session.check(&head.headers)?;
        let request = ConsoleRequest {
            method: head.method,
            path: api.to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            body,
        };
        Ok(self.source.answer(request).await)
    }

    fn begin(&self, body: &[u8]) -> Result<ConsoleAnswer, ConsoleRefusal> {
        let sent: BeginSession = serde_json::from_slice(body).map_err(|error| {
            ConsoleRefusal::invalid(format!("the token is not sent as it should be: {error}"))
        })?;
        let begun = self.session.begin(&sent.token, Instant::now());
        match &begun {
            Ok(_) => (self.tell)(ConsoleNotice::Opened),
            Err(refusal) if refusal.reason == "token-used" => (self.tell)(ConsoleNotice::TokenAgain),
            Err(_) => {}
        }
        let (cookie, page_key) = begun?;
        Ok(ConsoleAnswer::json(&json!({ "page_key": page_key })).with_cookie(cookie))
    }
}

fn only(method: &Method, allowed: &[Method]) -> Result<(), ConsoleRefusal> {
    if allowed.contains(method) {
        return Ok(());
    }
    let message = format!("{method} is not answered here");
    Err(ConsoleRefusal::new(StatusCode::METHOD_NOT_ALLOWED, "invalid", message))
}

impl<S: ConsoleSource> ConsoleHandler for LocalConsole<S> {
    async fn handle(&self, request: Request<Bytes>) -> ConsoleAnswer {
        self.answer(request).await.unwrap_or_else(Into::into)
    }
}
