use std::path::Path;

use bpfman_model::uapi::{attach_type, link_type, prog_type};
use bpfman_model::{MapId, PerfEventPlace, PerfSource, SampleRate, map_type};

use super::errno::{EBUSY, EEXIST, EINVAL, ENOENT, ENOLINK, ETIMEDOUT};
use super::groups::group_hook;
use super::hooks::runs_in;
use super::network::AttachedBy;
use super::objects::{Body, Key, MAP, SimLinkTarget};
use super::{SimState, refuse};
use crate::{KernelError, LinkTarget};

/// `/proc/sys/kernel/perf_event_max_sample_rate` of most machines.
const MAX_SAMPLES: u64 = 100_000;

impl SimState {
    pub(super) fn attach(&mut self, program: Key, target: &LinkTarget<'_>) -> Result<Key, KernelError> {
        let Body::Program { kind, attach_btf_id, .. } = &self.object(program)?.body else {
            return Err(refuse("attach", "what is no program", EINVAL));
        };
        let (kind, kernel_type, attach_btf_id) = (*kind, kind.kernel_type, *attach_btf_id);
        let fits = match target {
            LinkTarget::Xdp { .. } => kernel_type == prog_type::XDP,
            LinkTarget::Tcx { .. } => kernel_type == prog_type::SCHED_CLS,
            LinkTarget::Tracepoint { .. } => kernel_type == prog_type::TRACEPOINT,
            LinkTarget::Kprobe { .. } | LinkTarget::Ksyscall { .. } | LinkTarget::Uprobe { .. } => {
                kernel_type == prog_type::KPROBE
            }
            LinkTarget::Trampoline { .. } | LinkTarget::Iterator => attach_btf_id != 0,
            LinkTarget::RawTracepoint { .. } => {
                matches!(kernel_type, prog_type::RAW_TRACEPOINT | prog_type::RAW_TRACEPOINT_WRITABLE)
            }
            LinkTarget::Netkit { attach_type, .. } => kind.expected_attach_type == *attach_type,
            LinkTarget::Usdt { .. } => kind.expected_attach_type == attach_type::TRACE_UPROBE_MULTI,
            LinkTarget::KprobeMulti { attach_type, .. } | LinkTarget::UprobeMulti { attach_type, .. } => {
                kind.expected_attach_type == *attach_type
            }
            LinkTarget::Cgroup { attach_type, .. } | LinkTarget::Netns { attach_type, .. } => {
                kind.expected_attach_type == *attach_type
            }
            LinkTarget::Netfilter { .. } => kernel_type == prog_type::NETFILTER,
            LinkTarget::PerfEvent { .. } => kernel_type == prog_type::PERF_EVENT,
            LinkTarget::Sockmap { attach_type, .. } => kind.expected_attach_type == *attach_type,
            LinkTarget::StructOps { .. } => kernel_type == prog_type::STRUCT_OPS,
            LinkTarget::Replacement(_) => kernel_type == prog_type::EXT,
        };
        if !fits {
            return Err(refuse("attach", format!("a program of type {kernel_type} to {target:?}"), EINVAL));
        }
        match target {
            LinkTarget::Xdp { home, ifindex, mode, .. } => {
                let (netns, ifindex) = self.xdp_place(program, *home, *ifindex, *mode)?;
                let link =
                    self.objects.add(Body::Link { program, place: SimLinkTarget::Xdp { netns, ifindex } });
                self.network.xdp.insert((netns, ifindex), (AttachedBy::Link(link), runs_in(*mode)));
                Ok(link)
            }
            LinkTarget::Replacement(extends) => self.attach_replacement(program, *extends),
            LinkTarget::Tcx { home, ifindex, direction, anchor, expected_revision, .. } => {
                let hook = (*home, *ifindex, *direction);
                let (place, at) = self.tcx_position(program, hook, *anchor, *expected_revision)?;
                let (netns, ifindex, direction) = place;
                let link = self
                    .objects
                    .add(Body::Link { program, place: SimLinkTarget::Tcx { netns, ifindex, direction } });
                self.insert_tcx(place, at, AttachedBy::Link(link));
                Ok(link)
            }
            LinkTarget::Tracepoint { category, name, .. } => {
                let point = format!("{category}/{name}");
                // All links to a tracepoint share one list of programs; each probe has its own list.
                let place = SimLinkTarget::Event(format!("trace point {point}"));
                if self.attached_to(program, &place) {
                    return Err(refuse("attach", format!("a program to trace point {point}"), EEXIST));
                }
                Ok(self.objects.add(Body::Link { program, place }))
            }
            LinkTarget::Ksyscall { name, .. } => {
                let place = SimLinkTarget::Event(format!("system call {name}"));
                Ok(self.objects.add(Body::Link { program, place }))
            }
            LinkTarget::Kprobe { function, offset, .. } => {
                let place = SimLinkTarget::Event(format!("{function}+{offset}"));
                Ok(self.objects.add(Body::Link { program, place }))
            }
            LinkTarget::Uprobe { target, function, offset, .. } => {
                let (function, file) = (function.unwrap_or(""), self.targets.suffix(target));
                let place = SimLinkTarget::Event(format!("{target}:{function}+{offset}{file}"));
                Ok(self.objects.add(Body::Link { program, place }))
            }
            LinkTarget::RawTracepoint { name, .. } => {
                let at = format!("raw trace point {name}");
                self.attach_once(program, SimLinkTarget::Place { kernel_type: link_type::RAW_TRACEPOINT, at })
            }
            LinkTarget::KprobeMulti { functions, .. } => {
                self.refuse_functions_of_modules(functions)?;
                let at = functions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let place = SimLinkTarget::Place { kernel_type: link_type::KPROBE_MULTI, at };
                Ok(self.objects.add(Body::Link { program, place }))
            }
            LinkTarget::UprobeMulti { target, functions, .. } => {
                let at = format!("{target}: {}{}", functions.join(", "), self.targets.suffix(target));
                let place = SimLinkTarget::Place { kernel_type: link_type::UPROBE_MULTI, at };
                Ok(self.objects.add(Body::Link { program, place }))
            }
            LinkTarget::Netkit { home, netns, interface, attach_type } => {
                let namespace = self.network.reach_known(*home, *netns)?;
                let ifindex = namespace.index(interface).ok_or_else(|| KernelError::NoInterface {
                    name: (*interface).to_owned(),
                    netns: netns.map(Path::to_owned),
                })?;
                let (netns, attach_type) = (namespace.id, *attach_type);
                self.attach_once(program, SimLinkTarget::Netkit { netns, ifindex, attach_type })
            }
            LinkTarget::Usdt { target, provider, name, .. } => {
                let at = format!("{target}: probe {provider}:{name}{}", self.targets.suffix(target));
                let place = SimLinkTarget::Place { kernel_type: link_type::UPROBE_MULTI, at };
                Ok(self.objects.add(Body::Link { program, place }))
            }
            LinkTarget::Cgroup { path, attach_type, anchor, expected_revision } => {
                self.attach_to_group(program, group_hook(path, *attach_type), *anchor, *expected_revision)
            }
            LinkTarget::Netns { home, netns, attach_type } => {
                let netns = self.network.reach_known(*home, *netns)?.id.inode;
                let at = format!("network namespace {netns}, hook {attach_type}");
                let place = SimLinkTarget::Place { kernel_type: link_type::NETNS, at };
                Ok(self.objects.add(Body::Link { program, place }))
            }
            LinkTarget::Netfilter { home, netns, place } => {
                let netns = self.network.reach_known(*home, *netns)?.id.inode;
                let at = format!("{place} of network namespace {netns}");
                let at = SimLinkTarget::Place { kernel_type: link_type::NETFILTER, at };
                if self
                    .objects
                    .all
                    .values()
                    .any(|object| matches!(&object.body, Body::Link { place, .. } if *place == at))
                {
                    return Err(KernelError::priority_taken(place));
                }
                Ok(self.objects.add(Body::Link { program, place: at }))
            }
            LinkTarget::Sockmap { map, attach_type } => self.attach_to_sockmap(program, *map, *attach_type),
            LinkTarget::StructOps { map } => self.attach_struct_ops(program, *map),
            LinkTarget::PerfEvent { place } => {
                self.check_perf_event(place)?;
                let place = SimLinkTarget::Event(format!("perf event {place}"));
                Ok(self.objects.add(Body::Link { program, place }))
            }
            LinkTarget::Iterator => {
                let place = SimLinkTarget::Place { kernel_type: link_type::ITER, at: "iterator".to_owned() };
                Ok(self.objects.add(Body::Link { program, place }))
            }
            LinkTarget::Trampoline { .. } => {
                if self.attached_to(program, &SimLinkTarget::Trampoline) {
                    let what = "the program to the function it was loaded for";
                    return Err(refuse("attach", what, EBUSY));
                }
                Ok(self.objects.add(Body::Link { program, place: SimLinkTarget::Trampoline }))
            }
        }
    }

