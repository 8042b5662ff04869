//! Clients of the [kill loop](super::kill_loop), each with a record of the acknowledged changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_proto::v1::attach_info::Info;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::random::Random;
use bpfman_tests::requests::{attach, load, number, pairs, tcx};
use bpfman_tests::{Wire, compile};

use crate::kill_loop_place::{Mode, Place};

const MAX_PROGRAMS: usize = 5;
const XDP_PASS: i32 = 2;
const TC_OK: i32 = 0;
/// Verdict that passes a packet to the next tcx link: any other one ends the list.
const TCX_NEXT: i32 = -1;
/// Metadata key that identifies programs and links: program ids change with a reboot.
const NAME: &str = "unit";

pub struct Client {
    wire: Wire,
    random: Random,
    index: usize,
    made: usize,
    pub calls: usize,
    programs: BTreeMap<String, u32>,
    links: BTreeMap<String, (u32, String)>,
    open: BTreeSet<String>,
}

impl Client {
    pub fn new(wire: Wire, index: usize, seed: u64) -> Self {
        Self {
            wire,
            random: Random(seed ^ (index as u64 + 1) << 20),
            index,
            made: 0,
            calls: 0,
            programs: BTreeMap::new(),
            links: BTreeMap::new(),
            open: BTreeSet::new(),
        }
    }

    fn name(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}-{}-{}", self.index, self.made)
    }

    fn any<V: Clone>(random: &mut Random, map: &BTreeMap<String, V>) -> Option<(String, V)> {
        let at = random.below(map.len().max(1));
        map.iter().nth(at).map(|(name, value)| (name.clone(), value.clone()))
    }

    pub fn work(&mut self, place: &Place, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let call = match self.random.below(8) {
                0 | 1 if self.programs.len() < MAX_PROGRAMS => self.load(),
                2..=4 => self.attach(place),
                5 | 6 => self.detach(),
                _ => self.unload(),
            };
            match call {
                Ok(()) => self.calls += 1,
                Err(status) if status.code() == tonic::Code::Unavailable => return,
                Err(status) if is_broken(&status) => return,
                Err(status) => panic!("client {}: {status:?}", self.index),
            }
        }
    }

    fn load(&mut self) -> Result<(), tonic::Status> {
        let (program, kind, verdict) = match self.random.below(3) {
            0 => ("tcx_member", Type::Tcx, TCX_NEXT),
            1 => ("tc_member", Type::Tc, TC_OK),
            _ => ("xdp_member", Type::Xdp, XDP_PASS),
        };
        let short = program.split('_').next().unwrap_or_default();
        let name = self.name(short);
        let mut request = member(program, kind, verdict);
        request.metadata = pairs(&[(NAME, &name)]);
        self.open.insert(name.clone());
        let loaded = self.wire.load(request)?;
        self.open.remove(&name);
        self.programs.insert(name, loaded.programs[0].kernel_info.as_ref().unwrap().id);
        Ok(())
    }

    fn attach(&mut self, place: &Place) -> Result<(), tonic::Status> {
        let Some((program, id)) = Self::any(&mut self.random, &self.programs) else { return Ok(()) };
        let priority = 10 + i32::try_from(self.random.below(900)).unwrap();
        let mut point = match program.split('-').next() {
            Some("xdp") => place.xdp_at(priority, &mut self.random),
            Some("tc") => place.tc_at(priority, &mut self.random),
            _ if !place.has_tcx || self.links.values().any(|(_, of)| *of == program) => return Ok(()),
            _ => tcx(&place.tc.path(&mut self.random), INTERFACE, "ingress", priority),
        };
        let isolated =
            place.mode.clsact && matches!(point, Info::TcAttachInfo(_)) && self.random.below(2) == 0;
        let name = self.name("link");
        let metadata = match &mut point {
            Info::XdpAttachInfo(info) => &mut info.metadata,
            Info::TcAttachInfo(info) => &mut info.metadata,
            Info::TcxAttachInfo(info) => &mut info.metadata,
            other => panic!("{other:?}"),
        };
        metadata.insert(NAME.to_owned(), name.clone());
        self.open.insert(name.clone());
        let attached = if isolated {
            let attach = Some(v1::AttachInfo { info: Some(point) });
            let request = ext::ChainAttachRequest {
                program_id: id,
                attach,
                isolated,
                again: true,
                ..Default::default()
            };
            self.wire.attach_by_chains(request).map(|link| link.id)
        } else {
            self.wire.attach(attach(id, point)).map(|answer| answer.link_id)
        };
        match attached {
            Ok(link) => {
                self.open.remove(&name);
                self.links.insert(name, (link, program));
                Ok(())
            }
            // All clients share the chains, which may be full.
            Err(status)
                if status.code() == tonic::Code::FailedPrecondition && status.message().contains("most") =>
            {
                self.open.remove(&name);
                self.detach()
            }
            Err(status) => Err(status),
        }
    }

    fn detach(&mut self) -> Result<(), tonic::Status> {
        let Some((name, (link_id, _))) = Self::any(&mut self.random, &self.links) else { return Ok(()) };
        self.links.remove(&name);
        self.open.insert(name.clone());
        self.wire.detach(v1::DetachRequest { link_id })?;
        self.open.remove(&name);
        Ok(())
    }

    fn unload(&mut self) -> Result<(), tonic::Status> {
        let Some((name, id)) = Self::any(&mut self.random, &self.programs) else { return Ok(()) };
        let links: Vec<String> =
            self.links.iter().filter(|(_, (_, of))| *of == name).map(|(link, _)| link.clone()).collect();
        self.programs.remove(&name);
        links.iter().for_each(|link| drop(self.links.remove(link)));
        self.open.insert(name.clone());
        self.open.extend(links.iter().cloned());
        self.wire.unload(v1::UnloadRequest { id })?;
        self.open.remove(&name);
        self.open.retain(|name| !links.contains(name));
        Ok(())
    }

    pub fn check(&mut self, there: &There) {
        let index = self.index.to_string();
        let mine = |name: &str| name.split('-').nth(1) == Some(&index);
        let found: BTreeSet<String> = there.names().filter(|name| mine(name)).cloned().collect();
        let sure: BTreeSet<String> = self.programs.keys().chain(self.links.keys()).cloned().collect();
        let lost: Vec<_> = sure.difference(&found).collect();
        assert!(lost.is_empty(), "acknowledged, and gone: {lost:?}");
        let leaked: Vec<_> = found.iter().filter(|n| !sure.contains(*n) && !self.open.contains(*n)).collect();
        assert!(leaked.is_empty(), "acknowledged to be gone, or never asked for: {leaked:?}");
        self.open.clear();
        self.programs =
            there.programs.iter().filter(|(n, _)| mine(n)).map(|(n, id)| (n.clone(), *id)).collect();
        let links = there.links.iter().filter(|(name, _)| mine(name));
        self.links = links.map(|(name, link)| (name.clone(), link.clone())).collect();
    }
}

