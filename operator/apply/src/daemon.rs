//! The connection to the daemon.

use std::path::{Path, PathBuf};

use bpfman_proto::ext::v1::bpfman_chains_client::BpfmanChainsClient;
use bpfman_proto::ext::v1::bpfman_ext_client::BpfmanExtClient;
use bpfman_proto::ext::v1::bpfman_figures_client::BpfmanFiguresClient;
use bpfman_proto::ext::v1::bpfman_node_client::BpfmanNodeClient;
use bpfman_proto::v1::bpfman_client::BpfmanClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// A list of all programs of a large machine is larger than gRPC's usual 4 MiB.
const LARGEST_ANSWER: usize = 256 << 20;

/// Messages of errors and their hints come as trailers, where each byte may become three; trailers are bounded apart
/// from messages.
const LARGEST_TRAILERS: u32 = 256 << 10;

/// One daemon. Clones share the connection; a call after the daemon's restart connects again.
#[derive(Clone, Debug)]
pub struct Daemon {
    channel: Channel,
    name: String,
}

impl Daemon {
    /// The daemon at a socket. Connects at the first call; has to be made within a tokio runtime.
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        let path: PathBuf = socket.to_path_buf();
        let name = socket.display().to_string();
        // The address is never resolved; HTTP/2 wants one for its `:authority`.
        let endpoint = Endpoint::from_static("http://localhost").http2_max_header_list_size(LARGEST_TRAILERS);
        let channel = endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }));
        Self { channel, name }
    }

    /// The daemon behind a channel.
    #[must_use]
    pub fn over(channel: Channel) -> Self {
        Self { channel, name: "its channel".to_owned() }
    }

    /// Where it is, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The API that v0.6.0 has.
    #[must_use]
    pub fn v1(&self) -> BpfmanClient<Channel> {
        BpfmanClient::new(self.channel.clone()).max_decoding_message_size(LARGEST_ANSWER)
    }

    /// Programs and links in full.
    #[must_use]
    pub fn ext(&self) -> BpfmanExtClient<Channel> {
        BpfmanExtClient::new(self.channel.clone()).max_decoding_message_size(LARGEST_ANSWER)
    }

    /// Order by intent, changes in place.
    #[must_use]
    pub fn chains(&self) -> BpfmanChainsClient<Channel> {
        BpfmanChainsClient::new(self.channel.clone()).max_decoding_message_size(LARGEST_ANSWER)
    }

    /// What programs, chains and maps count.
    #[must_use]
    pub fn figures(&self) -> BpfmanFiguresClient<Channel> {
        BpfmanFiguresClient::new(self.channel.clone()).max_decoding_message_size(LARGEST_ANSWER)
    }

    /// Trials, versions of whole loads, containers, interfaces.
    #[must_use]
    pub fn node(&self) -> BpfmanNodeClient<Channel> {
        BpfmanNodeClient::new(self.channel.clone()).max_decoding_message_size(LARGEST_ANSWER)
    }
}
