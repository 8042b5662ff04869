use std::path::Path;
use std::time::Instant;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::bpfman_chains_client::BpfmanChainsClient;
use bpfman_proto::v1::bpfman_client::BpfmanClient;
use bpfman_proto::v1::{self, attach_info::Info, bytecode_location::Location};
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::samples::ms;

#[derive(Clone)]
pub struct Client {
    v1: BpfmanClient<Channel>,
    chains: BpfmanChainsClient<Channel>,
}

impl Client {
    pub async fn connect(socket: &Path) -> anyhow::Result<Self> {
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await?;
        let v1 = BpfmanClient::new(channel.clone()).max_decoding_message_size(64 << 20);
        Ok(Self { v1, chains: BpfmanChainsClient::new(channel) })
    }

    pub async fn load(
        &mut self,
        object: &Path,
        name: &str,
        kind: v1::BpfmanProgramType,
    ) -> anyhow::Result<(u32, f64)> {
        self.load_with(object, name, kind, &[]).await
    }

    pub async fn load_with(
        &mut self,
        object: &Path,
        name: &str,
        kind: v1::BpfmanProgramType,
        metadata: &[(&str, &str)],
    ) -> anyhow::Result<(u32, f64)> {
        self.load_from(Location::File(object.display().to_string()), name, kind, metadata).await
    }

    pub async fn load_image(
        &mut self,
        image: &str,
        name: &str,
        kind: v1::BpfmanProgramType,
    ) -> anyhow::Result<(u32, f64)> {
        let image = v1::BytecodeImage { url: image.to_owned(), image_pull_policy: 2, ..Default::default() };
        self.load_from(Location::Image(image), name, kind, &[]).await
    }

    async fn load_from(
        &mut self,
        from: Location,
        name: &str,
        kind: v1::BpfmanProgramType,
        metadata: &[(&str, &str)],
    ) -> anyhow::Result<(u32, f64)> {
        let request = v1::LoadRequest {
            bytecode: Some(v1::BytecodeLocation { location: Some(from) }),
            info: vec![v1::LoadInfo { name: name.to_owned(), program_type: kind.into(), info: None }],
            metadata: metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..Default::default()
        };
        let start = Instant::now();
        let response = self.v1.load(request).await?.into_inner();
        let took = ms(start);
        let id = response.programs.first().and_then(|p| p.kernel_info.as_ref()).map_or(0, |info| info.id);
        Ok((id, took))
    }

    pub async fn attach(&mut self, id: u32, info: Info) -> anyhow::Result<(u32, f64)> {
        let request = v1::AttachRequest { id, attach: Some(v1::AttachInfo { info: Some(info) }) };
        let start = Instant::now();
        let link = self.v1.attach(request).await?.into_inner().link_id;
        Ok((link, ms(start)))
    }

    pub async fn attach_matching(
        &mut self,
        program_id: u32,
        info: Info,
        names: &str,
        netns: &str,
    ) -> anyhow::Result<()> {
        let which = ext::InterfaceMatch {
            names: vec![names.to_owned()],
            netns: vec![netns.to_owned()],
            ..Default::default()
        };
        let request = ext::AttachMatchingRequest {
            program_id,
            attach: Some(v1::AttachInfo { info: Some(info) }),
            r#match: Some(which),
            ..Default::default()
        };
        self.chains.attach_matching(request).await?;
        Ok(())
    }

    pub async fn links_of_matchings(&mut self) -> anyhow::Result<usize> {
        let matchings = self.chains.list_matching(ext::ListMatchingRequest {}).await?.into_inner().matchings;
        Ok(matchings.iter().map(|matching| matching.links.len()).sum())
    }

    pub async fn detach(&mut self, link_id: u32) -> anyhow::Result<f64> {
        let start = Instant::now();
        self.v1.detach(v1::DetachRequest { link_id }).await?;
        Ok(ms(start))
    }

    pub async fn unload(&mut self, id: u32) -> anyhow::Result<f64> {
        let start = Instant::now();
        self.v1.unload(v1::UnloadRequest { id }).await?;
        Ok(ms(start))
    }

    pub async fn list(&mut self) -> anyhow::Result<(usize, f64)> {
        let request = v1::ListRequest { bpfman_programs_only: Some(true), ..Default::default() };
        let start = Instant::now();
        let results = self.v1.list(request).await?.into_inner().results;
        Ok((results.len(), ms(start)))
    }

    pub async fn get(&mut self, id: u32) -> anyhow::Result<f64> {
        let start = Instant::now();
        self.v1.get(v1::GetRequest { id }).await?;
        Ok(ms(start))
    }
}

pub fn quiet_probe() -> Info {
    Info::UprobeAttachInfo(v1::UprobeAttachInfo {
        fn_name: Some("fmtmsg".to_owned()),
        target: "libc".to_owned(),
        ..Default::default()
    })
}

pub fn tcx(netns: &str, priority: i32) -> Info {
    Info::TcxAttachInfo(v1::TcxAttachInfo {
        priority,
        iface: "va".to_owned(),
        direction: "ingress".to_owned(),
        netns: Some(netns.to_owned()),
        ..Default::default()
    })
}

pub fn xdp(netns: &str, priority: i32) -> Info {
    xdp_at(netns, "va", priority)
}

pub fn xdp_at(netns: &str, iface: &str, priority: i32) -> Info {
    Info::XdpAttachInfo(v1::XdpAttachInfo {
        priority,
        iface: iface.to_owned(),
        netns: Some(netns.to_owned()),
        ..Default::default()
    })
}
