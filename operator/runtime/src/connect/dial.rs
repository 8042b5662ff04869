use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::rt::{Read, Write};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::Connection;
use kube::client::{ConfigExt as _, RustlsTlsError};
use kube::{Config, Error};
use thiserror::Error;
use tower::{BoxError, Service};

#[derive(Debug, Error)]
pub enum DialError {
    #[error("the server speaks no HTTP/2")]
    NoHttp2,
    #[error("no connection within {0:?}: is the API server reachable from here?")]
    TooLong(Duration),
}

#[derive(Clone)]
pub struct Dial<H> {
    inner: HttpsConnector<H>,
    patience: Duration,
}

impl<H> Dial<H> {
    /// HTTP/1.1 is offered too: some servers answer an unsupported protocol with an alert, which would hide the reason.
    pub fn new(config: &Config, connector: H, patience: Duration) -> Result<Self, Error> {
        let mut builder =
            HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_or_http();
        if let Some(name) = &config.tls_server_name {
            let name = name.clone().try_into();
            let name = name.map_err(|error| Error::RustlsTls(RustlsTlsError::InvalidServerName(error)))?;
            builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
        }
        let inner = builder.enable_http1().enable_http2().wrap_connector(connector);
        Ok(Self { inner, patience })
    }
}

impl<H> Service<Uri> for Dial<H>
where
    H: Service<Uri>,
    H::Response: Connection + Read + Write + Send + Unpin + 'static,
    H::Future: Send + 'static,
    H::Error: Into<BoxError>,
{
    type Response = MaybeHttpsStream<H::Response>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (patience, connecting) = (self.patience, self.inner.call(uri));
        Box::pin(async move {
            let made = tokio::time::timeout(patience, connecting).await;
            let stream = made.map_err(|_| DialError::TooLong(patience))??;
            if !stream.connected().is_negotiated_h2() {
                return Err(DialError::NoHttp2.into());
            }
            Ok(stream)
        })
    }
}