    fn attach_once(&mut self, program: Key, place: SimLinkTarget) -> Result<Key, KernelError> {
        if self.attached_to(program, &place) {
            return Err(refuse("attach", format!("a program to {place:?}"), EEXIST));
        }
        Ok(self.objects.add(Body::Link { program, place }))
    }

    fn attached_to(&self, program: Key, at: &SimLinkTarget) -> bool {
        self.objects.all.values().any(|object| {
            matches!(&object.body, Body::Link { program: other, place } if *other == program && place == at)
        })
    }

    /// A sockmap runs one program per hook, and only one of the two verdict programs.
    fn attach_to_sockmap(&mut self, program: Key, map: MapId, attach_type: u32) -> Result<Key, KernelError> {
        let fail = |number| refuse("attach", format!("a program to map {map}"), number);
        let key = self.objects.find(MAP, map.0).ok_or_else(|| fail(ENOENT))?;
        match &self.object(key)?.body {
            Body::Map { spec, .. } if matches!(spec.map_type, map_type::SOCKMAP | map_type::SOCKHASH) => {}
            _ => return Err(fail(EINVAL)),
        }
        let excluded = |other: u32| {
            let verdicts = [attach_type::SK_SKB_STREAM_VERDICT, attach_type::SK_SKB_VERDICT];
            other == attach_type || (verdicts.contains(&other) && verdicts.contains(&attach_type))
        };
        let is_held = self.objects.all.values().any(|object| {
            matches!(object.body, Body::Link { place: SimLinkTarget::Sockmap { map, attach_type: other }, .. }
                if map == key && excluded(other))
        });
        if is_held {
            return Err(KernelError::sockmap_held(map));
        }
        let place = SimLinkTarget::Sockmap { map: key, attach_type };
        Ok(self.objects.add(Body::Link { program, place }))
    }

