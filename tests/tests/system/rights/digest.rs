//! All that a call could change, by owner.

use std::collections::BTreeSet;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::bpfman_chains_client::BpfmanChainsClient;
use bpfman_proto::ext::v1::bpfman_ext_client::BpfmanExtClient;
use bpfman_proto::ext::v1::bpfman_map_entries_client::BpfmanMapEntriesClient;
use bpfman_proto::v1;
use bpfman_tests::kernel;
use tonic::Status;

use super::bench::Bench;
use super::requests::{Called, called};

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// Owner of an object, empty if it can have several, and a text that begins with the kind of the object.
    lines: Vec<(String, String)>,
    pub programs: BTreeSet<u32>,
    pub links: BTreeSet<u32>,
    pub matchings: BTreeSet<u32>,
}

impl Digest {
    pub fn of(bench: &Bench, interfaces: Vec<String>, maps: Vec<u32>) -> Self {
        let (daemon, netns) = (&bench.daemon, bench.netns.path().display().to_string());
        let mut digest = called(&daemon.socket(), |call| read(call, netns, interfaces, maps)).unwrap();
        let pins = kernel::pins(&daemon.fs()).into_iter();
        let pins = pins.filter(|pin| !pin.starts_with("chains/"));
        digest.lines.extend(pins.map(|pin| (String::new(), format!("pin {pin}"))));
        digest.lines.sort();
        digest
    }

    /// Returns the kinds of objects that are gone and new since then: "-link of root, +program of grant:user".
    pub fn changes_since(&self, before: &Self) -> String {
        let all = |digest: &Self| digest.lines.iter().cloned().collect::<BTreeSet<_>>();
        let (before, now) = (all(before), all(self));
        let kinds = |sign: char, lines: Vec<&(String, String)>| {
            let kind = move |(owner, text): &(String, String)| {
                let kind = text.split(' ').next().unwrap_or_default();
                if owner.is_empty() { format!("{sign}{kind}") } else { format!("{sign}{kind} of {owner}") }
            };
            lines.into_iter().map(kind).collect::<BTreeSet<String>>()
        };
        let gone = kinds('-', before.difference(&now).collect());
        let new = kinds('+', now.difference(&before).collect());
        gone.into_iter().chain(new).collect::<Vec<_>>().join(", ")
    }
}

async fn read(
    Called(channel): Called,
    netns: String,
    interfaces: Vec<String>,
    maps: Vec<u32>,
) -> Result<Digest, Status> {
    let mut digest = Digest::default();
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
        digest.programs.insert(kernel.id);
        let settings = (&one.cpu_limit, &one.over_cpu, one.ttl_left.is_some());
        let text = format!("program {} {} {} {} {settings:?}", one.uid, kernel.id, one.state, one.pin_path);
        lines.push((owner.clone(), text));
        let hits = kernel.map_ids.len();
        lines.push((owner.clone(), format!("maps of {}: {hits}", kernel.id)));
    }
    for id in maps {
        let map = Some(ext::NamedMap { map: Some(ext::named_map::Map::MapId(id)) });
        let request = ext::GetMapEntryRequest { map, key: vec![0; 4] };
        let entry = entries.get_map_entry(request).await.map(tonic::Response::into_inner);
        let entry = entry.map_err(|error| error.code());
        lines.push((String::new(), format!("map {id}: {entry:?}")));
    }
    for mut one in ext.list_links(ext::ListLinksRequest::default()).await?.into_inner().links {
        if let Some(v1::attach_info::Info::XdpAttachInfo(at)) =
            one.attach_info.as_mut().and_then(|at| at.info.as_mut())
        {
            let place = std::mem::take(&mut at.position);
            lines.push((String::new(), format!("place of link {}: {place}", one.id)));
        }
        digest.links.insert(one.id);
        let text = format!(
            "link {} of {} at {}: {:?}, {}, {}",
            one.id, one.program_id, one.hook, one.attach_info, one.state, one.shadow
        );
        lines.push((one.owner, text));
    }
    for one in chains.list_matching(ext::ListMatchingRequest {}).await?.into_inner().matchings {
        let owner = owners.get(&one.program_id).cloned().unwrap_or_default();
        digest.matchings.insert(one.id);
        lines.push((owner, format!("matching {} of {}: {:?}", one.id, one.program_id, one.r#match)));
    }
    for iface in interfaces {
        let netns = netns.clone();
        let hook = ext::Hook { kind: "xdp".to_owned(), iface: iface.clone(), netns, ..Default::default() };
        let request = ext::ShowChainRequest { hook: Some(hook), sample_ms: 0 };
        let settings = match chains.show_chain(request).await {
            Ok(shown) => {
                let hook = shown.into_inner();
                let switches = (hook.counters, hook.as_subprograms, hook.timing, hook.keep_attached);
                format!(
                    "{switches:?}, frozen: {:?}",
                    (hook.held, hook.held_by, hook.held_seconds_left.is_some())
                )
            }
            Err(none) => none.message().to_owned(),
        };
        lines.push((String::new(), format!("settings of {iface}: {settings}")));
    }
    digest.lines = lines;
    Ok(digest)
}
