//! HTTP/1.1 server with limits on connections, and on the size and the duration of requests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::answer::{ConsoleAnswer, ConsoleRefusal, PageBody};
use crate::users::has_more_than_share;
use crate::write_timeout::TimedConnection;

/// Maximum number of connections: browsers open six.
const CONNECTIONS: usize = 64;

/// Number of free slots above which users are not looked up: a lookup lists all connections of the machine.
const PLENTY: usize = 48;

/// Maximum size of a request's head, in bytes: hyper answers 431 to larger ones.
const MAX_HEAD: usize = 16 * 1024;

const MAX_BODY: usize = 4 * 1024;

/// Time limit of a head (also that of an idle connection), of a body, and of a write.
const IO_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for running requests when the server stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

pub trait ConsoleHandler: Send + Sync + 'static {
    /// Answers one request with a complete body.
    fn handle(&self, request: Request<Bytes>) -> impl Future<Output = ConsoleAnswer> + Send;
}

/// Serves until `stop` is ready, and then closes all connections.
pub async fn serve<H: ConsoleHandler>(
    handler: Arc<H>,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let (end, ended) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // Checked one at a time, before acquiring a slot: a pending check takes no slot from others.
                    if places.available_permits() <= PLENTY && !has_share(&stream, peer).await {
                        continue;
                    }
                    // If there are too many connections, close the newest: each open one ends within its time limit.
                    if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                        let (handler, ended) = (Arc::clone(&handler), ended.clone());
                        connections.spawn(async move {
                            connection(handler, stream, ended).await;
                            drop(place);
                        });
                    }
                },
                // Pause: the error would repeat at once, for example without free descriptors.
                Err(_) => sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let _all_gone = end.send(true);
    let _in_time =
        timeout(SHUTDOWN_TIMEOUT, async { while connections.join_next().await.is_some() {} }).await;
}

/// Returns whether the peer's user has at most its share of the connections; true if users are unknown.
async fn has_share(stream: &TcpStream, peer: SocketAddr) -> bool {
    let Ok(own) = stream.local_addr() else { return false };
    let asked = spawn_blocking(move || has_more_than_share(own, peer)).await;
    !matches!(asked, Ok(Ok(true)))
}

async fn connection<H: ConsoleHandler>(
    handler: Arc<H>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    mut ended: watch::Receiver<bool>,
) {
    let service = service_fn(move |request| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(respond(&*handler, request).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(IO_TIMEOUT).max_buf_size(MAX_HEAD);
    let stream = TimedConnection::new(stream, IO_TIMEOUT);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // Errors of a connection are not reported: only the browser could use them.
        _closed = &mut connection => return,
        _ = ended.wait_for(|ended| *ended) => connection.as_mut().graceful_shutdown(),
    }
    let _closed = connection.await;
}

async fn respond<H: ConsoleHandler>(handler: &H, request: Request<Incoming>) -> Response<PageBody> {
    let (head, body) = request.into_parts();
    let answer = match timeout(IO_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => handler.handle(Request::from_parts(head, body.to_bytes())).await,
        Ok(Err(_)) => {
            let message = format!("a request may bring at most {MAX_BODY} bytes along");
            ConsoleRefusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message).into()
        }
        Err(_) => {
            let message = format!("the request did not come within {} s", IO_TIMEOUT.as_secs());
            ConsoleRefusal::new(StatusCode::REQUEST_TIMEOUT, "too-slow", message).into()
        }
    };
    answer.into_response()
}
