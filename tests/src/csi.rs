//! Blocking client of a CSI driver's socket, and requests as a kubelet sends them.

use std::path::Path;

use bpfman_proto::csi::v1;
use bpfman_proto::csi::v1::identity_client::IdentityClient;
use bpfman_proto::csi::v1::node_client::NodeClient;
use bpfman_proto::csi::v1::volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode};
use bpfman_proto::pluginregistration as registration;
use bpfman_proto::pluginregistration::registration_client::RegistrationClient;
use tokio::runtime::Runtime;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

#[derive(Debug)]
pub struct Csi {
    runtime: Runtime,
    channel: Channel,
}

impl Csi {
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let endpoint = Endpoint::try_from(format!("unix:{}", socket.display())).unwrap();
        let channel = runtime.block_on(async { endpoint.connect_lazy() });
        Self { runtime, channel }
    }

    pub fn publish(&self, request: v1::NodePublishVolumeRequest) -> Result<(), Status> {
        let mut client = NodeClient::new(self.channel.clone());
        self.runtime.block_on(async move { client.node_publish_volume(request).await }).map(drop)
    }

    /// Calls NodePublishVolume in parallel on one connection. Another call comes first: before the server's settings
    /// arrive, a client may open more streams than it accepts. Go's gRPC clients wait for them.
    #[must_use]
    pub fn publish_all(&self, requests: Vec<v1::NodePublishVolumeRequest>) -> Vec<Result<(), Status>> {
        let _answered = self.identity();
        self.runtime.block_on(async {
            let calls: Vec<_> = requests
                .into_iter()
                .map(|request| {
                    let mut client = NodeClient::new(self.channel.clone());
                    tokio::spawn(async move { client.node_publish_volume(request).await.map(drop) })
                })
                .collect();
            let mut answers = Vec::new();
            for call in calls {
                answers.push(call.await.unwrap());
            }
            answers
        })
    }

    pub fn unpublish(&self, volume_id: &str, target: &Path) -> Result<(), Status> {
        let request = v1::NodeUnpublishVolumeRequest {
            volume_id: volume_id.to_owned(),
            target_path: target.display().to_string(),
        };
        let mut client = NodeClient::new(self.channel.clone());
        self.runtime.block_on(async move { client.node_unpublish_volume(request).await }).map(drop)
    }

    #[must_use]
    pub fn node_info(&self) -> v1::NodeGetInfoResponse {
        let mut client = NodeClient::new(self.channel.clone());
        let answer =
            self.runtime.block_on(async move { client.node_get_info(v1::NodeGetInfoRequest {}).await });
        answer.unwrap().into_inner()
    }

    #[must_use]
    pub fn node_capabilities(&self) -> v1::NodeGetCapabilitiesResponse {
        let mut client = NodeClient::new(self.channel.clone());
        let answer = self
            .runtime
            .block_on(async move { client.node_get_capabilities(v1::NodeGetCapabilitiesRequest {}).await });
        answer.unwrap().into_inner()
    }

    pub fn identity(
        &self,
    ) -> (v1::GetPluginInfoResponse, v1::GetPluginCapabilitiesResponse, v1::ProbeResponse) {
        let mut client = IdentityClient::new(self.channel.clone());
        self.runtime.block_on(async move {
            (
                client.get_plugin_info(v1::GetPluginInfoRequest {}).await.unwrap().into_inner(),
                client
                    .get_plugin_capabilities(v1::GetPluginCapabilitiesRequest {})
                    .await
                    .unwrap()
                    .into_inner(),
                client.probe(v1::ProbeRequest {}).await.unwrap().into_inner(),
            )
        })
    }

    pub fn call(&self, path: &'static str) -> Result<(), Status> {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        self.runtime.block_on(async move {
            client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let codec = tonic_prost::ProstCodec::<v1::ProbeRequest, v1::ProbeResponse>::default();
            let path = tonic::codegen::http::uri::PathAndQuery::from_static(path);
            client.unary(tonic::Request::new(v1::ProbeRequest {}), path, codec).await.map(drop)
        })
    }

    pub fn plugin_info(&self) -> Result<registration::PluginInfo, Status> {
        let mut client = RegistrationClient::new(self.channel.clone());
        self.runtime
            .block_on(async move { client.get_info(registration::InfoRequest {}).await })
            .map(tonic::Response::into_inner)
    }

    pub fn registered(&self, status: registration::RegistrationStatus) -> Result<(), Status> {
        let mut client = RegistrationClient::new(self.channel.clone());
        self.runtime.block_on(async move { client.notify_registration_status(status).await }).map(drop)
    }
}

#[must_use]
pub fn publish(volume: &str, target: &Path, program: &str, maps: &str) -> v1::NodePublishVolumeRequest {
    let context = [
        ("csi.bpfman.io/program", program),
        ("csi.bpfman.io/maps", maps),
        ("csi.storage.k8s.io/ephemeral", "true"),
        ("csi.storage.k8s.io/pod.name", "reader"),
        ("csi.storage.k8s.io/pod.namespace", "default"),
    ];
    v1::NodePublishVolumeRequest {
        volume_id: volume.to_owned(),
        target_path: target.display().to_string(),
        volume_capability: Some(v1::VolumeCapability {
            access_type: Some(AccessType::Mount(MountVolume::default())),
            access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        }),
        readonly: false,
        volume_context: crate::requests::pairs(&context),
    }
}

pub fn mount(request: &mut v1::NodePublishVolumeRequest) -> &mut MountVolume {
    match request.volume_capability.as_mut().and_then(|capability| capability.access_type.as_mut()) {
        Some(AccessType::Mount(mount)) => mount,
        _ => panic!("no mount volume"),
    }
}
