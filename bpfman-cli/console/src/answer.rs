//! Answers, with headers that keep a browser from doing more with a page than showing it.

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

/// Allows only content from this server, none of it inline; forbids requests to other hosts, framing, forms.
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

#[derive(Debug)]
pub struct ConsoleAnswer {
    pub(crate) response: Response<PageBody>,
}

/// Refusal of a request, which a page shows instead of the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleRefusal {
    pub status: StatusCode,
    /// Kind of refusal, one word for pages and scripts: `denied`, `unreachable`, `no-session`.
    pub reason: String,
    /// Text of the error: the action, its object and the reason.
    pub message: String,
    /// Next steps; may be empty.
    pub hint: String,
}

impl ConsoleAnswer {
    /// Creates an answer from a value as JSON.
    pub fn json(value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(text) => Self::of(StatusCode::OK, "application/json", text.into()),
            Err(error) => {
                ConsoleRefusal::internal(format!("the answer cannot be written as JSON: {error}")).into()
            }
        }
    }

    /// Creates an answer from JSON text, with its status.
    #[must_use]
    pub fn json_text(status: StatusCode, text: Bytes) -> Self {
        Self::of(status, "application/json", text)
    }

    /// Creates an answer from a file of the page.
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

    #[must_use]
    pub fn into_response(self) -> Response<PageBody> {
        self.response
    }
}

/// Adds the headers that all answers have. Browsers cache nothing, because pages and facts change.
pub fn with_headers(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

impl ConsoleRefusal {
    /// Creates a refusal without next steps.
    pub fn new(status: StatusCode, reason: &str, message: impl Into<String>) -> Self {
        Self { status, reason: reason.to_owned(), message: message.into(), hint: String::new() }
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Creates the refusal of an unknown path.
    pub fn not_found(path: &str) -> Self {
        let shown: String = path.chars().take(80).collect();
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("there is nothing at {shown:?}"))
    }

    /// Creates the refusal of an invalid request (status 400), which would fail again if repeated unchanged.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// Creates the refusal for a fault of the server.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// Returns the JSON form, for an answer or for an event of a stream.
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

#[derive(Debug)]
pub enum PageBody {
    Whole(Full<Bytes>),
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
