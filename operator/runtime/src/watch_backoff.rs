//! Pause before a watch that the server ended early starts again.
//!
//! A server short of CPU time closes watches; each immediate restart makes it search all events since the
//! last one received (`docs/scale.md`). The end of a short watch is therefore delayed: half a second more for
//! each in a row, up to ten seconds.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::body::{Bytes, Frame, SizeHint};
use hyper::{Request, Response};
use kube::client::Body;
use tokio::time::Sleep;
use tower::layer::layer_fn;
use tower::{BoxError, Layer, Service};

use crate::backoff::jittered;
use crate::requests::is_watch;

/// Duration after which a watch counts as successful. Watches of agents last four minutes.
const LASTS: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_secs(10);

type ConsecutiveShortWatches = Arc<Mutex<HashMap<String, u32>>>;

/// Returns a layer that delays the end of short watches.
pub fn hold_early_ends<S>() -> impl Layer<S, Service = HoldingService<S>> {
    layer_fn(|inner| HoldingService { inner, in_a_row: ConsecutiveShortWatches::default() })
}

/// Client whose short watches end with a delay.
#[derive(Clone, Debug)]
pub struct HoldingService<S> {
    inner: S,
    in_a_row: ConsecutiveShortWatches,
}

impl<S, B> Service<Request<Body>> for HoldingService<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = Response<HoldingBody<B>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = is_watch(request.method(), request.uri()).then(|| request.uri().path().to_owned());
        let in_a_row = Arc::clone(&self.in_a_row);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await.map_err(Into::into)?;
            let watch = path.filter(|_| answer.status().is_success()).map(|path| Watch {
                path,
                in_a_row,
                begun: Instant::now(),
            });
            Ok(answer.map(|inner| HoldingBody { inner, watch, held: None }))
        })
    }
}

#[derive(Debug)]
struct Watch {
    path: String,
    in_a_row: ConsecutiveShortWatches,
    begun: Instant,
}

impl Watch {
    fn pause(&self) -> Option<Duration> {
        let mut in_a_row = self.in_a_row.lock().unwrap_or_else(PoisonError::into_inner);
        if self.begun.elapsed() >= LASTS {
            in_a_row.remove(&self.path);
            return None;
        }
        let count = in_a_row.entry(self.path.clone()).or_default();
        *count = count.saturating_add(1);
        Some(jittered(STEP.saturating_mul(*count).min(MAX_DELAY)))
    }
}

/// Response body whose end may be delayed.
#[derive(Debug)]
pub struct HoldingBody<B> {
    inner: B,
    watch: Option<Watch>,
    held: Option<Pin<Box<Sleep>>>,
}

impl<B: hyper::body::Body<Data = Bytes> + Unpin> hyper::body::Body for HoldingBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.held.is_none() {
            let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
            if frame.is_some() {
                return Poll::Ready(frame);
            }
            self.held = self
                .watch
                .take()
                .and_then(|watch| watch.pause())
                .map(|pause| Box::pin(tokio::time::sleep(pause)));
        }
        if let Some(pause) = &mut self.held {
            ready!(pause.as_mut().poll(context));
            self.held = None;
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.watch.is_none() && self.held.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::convert::Infallible;
    use std::future::poll_fn;

    use hyper::body::Body as _;

    use super::*;

    const WATCH: &str = "/apis/bpfman.io/v1alpha1/clusterbpfapplicationstates?watch=true";

    #[test]
    fn pauses_grow_until_a_watch_lasts_each_path_by_itself() {
        let in_a_row = ConsecutiveShortWatches::default();
        let pause = |path: &str, lasted| {
            let begun = Instant::now().checked_sub(Duration::from_secs(lasted)).unwrap();
            Watch { path: path.to_owned(), in_a_row: Arc::clone(&in_a_row), begun }.pause()
        };
        let near = |found: Option<Duration>, wanted: u128| {
            let found = found.unwrap().as_millis();
            assert!((wanted * 8 / 10..=wanted * 12 / 10).contains(&found), "{found} of {wanted}");
        };
        for count in 1..=25 {
            near(pause("/states", 29), (500 * count).min(10_000));
        }
        near(pause("/applications", 0), 500);
        assert_eq!(pause("/states", 30), None);
        near(pause("/states", 0), 500);
        near(pause("/applications", 0), 1000);
    }

    #[tokio::test]
    async fn only_the_end_of_a_watch_waits() {
        let server = tower::service_fn(|request: Request<Body>| async move {
            let status = if request.uri().path() == "/gone" { 410 } else { 200 };
            let body = Body::from(b"event".to_vec());
            Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
        });
        let mut client = hold_early_ends().layer(server);
        for uri in
            ["/apis/bpfman.io/v1alpha1/clusterbpfapplicationstates?limit=500", "/gone?watch=true", WATCH]
        {
            let request = Request::builder().uri(uri).body(Body::empty()).unwrap();
            let mut body = client.call(request).await.unwrap().into_body();
            assert_eq!(body.watch.is_some(), uri == WATCH, "{uri}");
            let begun = Instant::now();
            let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "event");
            assert_eq!(body.is_end_stream(), uri != WATCH, "{uri}");
            assert!(poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await.is_none());
            assert!(uri != WATCH || begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
        }
    }
}
