//! The connection to the daemon, and the services on it.

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
use bpfman_proto::v1::bpfman_client::BpfmanClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// A list of all programs of a large machine, or a verifier log, is larger than gRPC's usual 4 MiB.
const LARGEST_ANSWER: usize = 256 << 20;

/// Messages of errors and their hints come as trailers, where each byte may become three; trailers are bounded apart
/// from messages.
const LARGEST_TRAILERS: u32 = 256 << 10;

/// Bytes of one stream that wait to be read, and of all streams of the connection: a stream that is left unread, such as
/// that of events, must not hold up answers to other calls.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 256 << 20;

/// What becomes of a connection that broke: the call that it was for has failed in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// Every further call fails.
    Never,
    /// The next call connects again, as after a restart of the daemon.
    NextCall,
}

/// The services of one daemon, over one connection, as the wire has them. Clones share the connection.
///
/// [`crate::Client`] is what most programs want.
#[derive(Clone, Debug)]
pub struct Services {
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
    /// Maps, and entries of them.
    pub map_entries: BpfmanMapEntriesClient<Channel>,
    /// What programs, chains and maps count.
    pub figures: BpfmanFiguresClient<Channel>,
    /// Trials, and what else agents ask for.
    pub node: BpfmanNodeClient<Channel>,
    /// What others do with eBPF.
    pub radar: BpfmanRadarClient<Channel>,
}

impl Services {
    /// Connects to the daemon that listens on the unix socket at `path`.
    ///
    /// The socket is opened here rather than by the channel, so that "nobody listens" and "not allowed" are told apart by
    /// the system's own error.
    ///
    /// # Errors
    /// What `connect(2)` says: `NotFound` and `ConnectionRefused` where no daemon listens, `PermissionDenied` where this
    /// user is not in the socket's group.
    pub async fn connect(path: &Path, reconnect: Reconnect) -> io::Result<Self> {
        let mut stream = Some(UnixStream::connect(path).await?);
        let again = (reconnect == Reconnect::NextCall).then(|| path.to_path_buf());
        // The address is never resolved; HTTP/2 wants one for its `:authority`.
        let endpoint = Endpoint::from_static("http://localhost")
            .http2_max_header_list_size(LARGEST_TRAILERS)
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
            v1: BpfmanClient::new(channel.clone()).max_decoding_message_size(LARGEST_ANSWER),
            ext: BpfmanExtClient::new(channel.clone()).max_decoding_message_size(LARGEST_ANSWER),
            chains: BpfmanChainsClient::new(channel.clone()).max_decoding_message_size(LARGEST_ANSWER),
            images: BpfmanImagesClient::new(channel.clone()).max_decoding_message_size(LARGEST_ANSWER),
            access: BpfmanAccessClient::new(channel.clone()),
            map_entries: BpfmanMapEntriesClient::new(channel.clone())
                .max_decoding_message_size(LARGEST_ANSWER),
            figures: BpfmanFiguresClient::new(channel.clone()).max_decoding_message_size(LARGEST_ANSWER),
            radar: BpfmanRadarClient::new(channel.clone()).max_decoding_message_size(LARGEST_ANSWER),
            node: BpfmanNodeClient::new(channel).max_decoding_message_size(LARGEST_ANSWER),
        })
    }
}