fn is_broken(status: &tonic::Status) -> bool {
    use tonic::Code;
    matches!(status.code(), Code::Unknown | Code::Internal | Code::Cancelled)
        && ["transport", "h2 protocol", "connection", "broken pipe", "stream"]
            .iter()
            .any(|word| status.message().to_lowercase().contains(word))
}

pub fn member(program: &str, kind: Type, verdict: i32) -> v1::LoadRequest {
    let mut request = load(&compile::object("chain"), &[(program, kind)]);
    request.global_data.insert("verdict".to_owned(), number(verdict));
    request
}

pub struct There {
    pub programs: BTreeMap<String, u32>,
    pub links: BTreeMap<String, (u32, String)>,
}

impl There {
    pub fn of(wire: &Wire, mode: Mode) -> Self {
        let listed = wire.list_programs(ext::ListProgramsRequest::default()).unwrap().programs;
        let mut programs = BTreeMap::new();
        let mut by_id = BTreeMap::new();
        for program in listed {
            let (Some(info), Some(facts)) = (program.info, program.kernel_info) else { continue };
            let Some(name) = info.metadata.get(NAME) else { continue };
            assert_eq!(program.state, "ok", "{name}");
            programs.insert(name.clone(), facts.id);
            by_id.insert(facts.id, name.clone());
        }
        let listed = wire.list_links(ext::ListLinksRequest::default()).unwrap().links;
        let links = listed.into_iter().filter_map(|link| {
            let name = link.metadata.get(NAME)?.clone();
            let is_elsewhere = mode.unnamed && link.state.starts_with("elsewhere: /run/netns/");
            assert!(link.state == "ok" || is_elsewhere, "{name}: {}", link.state);
            Some((name, (link.id, by_id[&link.program_id].clone())))
        });
        Self { links: links.collect(), programs }
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.programs.keys().chain(self.links.keys())
    }
}
