//! The seven calls of the API, each with the part of the response that a client needs.

use anyhow::Context as _;
use bpfman_api::v1::bpfman_client::BpfmanClient;
use bpfman_api::v1::list_response::ListResult;
use bpfman_api::v1::*;
use tokio::net::UnixStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};

pub struct Calls(BpfmanClient<Channel>);

impl Calls {
    /// Connects in the same way as the command line of v0.6.0.
    pub async fn connect(socket: &str) -> anyhow::Result<Self> {
        let path = socket.to_owned();
        let channel = Endpoint::from_static("http://unused")
            .connect_with_connector(tower::service_fn(move |_: Uri| UnixStream::connect(path.clone())))
            .await
            .with_context(|| format!("connect to {socket}"))?;
        Ok(Self(BpfmanClient::new(channel)))
    }

    pub async fn load(&mut self, request: LoadRequest) -> Result<Vec<LoadResponseInfo>, Status> {
        Ok(self.0.load(request).await?.into_inner().programs)
    }

    pub async fn attach(&mut self, id: u32, info: attach_info::Info) -> Result<u32, Status> {
        let request = AttachRequest { id, attach: Some(AttachInfo { info: Some(info) }) };
        Ok(self.0.attach(request).await?.into_inner().link_id)
    }

    pub async fn detach(&mut self, link_id: u32) -> Result<(), Status> {
        self.0.detach(DetachRequest { link_id }).await.map(drop)
    }

    pub async fn unload(&mut self, id: u32) -> Result<(), Status> {
        self.0.unload(UnloadRequest { id }).await.map(drop)
    }

    pub async fn get(&mut self, id: u32) -> Result<GetResponse, Status> {
        Ok(self.0.get(GetRequest { id }).await?.into_inner())
    }

    pub async fn list(&mut self, request: ListRequest) -> Result<Vec<ListResult>, Status> {
        Ok(self.0.list(request).await?.into_inner().results)
    }

    /// Pulls an image without loading it.
    pub async fn pull(&mut self, url: &str) -> Result<(), Status> {
        let image = BytecodeImage { url: url.to_owned(), ..Default::default() };
        self.0.pull_bytecode(PullBytecodeRequest { image: Some(image) }).await.map(drop)
    }
}