    fn check_perf_event(&self, place: &PerfEventPlace) -> Result<(), KernelError> {
        if place.event.source() == PerfSource::Hardware {
            return Err(KernelError::NoCounter { event: place.event.name() });
        }
        match place.rate {
            SampleRate::Frequency(frequency) if frequency > MAX_SAMPLES => {
                return Err(KernelError::TooFrequent { frequency, most: MAX_SAMPLES });
            }
            _ => {}
        }
        match place.cpu {
            Some(cpu) if !self.online_cpus.contains(&cpu) => {
                Err(KernelError::NoCpu { cpu, online: self.online_cpus.clone() })
            }
            None if place.pid.is_none() => Err(refuse("open", format!("perf event {place}"), EINVAL)),
            _ => Ok(()),
        }
    }

    pub(super) fn program_of_link(&self, link: Key) -> Option<Key> {
        match &self.objects.all.get(&link)?.body {
            Body::Link { program, .. } => Some(*program),
            _ => None,
        }
    }

    pub(super) fn replace(&mut self, link: Key, new: Key, expected: Key) -> Result<(), KernelError> {
        let id = self.objects.id(link);
        let fail = |number| refuse("swap the program", format!("of link {id}"), number);
        let (old, place) = match &self.object(link)?.body {
            Body::Link { program, place } => (*program, place.clone()),
            _ => return Err(fail(EINVAL)),
        };
        let wanted = match &self.object(new)?.body {
            Body::Program { kind, .. } => kind.kernel_type,
            _ => return Err(fail(EINVAL)),
        };
        match &place {
            SimLinkTarget::Xdp { .. } if wanted == 6 => {}
            SimLinkTarget::Tcx { netns, ifindex, direction } if wanted == 3 => {
                let there = self.network.tcx.get(&(*netns, *ifindex, *direction));
                if old == expected
                    && old != new
                    && there.is_some_and(|hook| {
                        hook.entries.iter().any(|entry| self.program_at(*entry) == Some(new))
                    })
                {
                    return Err(fail(EEXIST));
                }
            }
            SimLinkTarget::Sockmap { .. } | SimLinkTarget::Group { .. } => {
                let is_alike = matches!(
                    &self.object(old)?.body, Body::Program { kind, .. } if kind.kernel_type == wanted
                );
                if !is_alike {
                    return Err(fail(EINVAL));
                }
            }
            SimLinkTarget::Place { .. } | SimLinkTarget::Netkit { .. } => {
                let kernel_type = place.kernel_type();
                let updates = [link_type::NETNS, link_type::ITER, link_type::NETKIT].contains(&kernel_type);
                let is_alike = matches!(
                    &self.object(old)?.body, Body::Program { kind, .. } if kind.kernel_type == wanted
                );
                if !updates || !is_alike {
                    return Err(fail(EINVAL));
                }
            }
            SimLinkTarget::Nowhere { .. } => return Err(fail(ENOLINK)),
            _ => return Err(fail(EINVAL)),
        }
        if old != expected {
            return Err(KernelError::HookChanged { hook: format!("of link {id}") });
        }
        self.objects.use_it(new);
        if let Some(Body::Link { program, .. }) =
            self.objects.all.get_mut(&link).map(|object| &mut object.body)
        {
            *program = new;
        }
        if let SimLinkTarget::Tcx { netns, ifindex, direction } = place
            && let Some(hook) = self.network.tcx.get_mut(&(netns, ifindex, direction))
        {
            hook.revision += 1;
        }
        self.unuse(old);
        Ok(())
    }

