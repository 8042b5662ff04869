//! Fallback from HTTP/2 to HTTP/1.1, by two clients: one for both opens a connection for each request.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connect;
use kube::client::Body;
use tower::{BoxError, Service};

use super::dial::DialError;

/// Lifetime of the result, since a proxy in front of the server may be removed.
const KNOWN_FOR: Duration = Duration::from_secs(600);

#[derive(Clone)]
pub struct Negotiate<Shared, Single> {
    shared: Client<Shared, Body>,
    single: Client<Single, Body>,
    no_http2: Arc<Mutex<Option<Instant>>>,
}

impl<Shared, Single> Negotiate<Shared, Single> {
    pub fn new(shared: Client<Shared, Body>, single: Client<Single, Body>) -> Self {
        Self { shared, single, no_http2: Arc::default() }
    }

    fn speaks_no_http2(&self) -> bool {
        let known = *self.no_http2.lock().unwrap_or_else(PoisonError::into_inner);
        known.is_some_and(|at| at.elapsed() < KNOWN_FOR)
    }

    fn learned(&self) {
        let known = self.no_http2.lock().unwrap_or_else(PoisonError::into_inner).replace(Instant::now());
        if known.is_none() {
            tracing::warn!(
                "the API server, or a proxy before it, speaks no HTTP/2: each watch takes a connection"
            );
        }
    }
}

impl<Shared, Single> Service<Request<Body>> for Negotiate<Shared, Single>
where
    Shared: Connect + Clone + Send + Sync + 'static,
    Single: Connect + Clone + Send + Sync + 'static,
{
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            if this.speaks_no_http2() {
                return Ok(this.single.request(request).await?);
            }
            let (parts, body) = request.into_parts();
            // Keep a copy of the request for a retry, if its body is in memory, as bodies of kube are.
            let again = body.try_clone().map(|body| Request::from_parts(parts.clone(), body));
            let request = Request::from_parts(parts, body);
            match this.shared.request(request).await {
                Err(error) if refused(&error) => {
                    this.learned();
                    // A retry is safe: without a connection, nothing was sent.
                    match again {
                        Some(again) => Ok(this.single.request(again).await?),
                        None => Err(error.into()),
                    }
                }
                answer => Ok(answer?),
            }
        })
    }
}

fn refused(error: &(dyn StdError + 'static)) -> bool {
    let mut reason = Some(error);
    while let Some(error) = reason {
        if let Some(DialError::NoHttp2) = error.downcast_ref() {
            return true;
        }
        reason = error.source();
    }
    false
}
