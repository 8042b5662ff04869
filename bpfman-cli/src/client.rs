//! The connection to the daemon.

use std::io;
use std::path::Path;

use bpfman_proto::ext::v1::bpfman_access_client::BpfmanAccessClient;
use bpfman_proto::ext::v1::bpfman_chains_client::BpfmanChainsClient;
use bpfman_proto::ext::v1::bpfman_ext_client::BpfmanExtClient;
use bpfman_proto::ext::v1::bpfman_images_client::BpfmanImagesClient;
use bpfman_proto::ext::v1::bpfman_node_client::BpfmanNodeClient;
use bpfman_proto::v1::bpfman_client::BpfmanClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::error::CliError;

/// A list of all programs of a large machine, or a verifier log, is larger than gRPC's usual 4 MiB.
const LARGEST_ANSWER: usize = 256 << 20;

/// Messages of errors and their hints come as trailers, where each byte may become three; trailers are bounded apart
/// from messages.
const LARGEST_TRAILERS: u32 = 256 << 10;

/// The services of one daemon, over one connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// What they share.
    pub channel: Channel,
    /// The API that v0.6.0 has.
    pub v1: BpfmanClient<Channel>,
    /// This project's additions.
    pub ext: BpfmanExtClient<Channel>,
    /// Chains: order, changes in place, counters, traces.
    pub chains: BpfmanChainsClient<Channel>,
    /// The cache of images.
    pub images: BpfmanImagesClient<Channel>,
    /// Who calls, and what that caller may do.
    pub access: BpfmanAccessClient<Channel>,
    /// Trials, and what else agents ask for.
    pub node: BpfmanNodeClient<Channel>,
}

impl Client {
    /// Connects to the daemon that listens on the unix socket at `path`.
    ///
    /// The socket is opened here rather than by the channel, so that "nobody listens" and "not allowed" are told
    /// apart by the system's own error.
    pub async fn connect(path: &Path) -> Result<Self, CliError> {
        let stream = UnixStream::connect(path).await.map_err(|source| {
            let path = path.to_path_buf();
            match source.kind() {
                io::ErrorKind::PermissionDenied => CliError::SocketDenied { path, source },
                _ => CliError::Unreachable { path, source },
            }
        })?;
        let mut stream = Some(stream);
        // The address is never resolved; HTTP/2 wants one for its `:authority`.
        let endpoint = Endpoint::from_static("http://localhost").http2_max_header_list_size(LARGEST_TRAILERS);
        let channel = endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
            let stream = stream.take();
            // One connection a command: if it breaks, the call fails, and the user decides whether to repeat it.
            async move {
                stream.map(TokioIo::new).ok_or_else(|| io::Error::other("the daemon closed the connection"))
            }
        }));
        Ok(Self {
            channel: channel.clone(),
            v1: BpfmanClient::new(channel.clone()).max_decoding_message_size(LARGEST_ANSWER),
            ext: BpfmanExtClient::new(channel.clone()).max_decoding_message_size(LARGEST_ANSWER),
            chains: BpfmanChainsClient::new(channel.clone()).max_decoding_message_size(LARGEST_ANSWER),
            images: BpfmanImagesClient::new(channel.clone()).max_decoding_message_size(LARGEST_ANSWER),
            access: BpfmanAccessClient::new(channel.clone()),
            node: BpfmanNodeClient::new(channel).max_decoding_message_size(LARGEST_ANSWER),
        })
    }
}
