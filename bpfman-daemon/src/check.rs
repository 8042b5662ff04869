//! `bpfmand check`: tests whether the daemon responds, for probes of a container without other programs.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bpfman_proto::ext::v1::bpfman_ext_client::BpfmanExtClient;
use bpfman_proto::ext::v1::{InfoRequest, InfoResponse};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::Endpoint;

/// Timeout of a response, longer than any takes: the probe has its own.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

pub fn check(socket: &Path) -> anyhow::Result<()> {
    info(socket, RESPONSE_TIMEOUT).map(drop)
}

pub fn info(socket: &Path, patience: Duration) -> anyhow::Result<InfoResponse> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match tokio::time::timeout(patience, ask(socket)).await {
            Ok(answer) => answer,
            Err(_) => bail!("the daemon on {} gave no answer within {patience:?}", socket.display()),
        }
    })
}

async fn ask(socket: &Path) -> anyhow::Result<InfoResponse> {
    let stream = UnixStream::connect(socket)
        .await
        .with_context(|| format!("no daemon listens on {}", socket.display()))?;
    let mut stream = Some(TokioIo::new(stream));
    let channel =
        Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(move |_| {
            let stream = stream.take();
            async move { stream.ok_or_else(|| io::Error::other("the daemon closed the connection")) }
        }));
    let answer = BpfmanExtClient::new(channel).info(InfoRequest::default()).await;
    Ok(answer.with_context(|| format!("the daemon on {}", socket.display()))?.into_inner())
}