    /// Detaches a link of the network by force: the link stays, but runs nothing any more.
    pub(super) fn detach(&mut self, link: Key) {
        let Some(Body::Link { place, .. }) = self.objects.all.get_mut(&link).map(|object| &mut object.body)
        else {
            return;
        };
        let forced = match place {
            SimLinkTarget::Xdp { .. }
            | SimLinkTarget::Tcx { .. }
            | SimLinkTarget::Netkit { .. }
            | SimLinkTarget::Group { .. }
            | SimLinkTarget::Sockmap { .. } => true,
            SimLinkTarget::Place { kernel_type, .. } => *kernel_type == link_type::NETNS,
            _ => false,
        };
        if forced {
            let kernel_type = place.kernel_type();
            let left = std::mem::replace(place, SimLinkTarget::Nowhere { kernel_type });
            self.network.leave(&left, link);
            if let SimLinkTarget::Sockmap { map, .. } = left {
                self.unuse(map);
            }
        }
    }

    pub(super) fn end_link(&mut self, path: &Path) -> Result<(), KernelError> {
        let fail = |number| refuse("end link", path.display().to_string(), number);
        let Some(link) = self.pins.get(path).map_err(fail)? else { return Ok(()) };
        if !matches!(self.object(link)?.body, Body::Link { .. }) {
            return Err(fail(EINVAL));
        }
        self.detach(link);
        self.pins.unpin(path).map_err(fail)?;
        self.let_go(link);
        if self.objects.all.contains_key(&link) { Err(fail(ETIMEDOUT)) } else { Ok(()) }
    }
}
