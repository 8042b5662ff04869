//! Answers, each with what forbids a browser to do more with a page than to show it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use serde::Serialize;
use serde_json::json;

use crate::stream::EventBody;

/// Scripts, styles and pictures come from the server itself, none is in the page, nothing is sent elsewhere, and no other
/// page shows this one in a frame.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

const HEADERS: [(&str, &str); 6] = [
    ("content-security-policy", CONTENT_POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// An answer to a request.
#[derive(Debug)]
pub struct ConsoleAnswer {
    /// Code and reason are in one place: [`ConsoleRefusal`] has those that are not 200.
    pub(crate) response: Response<PageBody>,
}

/// Why something is not answered: what a page shows in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleRefusal {
    /// The code of HTTP.
    pub status: StatusCode,
    /// One word that pages and scripts tell kinds of refusals apart by: `denied`, `unreachable`, `no-session`.
    pub reason: String,
    /// What, on what, and why.
    pub message: String,
    /// What to do next; may be empty.
    pub hint: String,
}

impl ConsoleAnswer {
    /// A value as JSON.
    pub fn json(value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(text) => Self::of(StatusCode::OK, "application/json", text.into()),
            Err(error) => {
                ConsoleRefusal::internal(format!("the answer cannot be written as JSON: {error}")).into()
            }
        }
    }

    /// JSON that is there already, with the code that goes with it.
    #[must_use]
    pub fn json_text(status: StatusCode, text: Bytes) -> Self {
        Self::of(status, "application/json", text)
    }

    /// A part of the page.
    #[must_use]
    pub fn part(content_type: &'static str, bytes: &'static [u8]) -> Self {
        Self::of(StatusCode::OK, content_type, Bytes::from_static(bytes))
    }

    pub(crate) fn events(body: EventBody) -> Self {
        Self::whole(StatusCode::OK, "text/event-stream", PageBody::Events(body))
    }

    pub(crate) fn with_cookie(mut self, cookie: HeaderValue) -> Self {
        self.response.headers_mut().insert(http::header::SET_COOKIE, cookie);
        self
    }

    fn of(status: StatusCode, content_type: &'static str, bytes: Bytes) -> Self {
        Self::whole(status, content_type, PageBody::Whole(Full::new(bytes)))
    }

    fn whole(status: StatusCode, content_type: &'static str, body: PageBody) -> Self {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        with_headers(headers);
        Self { response }
    }

    /// The answer as HTTP has it.
    #[must_use]
    pub fn into_response(self) -> Response<PageBody> {
        self.response
    }
}

/// Adds what every answer carries: see `CONTENT_POLICY`. Nothing is kept by browsers: pages are of this version, facts of
/// now.
pub fn with_headers(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

impl ConsoleRefusal {
    /// A refusal with nothing to do about it.
    pub fn new(status: StatusCode, reason: &str, message: impl Into<String>) -> Self {
        Self { status, reason: reason.to_owned(), message: message.into(), hint: String::new() }
    }

    /// The same with what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Nothing is at this path.
    pub fn not_found(path: &str) -> Self {
        let shown: String = path.chars().take(80).collect();
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("there is nothing at {shown:?}"))
    }

    /// A request that can never be answered as it is.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// A fault of the server.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// As it is told: in an answer, or in an event of a stream.
    #[must_use]
    pub fn told(&self) -> serde_json::Value {
        json!({ "reason": self.reason, "message": self.message, "hint": self.hint })
    }
}

impl From<ConsoleRefusal> for ConsoleAnswer {
    fn from(refusal: ConsoleRefusal) -> Self {
        let text = json!({ "error": refusal.told() }).to_string();
        Self::of(refusal.status, "application/json", text.into())
    }
}

/// What an answer consists of.
#[derive(Debug)]
pub enum PageBody {
    /// All at once.
    Whole(Full<Bytes>),
    /// Event after event.
    Events(EventBody),
}

impl Body for PageBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context),
            Self::Events(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Events(_) => SizeHint::default(),
        }
    }
}
