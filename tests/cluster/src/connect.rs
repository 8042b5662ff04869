//! Connections into a cluster's network namespace. A socket belongs to the namespace in which it was created: each
//! connection is made by a thread that enters it, so that a test can use several clusters at once.

use std::fs::File;
use std::future::Future;
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::{io, thread};

use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::{Body, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::oneshot;
use tower::retry::RetryLayer;
use tower::{Service, ServiceBuilder};

use crate::retry::AsAsked;

pub async fn client(netns: &Path, kubeconfig: Kubeconfig) -> Client {
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.default_namespace = "default".to_owned();
    let connector = config
        .rustls_https_connector_with_connector(Enter { netns: netns.to_owned() })
        .expect("TLS can be set up");
    let http = HttpClient::builder(TokioExecutor::new()).build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().unwrap())
        .layer(RetryLayer::new(AsAsked::default()))
        .map_err(tower::BoxError::from)
        .service(http);
    Client::new(service, config.default_namespace)
}

#[derive(Clone, Debug)]
struct Enter {
    netns: PathBuf,
}

impl<Uri: std::fmt::Display> Service<Uri> for Enter {
    type Response = TokioIo<tokio::net::TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // The URI is `https://127.0.0.1/path`, with a port unless it is 443.
        let uri = uri.to_string();
        let host =
            uri.split_once("://").map_or(&*uri, |(_, rest)| rest).split('/').next().unwrap_or_default();
        let address = if host.contains(':') { host.to_owned() } else { format!("{host}:443") };
        let netns = self.netns.clone();
        let (done, made) = oneshot::channel();
        thread::spawn(move || done.send(connect(&netns, &address)));
        Box::pin(async move {
            let stream = made.await.map_err(io::Error::other)??;
            Ok(TokioIo::new(tokio::net::TcpStream::from_std(stream)?))
        })
    }
}

fn connect(netns: &Path, address: &str) -> io::Result<TcpStream> {
    move_into_link_name_space(File::open(netns)?.as_fd(), Some(LinkNameSpaceType::Network))?;
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}
