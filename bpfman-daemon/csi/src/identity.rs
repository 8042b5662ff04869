//! The service `csi.v1.Identity`.

use std::sync::Arc;

use bpfman_proto::csi::v1;
use bpfman_proto::csi::v1::identity_server::{Identity, IdentityServer};
use tonic::{Request, Response, Status};

use crate::{DRIVER, MAX_REQUEST, MapSource};

/// Service that returns name, version and readiness.
pub struct IdentityService<M: MapSource> {
    maps: Arc<M>,
}

impl<M: MapSource> IdentityService<M> {
    /// Creates the service; `maps` decides about readiness.
    #[must_use]
    pub fn serve(maps: Arc<M>) -> IdentityServer<Self> {
        IdentityServer::new(Self { maps }).max_decoding_message_size(MAX_REQUEST)
    }
}

#[tonic::async_trait]
impl<M: MapSource> Identity for IdentityService<M> {
    async fn get_plugin_info(
        &self,
        _request: Request<v1::GetPluginInfoRequest>,
    ) -> Result<Response<v1::GetPluginInfoResponse>, Status> {
        let vendor_version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Response::new(v1::GetPluginInfoResponse { name: DRIVER.to_owned(), vendor_version }))
    }

    async fn get_plugin_capabilities(
        &self,
        _request: Request<v1::GetPluginCapabilitiesRequest>,
    ) -> Result<Response<v1::GetPluginCapabilitiesResponse>, Status> {
        Ok(Response::new(v1::GetPluginCapabilitiesResponse::default()))
    }

    async fn probe(
        &self,
        _request: Request<v1::ProbeRequest>,
    ) -> Result<Response<v1::ProbeResponse>, Status> {
        Ok(Response::new(v1::ProbeResponse { ready: Some(self.maps.is_ready()) }))
    }
}
