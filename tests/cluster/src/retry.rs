//! Retries of requests: if a busy API server asks for it, or if the connection failed before data was sent.

use std::time::Duration;

use http::{Request, Response, StatusCode, header};
use kube::client::Body;
use tower::BoxError;
use tower::retry::Policy;

const MAX_REPEATS: usize = 10;

const BETWEEN_CONNECTIONS: Duration = Duration::from_millis(200);

/// Retry policy for responses with a `Retry-After` header, and for failed connections. All other responses are final.
#[derive(Clone, Debug, Default)]
pub struct AsAsked {
    sent: usize,
}

impl<Answer> Policy<Request<Body>, Response<Answer>, BoxError> for AsAsked {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        _: &mut Request<Body>,
        result: &mut Result<Response<Answer>, BoxError>,
    ) -> Option<Self::Future> {
        let wait = match result {
            Ok(answer) => wait(answer)?,
            Err(error) => {
                error
                    .downcast_ref::<hyper_util::client::legacy::Error>()
                    .filter(|error| error.is_connect())?;
                eprintln!("no connection, tried again: {error:?}");
                BETWEEN_CONNECTIONS
            }
        };
        self.sent += 1;
        (self.sent <= MAX_REPEATS).then(|| tokio::time::sleep(wait))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let mut again = Request::new(request.body().try_clone()?);
        again.method_mut().clone_from(request.method());
        again.uri_mut().clone_from(request.uri());
        again.headers_mut().clone_from(request.headers());
        again.extensions_mut().clone_from(request.extensions());
        Some(again)
    }
}

fn wait<Answer>(answer: &Response<Answer>) -> Option<Duration> {
    let busy = answer.status() == StatusCode::TOO_MANY_REQUESTS || answer.status().is_server_error();
    let seconds = answer.headers().get(header::RETRY_AFTER).filter(|_| busy)?;
    Some(Duration::from_secs(seconds.to_str().ok()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<&str>) -> Response<()> {
        let answer = Response::builder().status(status);
        let answer = retry_after.into_iter().fold(answer, |answer, text| answer.header("Retry-After", text));
        answer.body(()).unwrap()
    }

    #[test]
    fn only_what_the_server_asks_for_is_sent_again() {
        assert_eq!(wait(&answer(429, Some("1"))), Some(Duration::from_secs(1)));
        assert_eq!(wait(&answer(504, Some("2"))), Some(Duration::from_secs(2)));
        for (status, after) in
            [(429, None), (503, None), (403, Some("1")), (200, Some("1")), (500, Some("soon"))]
        {
            assert_eq!(wait(&answer(status, after)), None, "{status}, {after:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_sent_again_until_the_server_has_time() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        use tower::ServiceExt as _;

        for (busy_for, status, sent) in [(3, 200, 4), (MAX_REPEATS + 5, 429, MAX_REPEATS + 1)] {
            let asked = AtomicUsize::new(0);
            let server = tower::service_fn(|request: Request<Body>| {
                assert_eq!((request.uri().path(), &request.headers()["x"]), ("/a", &"y".parse().unwrap()));
                let busy = asked.fetch_add(1, Ordering::Relaxed) < busy_for;
                async move { Ok::<_, BoxError>(if busy { answer(429, Some("1")) } else { answer(200, None) }) }
            });
            let client = tower::retry::Retry::new(AsAsked::default(), server);
            let request = Request::get("/a").header("x", "y").body(Body::from(b"body".to_vec())).unwrap();
            assert_eq!(client.oneshot(request).await.unwrap().status().as_u16(), status);
            assert_eq!(asked.load(Ordering::Relaxed), sent);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_not_made_is_tried_again() {
        use hyper_util::client::legacy::Client;
        use hyper_util::rt::{TokioExecutor, TokioIo};
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};
        use tower::ServiceExt;

        let tried = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&tried);
        let connector = tower::service_fn(move |_: http::Uri| {
            counted.fetch_add(1, Ordering::Relaxed);
            let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
            std::future::ready(Err::<TokioIo<tokio::net::TcpStream>, _>(refused))
        });
        let http = Client::builder(TokioExecutor::new()).build::<_, Body>(connector);
        let client = tower::retry::Retry::new(AsAsked::default(), ServiceExt::map_err(http, BoxError::from));
        let request = Request::get("http://127.0.0.1/").body(Body::empty()).unwrap();
        client.oneshot(request).await.unwrap_err();
        assert_eq!(tried.load(Ordering::Relaxed), MAX_REPEATS + 1);
    }
}
