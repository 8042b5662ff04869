//! All that a call could change, by owner.

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::bpfman_chains_client::BpfmanChainsClient;
use bpfman_proto::ext::v1::bpfman_ext_client::BpfmanExtClient;
use bpfman_proto::ext::v1::bpfman_map_entries_client::BpfmanMapEntriesClient;
use bpfman_proto::v1;
use bpfman_tests::network::Namespace;
use bpfman_tests::{Daemon, kernel};
use tonic::Status;

use super::requests::{Called, called};
use super::things::SHARED;

#[derive(Debug, PartialEq, Eq)]
pub struct Digest(Vec<(String, String)>);

impl Digest {
    pub fn of(daemon: &Daemon, netns: &Namespace) -> Self {
        let netns = netns.path().display().to_string();
        let mut lines = called(&daemon.socket(), |call| lines(call, netns)).unwrap();
        let pins = kernel::pins(&daemon.fs()).into_iter();
        lines.extend(pins.filter(|pin| !pin.starts_with("chains/")).map(|pin| (String::new(), pin)));
        lines.sort();
        Self(lines)
    }

    pub fn of_others(&self, owner: &str) -> Vec<&(String, String)> {
        self.0.iter().filter(|(of, _)| !of.is_empty() && of != owner).collect()
    }
}

async fn lines(Called(channel): Called, netns: String) -> Result<Vec<(String, String)>, Status> {
    let mut lines = Vec::new();
    let mut ext = BpfmanExtClient::new(channel.clone());
    let mut chains = BpfmanChainsClient::new(channel.clone());
    let mut entries = BpfmanMapEntriesClient::new(channel);
    let ours = v1::ListRequest { bpfman_programs_only: Some(true), ..Default::default() };
    let request = ext::ListProgramsRequest { select: Some(ours), ..Default::default() };
    let mut owners = std::collections::HashMap::new();
    for one in ext.list_programs(request).await?.into_inner().programs {
        let (kernel, owner) = (one.kernel_info.unwrap(), one.owner);
        owners.insert(kernel.id, owner.clone());
        let settings = (&one.cpu_limit, &one.over_cpu, one.ttl_left.is_some());
        let text = format!("program {} {} {} {} {settings:?}", one.uid, kernel.id, one.state, one.pin_path);
        lines.push((owner.clone(), text));
        let hits = kernel.map_ids.len();
        lines.push((owner.clone(), format!("maps of {}: {hits}", kernel.id)));
        for map in one.maps.iter().filter(|map| map.name == "hits") {
            let named = Some(ext::NamedMap { map: Some(ext::named_map::Map::MapId(map.id)) });
            let request = ext::GetMapEntryRequest { map: named, key: vec![0; 4] };
            let entry = entries.get_map_entry(request).await?.into_inner();
            lines.push((owner.clone(), format!("map {}: {entry:?}", map.id)));
        }
    }
    for mut one in ext.list_links(ext::ListLinksRequest::default()).await?.into_inner().links {
        if let Some(v1::attach_info::Info::XdpAttachInfo(at)) =
            one.attach_info.as_mut().and_then(|at| at.info.as_mut())
        {
            let place = std::mem::take(&mut at.position);
            lines.push((String::new(), format!("link {} is at place {place}", one.id)));
        }
        let text = format!(
            "link {} of {} at {}: {:?}, {}, {}",
            one.id, one.program_id, one.hook, one.attach_info, one.state, one.shadow
        );
        lines.push((one.owner, text));
    }
    for one in chains.list_matching(ext::ListMatchingRequest {}).await?.into_inner().matchings {
        let owner = owners.get(&one.program_id).cloned().unwrap_or_default();
        lines.push((owner, format!("matching {} of {}: {:?}", one.id, one.program_id, one.r#match)));
    }
    let hook = ext::Hook { kind: "xdp".to_owned(), iface: SHARED.to_owned(), netns, ..Default::default() };
    let hook =
        chains.show_chain(ext::ShowChainRequest { hook: Some(hook), sample_ms: 0 }).await?.into_inner();
    let settings = (hook.counters, hook.as_subprograms, hook.timing, hook.keep_attached, hook.held_by);
    lines.push((String::new(), format!("{SHARED}: {settings:?}")));
    Ok(lines)
}
