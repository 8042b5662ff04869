//! Counters of requests to the API server and of their bytes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::BodyExt as _;
use http_body_util::combinators::MapFrame;
use hyper::body::{Body as _, Bytes, Frame};
use hyper::{Method, Request, Response};
use kube::client::Body;
use tower::layer::layer_fn;
use tower::{BoxError, Layer, Service};

use crate::metrics::{Counter, Counters};

/// Counters of a client.
#[derive(Debug, Default)]
pub struct Requests {
    /// Requests by verb: `GET`, `LIST`, `WATCH`, `POST`, `PATCH`, `DELETE`.
    pub sent: Counters,
    /// Bytes of request bodies.
    pub sent_bytes: Counter,
    /// Bytes of response bodies.
    pub received_bytes: Counter,
    /// Error responses by status code; `0` if there was no response.
    pub errors: Counters,
}

/// Returns a layer that counts the requests of a client.
pub fn count<S>(requests: &Arc<Requests>) -> impl Layer<S, Service = CountedService<S>> + use<S> {
    let requests = Arc::clone(requests);
    layer_fn(move |inner| CountedService { inner, requests: Arc::clone(&requests) })
}

/// Client whose requests are counted.
#[derive(Clone, Debug)]
pub struct CountedService<S> {
    inner: S,
    requests: Arc<Requests>,
}

impl<S, B> Service<Request<Body>> for CountedService<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Response = Response<CountedBody<B>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let requests = Arc::clone(&self.requests);
        requests.sent.add(verb(request.method(), request.uri()), 1);
        // The size is exact, because request bodies are in memory.
        requests.sent_bytes.add(request.body().size_hint().lower());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await.map_err(Into::into).inspect_err(|_| requests.errors.add("0", 1))?;
            let status = answer.status();
            if status.is_client_error() || status.is_server_error() {
                requests.errors.add(status.as_str(), 1);
            }
            Ok(answer.map(|inner| counted(inner, requests)))
        })
    }
}

pub(crate) fn is_watch(method: &Method, uri: &hyper::Uri) -> bool {
    *method == Method::GET
        && uri.query().unwrap_or_default().split('&').any(|pair| pair.starts_with("watch="))
}

fn verb<'a>(method: &'a Method, uri: &hyper::Uri) -> &'a str {
    if *method != Method::GET {
        return method.as_str();
    }
    if is_watch(method, uri) {
        "WATCH"
    } else if names_one(uri.path()) {
        "GET"
    } else {
        "LIST"
    }
}

/// Returns whether a path names an object: `/api/VERSION/` or `/apis/GROUP/VERSION/`, optionally
/// `namespaces/NAME/`, then kind and name.
fn names_one(path: &str) -> bool {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let skip = if parts.next() == Some("apis") { 2 } else { 1 };
    let rest: Vec<_> = parts.skip(skip).collect();
    let rest = match rest[..] {
        ["namespaces", _, _, ..] => &rest[2..],
        _ => &rest[..],
    };
    rest.len() != 1
}

/// Response body whose bytes are counted as they arrive.
pub type CountedBody<B> = MapFrame<B, Box<dyn FnMut(Frame<Bytes>) -> Frame<Bytes> + Send>>;

fn counted<B: hyper::body::Body<Data = Bytes>>(body: B, requests: Arc<Requests>) -> CountedBody<B> {
    body.map_frame(Box::new(move |frame| {
        requests.received_bytes.add(frame.data_ref().map_or(0, Bytes::len) as u64);
        frame
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::convert::Infallible;

    use super::*;

    #[test]
    fn verbs_are_those_of_kubernetes() {
        for (path, wanted) in [
            ("/api/v1/pods?fieldSelector=spec.nodeName%3Da", "LIST"),
            ("/api/v1/namespaces/shop/pods", "LIST"),
            ("/api/v1/namespaces/shop", "GET"),
            ("/api/v1/namespaces/shop/secrets/pull", "GET"),
            ("/apis/apps/v1/namespaces/shop/controllerrevisions/r-1", "GET"),
            ("/apis/bpfman.io/v1alpha1/clusterbpfapplications?watch=true", "WATCH"),
            ("/apis/bpfman.io/v1alpha1/clusterbpfapplications/watch", "GET"),
        ] {
            assert_eq!(verb(&Method::GET, &path.parse().unwrap()), wanted, "{path}");
        }
        assert_eq!(verb(&Method::PATCH, &"/api/v1/pods".parse().unwrap()), "PATCH");
    }

    #[tokio::test]
    async fn requests_and_bytes_are_counted_by_verb() {
        let requests = Arc::new(Requests::default());
        let echo = tower::service_fn(|request: Request<Body>| async move {
            let status = if request.method() == Method::PATCH { 409 } else { 200 };
            let answer = Response::builder().status(status).body(Body::from(b"four".to_vec())).unwrap();
            Ok::<_, Infallible>(answer)
        });
        let mut client = count(&requests).layer(echo);
        for (method, uri) in [
            ("GET", "/apis/bpfman.io/v1alpha1/x?watch=true&timeoutSeconds=9"),
            ("GET", "/apis/bpfman.io/v1alpha1/x?limit=500"),
            ("GET", "/apis/bpfman.io/v1alpha1/x/watch"),
            ("PATCH", "/apis/bpfman.io/v1alpha1/x/name/status"),
        ] {
            let request =
                Request::builder().method(method).uri(uri).body(Body::from(b"123456".to_vec())).unwrap();
            let answer = client.call(request).await.unwrap();
            let whole = axum::body::to_bytes(axum::body::Body::new(answer.into_body()), 9).await.unwrap();
            assert_eq!(&whole[..], b"four");
        }
        let counts: Vec<_> = requests.sent.all().into_iter().collect();
        let wanted = [("GET", 1), ("LIST", 1), ("PATCH", 1), ("WATCH", 1)];
        assert_eq!(counts, wanted.map(|(verb, count)| ([verb.to_owned()], count)));
        assert_eq!((requests.sent_bytes.get(), requests.received_bytes.get()), (24, 16));
        assert_eq!(requests.errors.all().into_iter().collect::<Vec<_>>(), [(["409".to_owned()], 1)]);
    }
}
