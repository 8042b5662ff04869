//! Connection to the API server, shared by all requests and watches.
//!
//! kube's client speaks HTTP/1.1, with a connection for each watch. This one speaks HTTP/2, and HTTP/1.1 only with
//! servers without HTTP/2 (`negotiate`). Everything else is left to kube, except for tokens in files (`token`).

mod dial;
mod failure_text;
mod negotiate;
mod pings;
mod token;

use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Builder;
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::{Config, Error};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tower::retry::RetryLayer;
use tower::util::BoxService;
use tower::{BoxError, Service, ServiceBuilder};

use dial::Dial;
pub use failure_text::{innermost, why};
use negotiate::Negotiate;
pub use pings::Pings;
use token::TokenFile;

/// Limit of connecting, including TLS; for HTTP/1.1 also of a blocked write. kube's defaults are longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// HTTP/2 windows, in bytes: a watch that is not read must not block other responses of the connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 256 << 20;

/// Service that sends requests.
pub type ApiService = BoxService<Request<Body>, Response<Incoming>, BoxError>;

/// Returns a client builder for a configuration without proxy, to which layers may be added.
pub fn client(config: &Config, pings: Pings) -> Result<ClientBuilder<ApiService>, Error> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    client_over(config, connector, pings)
}

/// Returns a client builder that uses a connector, with the errors of [`client`].
pub fn client_over<H>(config: &Config, connector: H, pings: Pings) -> Result<ClientBuilder<ApiService>, Error>
where
    H: Service<Uri> + Clone + Send + Sync + 'static,
    H::Response: Connection + Read + Write + Send + Unpin + 'static,
    H::Future: Send + 'static,
    H::Error: Into<BoxError> + Send + Sync + std::error::Error + 'static,
{
    if let Some(proxy) = &config.proxy_url {
        return Err(Error::ProxyProtocolDisabled {
            proxy_url: Box::new(proxy.clone()),
            protocol_feature: "kube/http-proxy",
        });
    }
    if CryptoProvider::get_default().is_none() {
        // Fails only if another thread has installed one meanwhile.
        let _there_is_one = aws_lc_rs::default_provider().install_default();
    }
    let mut config = config.clone();
    let token = TokenFile::take(&mut config)?;
    let config = &config;
    let shared = Dial::new(config, connector.clone(), CONNECT_TIMEOUT)?;
    let shared = Builder::new(TokioExecutor::new())
        .http2_only(true)
        .timer(TokioTimer::new())
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(pings.interval)
        .http2_keep_alive_timeout(pings.timeout)
        .http2_keep_alive_while_idle(true)
        // By default the pool forgets a connection without requests for 90 seconds, although watches still use it.
        // Pings detect a dead connection.
        .pool_idle_timeout(None)
        .build(shared);
    let mut single =
        hyper_timeout::TimeoutConnector::new(config.rustls_https_connector_with_connector(connector)?);
    single.set_connect_timeout(Some(CONNECT_TIMEOUT));
    single.set_write_timeout(Some(CONNECT_TIMEOUT));
    single.set_read_timeout(config.read_timeout);
    let single = Builder::new(TokioExecutor::new()).build(single);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.default_retry.then_some(RetryLayer::new(RetryPolicy::server_retry())))
        .option_layer(config.auth_layer()?)
        .option_layer(token.map(|token| token.telling()))
        .layer(config.extra_headers_layer()?)
        .service(Negotiate::new(shared, single));
    Ok(ClientBuilder::new(BoxService::new(service), config.default_namespace.clone()))
}
