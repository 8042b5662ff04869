//! Connection to the daemon, and its services.

use std::io;
use std::path::Path;

use bpfman_proto::ext::v1::bpfman_access_client::BpfmanAccessClient;
use bpfman_proto::ext::v1::bpfman_chains_client::BpfmanChainsClient;
use bpfman_proto::ext::v1::bpfman_ext_client::BpfmanExtClient;
use bpfman_proto::ext::v1::bpfman_figures_client::BpfmanFiguresClient;
use bpfman_proto::ext::v1::bpfman_images_client::BpfmanImagesClient;
use bpfman_proto::ext::v1::bpfman_map_entries_client::BpfmanMapEntriesClient;
use bpfman_proto::ext::v1::bpfman_node_client::BpfmanNodeClient;
use bpfman_proto::ext::v1::bpfman_radar_client::BpfmanRadarClient;
use bpfman_proto::ext::v1::bpfman_sessions_client::BpfmanSessionsClient;
use bpfman_proto::v1::bpfman_client::BpfmanClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// Maximum size of an answer, in bytes: a long list or a verifier log exceeds gRPC's default of 4 MiB.
const MAX_ANSWER: usize = 256 << 20;

/// Maximum size of trailers (messages and hints), in bytes: one byte of text may take three.
const MAX_TRAILERS: u32 = 256 << 10;

/// Maximum unread bytes per stream, and per connection: an unread stream must not block other calls.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 256 << 20;

/// Behavior of later calls after the connection broke. The running call fails in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// Every further call fails.
    Never,
    /// The next call connects again, as after a restart of the daemon.
    NextCall,
}

/// Services of one daemon over one connection, as on the wire. Clones share the connection.
///
/// Most programs use [`crate::Client`] instead.
#[derive(Clone, Debug)]
pub struct Services {
    /// Connection that all services share.
    pub channel: Channel,
    /// API of v0.6.0.
    pub v1: BpfmanClient<Channel>,
    /// Additions of this project.
    pub ext: BpfmanExtClient<Channel>,
    /// Chains: order, changes in place, counters, traces.
    pub chains: BpfmanChainsClient<Channel>,
    /// Cache of images.
    pub images: BpfmanImagesClient<Channel>,
    /// Identity and rights of the caller.
    pub access: BpfmanAccessClient<Channel>,
    /// Maps and their entries.
    pub map_entries: BpfmanMapEntriesClient<Channel>,
    /// Statistics of programs, chains and maps.
    pub figures: BpfmanFiguresClient<Channel>,
    /// Dry runs, streams of changes and events, and other calls of node agents.
    pub node: BpfmanNodeClient<Channel>,
    /// eBPF objects of third parties.
    pub radar: BpfmanRadarClient<Channel>,
    /// Sessions of `bpfman run-as`.
    pub sessions: BpfmanSessionsClient<Channel>,
}

impl Services {
    /// Connects to the daemon that listens on the unix socket at `path`.
    ///
    /// The socket is opened here rather than by the channel, because the system's own error distinguishes "no daemon
    /// listens" from "not allowed".
    ///
    /// # Errors
    /// The error of `connect(2)`: `NotFound` and `ConnectionRefused` if no daemon listens, `PermissionDenied` if this
    /// user is not in the socket's group.
    pub async fn connect(path: &Path, reconnect: Reconnect) -> io::Result<Self> {
        let mut stream = Some(UnixStream::connect(path).await?);
        let again = (reconnect == Reconnect::NextCall).then(|| path.to_path_buf());
        // HTTP/2 needs an address for its `:authority`; it is never resolved.
        let endpoint = Endpoint::from_static("http://localhost")
            .http2_max_header_list_size(MAX_TRAILERS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let channel = endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
            let (stream, again) = (stream.take(), again.clone());
            async move {
                let stream = match (stream, again) {
                    (Some(stream), _) => stream,
                    (None, Some(path)) => UnixStream::connect(path).await?,
                    (None, None) => return Err(io::Error::other("the daemon closed the connection")),
                };
                Ok(TokioIo::new(stream))
            }
        }));
        Ok(Self {
            channel: channel.clone(),
            v1: BpfmanClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER),
            ext: BpfmanExtClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER),
            chains: BpfmanChainsClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER),
            images: BpfmanImagesClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER),
            access: BpfmanAccessClient::new(channel.clone()),
            map_entries: BpfmanMapEntriesClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER),
            figures: BpfmanFiguresClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER),
            radar: BpfmanRadarClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER),
            sessions: BpfmanSessionsClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER),
            node: BpfmanNodeClient::new(channel).max_decoding_message_size(MAX_ANSWER),
        })
    }
}
