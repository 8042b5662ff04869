//! Connection to the daemon.

use std::path::{Path, PathBuf};

use bpfman_proto::ext::v1::bpfman_chains_client::BpfmanChainsClient;
use bpfman_proto::ext::v1::bpfman_ext_client::BpfmanExtClient;
use bpfman_proto::ext::v1::bpfman_figures_client::BpfmanFiguresClient;
use bpfman_proto::ext::v1::bpfman_node_client::BpfmanNodeClient;
use bpfman_proto::v1::bpfman_client::BpfmanClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// The list of programs of a large machine exceeds gRPC's default of 4 MiB.
const MAX_ANSWER: usize = 256 << 20;

/// Maximum size of trailers, in bytes. In their messages and hints, a byte may be encoded as three.
const MAX_TRAILERS: u32 = 256 << 10;

/// Client of one daemon. Clones share the connection, which reconnects after the daemon restarts.
#[derive(Clone, Debug)]
pub struct Daemon {
    channel: Channel,
    name: String,
}

impl Daemon {
    /// Returns a client for a socket. It connects at the first call, and must be created within a tokio runtime.
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        let path: PathBuf = socket.to_path_buf();
        let name = socket.display().to_string();
        // The address is never resolved, but HTTP/2 needs one for `:authority`.
        let endpoint = Endpoint::from_static("http://localhost").http2_max_header_list_size(MAX_TRAILERS);
        let channel = endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }));
        Self { channel, name }
    }

    #[must_use]
    pub fn over(channel: Channel) -> Self {
        Self { channel, name: "its channel".to_owned() }
    }

    /// Returns the address of the daemon for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the client of the API of v0.6.0.
    #[must_use]
    pub fn v1(&self) -> BpfmanClient<Channel> {
        BpfmanClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// Returns the client of the extended API: programs and links with all details.
    #[must_use]
    pub fn ext(&self) -> BpfmanExtClient<Channel> {
        BpfmanExtClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// Returns the client of the chains API: order by name, changes in place.
    #[must_use]
    pub fn chains(&self) -> BpfmanChainsClient<Channel> {
        BpfmanChainsClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// Returns the client of the metrics API: counters of programs, chains and maps.
    #[must_use]
    pub fn figures(&self) -> BpfmanFiguresClient<Channel> {
        BpfmanFiguresClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// Returns the client of the node API: dry runs, replacement of whole loads, containers, interfaces.
    #[must_use]
    pub fn node(&self) -> BpfmanNodeClient<Channel> {
        BpfmanNodeClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }
}
