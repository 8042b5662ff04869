use std::time::SystemTime;

use bpfman_model::map_type::{
    ARENA, ARRAY, ARRAY_OF_MAPS, HASH_OF_MAPS, PERCPU_ARRAY, PERF_EVENT_ARRAY, PROG_ARRAY, RINGBUF,
    STRUCT_OPS, USER_RINGBUF, has_no_entries, ring_bytes,
};
use bpfman_model::uapi::{link_type, prog_type};
use bpfman_model::{
    BtfId, IfIndex, Insn, KernelLinkId, LinkFacts, MapFacts, MapId, MapRole, MapSpec, ProgramFacts, ProgramId,
};

use sha2::{Digest as _, Sha256};

use super::errno::{self, EBADF, EINVAL, ENOENT};
use super::objects::{Body, Key, MAP, Object, SimLinkTarget};
use super::{PAGE, SimState, refuse};
use crate::{EXTENSION, KernelError, ProgramLoad, RefusalReason};

/// GPL-compatible licences, as the kernel spells them.
const GPL: [&str; 6] =
    ["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];

pub(super) fn kernel_name(name: &str) -> String {
    name.chars()
        .take(15)
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '.' { c } else { '_' })
        .collect()
}

fn max_entries(spec: &MapSpec) -> Option<u32> {
    match spec.map_type {
        0 => None,
        PERF_EVENT_ARRAY if spec.max_entries == 0 => Some(1),
        RINGBUF | USER_RINGBUF if spec.key_size != 0 || spec.value_size != 0 => None,
        RINGBUF | USER_RINGBUF => Some(ring_bytes(spec.max_entries, PAGE)),
        ARRAY | PERCPU_ARRAY | PROG_ARRAY | PERF_EVENT_ARRAY | ARRAY_OF_MAPS if spec.key_size != 4 => None,
        ARRAY_OF_MAPS | HASH_OF_MAPS if spec.inner.is_none() => None,
        STRUCT_OPS => (spec.max_entries == 1).then_some(1),
        kind if has_no_entries(kind) => (spec.max_entries == 0).then_some(0),
        _ => (spec.max_entries > 0).then_some(spec.max_entries),
    }
}

/// SHA-256 over the instructions without their maps, as in Linux 6.18.
fn tag(insns: &[Insn]) -> [u8; 8] {
    let mut hash = Sha256::new();
    let mut second_half = false;
    for insn in insns {
        let is_reference = !second_half && insn.is_map_reference();
        let imm = if is_reference || second_half { 0 } else { insn.imm };
        hash.update(Insn { imm, ..*insn }.to_ne_bytes());
        second_half = is_reference;
    }
    hash.finalize().first_chunk().copied().unwrap_or_default()
}

impl SimState {
    pub(super) fn object(&self, key: Key) -> Result<&Object, KernelError> {
        self.objects.all.get(&key).ok_or_else(|| refuse("use", "a handle of before the reboot", EBADF))
    }

    pub(super) fn create_map(&mut self, spec: &MapSpec) -> Result<Key, KernelError> {
        let fail = || refuse("create", format!("map \"{}\"", spec.name), EINVAL);
        let max_entries = max_entries(spec).ok_or_else(|| match spec.max_entries {
            0 if !matches!(spec.map_type, 0 | RINGBUF | USER_RINGBUF) => KernelError::UnsizedMap {
                map: spec.name.clone(),
                property: "max_entries",
                source: std::io::Error::from_raw_os_error(EINVAL),
            },
            _ => fail(),
        })?;
        if let Some(inner) = spec.inner.as_deref() {
            self::max_entries(inner).ok_or_else(fail)?;
        }
        let fits = match spec.map_type {
            ARENA => spec.initial.len() <= spec.max_entries as usize * PAGE as usize,
            _ => spec.initial.is_empty() || spec.initial.len() == spec.value_size as usize,
        };
        if !fits {
            return Err(refuse("fill", format!("map \"{}\"", spec.name), EINVAL));
        }
        Ok(self.objects.add(Body::Map {
            spec: spec.clone(),
            max_entries,
            slots: Default::default(),
            entries: Default::default(),
        }))
    }

    pub(super) fn program_in_slot(&self, map: Key, slot: u32) -> Result<Option<ProgramId>, KernelError> {
        match &self.object(map)?.body {
            Body::Map { slots, .. } => {
                let program = slots.get(&slot).map(|program| self.object(*program)).transpose()?;
                Ok(program.map(|program| ProgramId(program.id)))
            }
            _ => Err(refuse("read", format!("slot {slot} of a map"), EINVAL)),
        }
    }

    pub(super) fn bind_map(&mut self, program: Key, map: Key) -> Result<(), KernelError> {
        let is_map = matches!(self.object(map)?.body, Body::Map { .. });
        match self.objects.all.get_mut(&program).map(|object| &mut object.body) {
            Some(Body::Program { maps, .. }) if is_map => {
                if !maps.contains(&map) {
                    maps.push(map);
                    self.objects.use_it(map);
                }
                Ok(())
            }
            _ => Err(refuse("bind", "a map to a program".to_owned(), EINVAL)),
        }
    }

    pub(super) fn fill_slot(&mut self, map: Key, slot: u32, value: Key) -> Result<(), KernelError> {
        let fail = |number| refuse("fill", format!("slot {slot} of a map"), number);
        let takes = match &self.object(map)?.body {
            Body::Map { max_entries, spec, .. } if slot < *max_entries || spec.map_type == HASH_OF_MAPS => {
                spec.map_type
            }
            Body::Map { .. } => return Err(fail(errno::E2BIG)),
            _ => return Err(fail(EINVAL)),
        };
        let fits = match &self.object(value)?.body {
            Body::Map { .. } => matches!(takes, ARRAY_OF_MAPS | HASH_OF_MAPS),
            Body::Program { .. } => takes == PROG_ARRAY,
            _ => false,
        };
        if !fits {
            return Err(fail(EINVAL));
        }
        self.objects.use_it(value);
        let old = match self.objects.all.get_mut(&map).map(|object| &mut object.body) {
            Some(Body::Map { slots, .. }) => slots.insert(slot, value),
            _ => None,
        };
        if let Some(old) = old {
            self.unuse(old);
        }
        Ok(())
    }

    pub(super) fn load_program(&mut self, load: &ProgramLoad<'_>) -> Result<Key, KernelError> {
        let text = &load.text.0;
        let mut maps = Vec::new();
        for MapId(id) in load.text.map_ids() {
            let map = self
                .objects
                .find(MAP, id)
                .ok_or_else(|| refuse("open", format!("map {id} of program \"{}\"", text.name), ENOENT))?;
            maps.push(map);
        }
        let refused = |message: &str, number| {
            let log =
                if message.is_empty() { String::new() } else { format!("{message}\nprocessed 1 insns\n") };
            let why = RefusalReason::read(&log, text);
            KernelError::Refused { program: text.name.clone(), why, log, source: errno::error(number) }
        };
        // fentry, fexit and LSM programs need a target in the BTF of the kernel, extensions need a program.
        let needs_target =
            matches!(load.kind.kernel_type, prog_type::TRACING | prog_type::LSM | prog_type::STRUCT_OPS);
        if text.insns.is_empty()
            || needs_target != (load.attach_btf_id != 0)
            || (load.kind == EXTENSION) != load.extends.is_some()
        {
            return Err(refused("", EINVAL));
        }
        let target = load.extends.map(|extends| self.extended(extends)).transpose()?;
        let device = match load.device {
            None => None,
            Some(device) => {
                let netns = self.network.place(device.netns, device.ifindex)?;
                Some((netns.ok_or_else(|| refused("", EINVAL))?, device.ifindex))
            }
        };
        let without_perfmon = self.longest_without_perfmon.filter(|_| load.without_perfmon);
        let longest = self.longest.into_iter().chain(without_perfmon).min();
        if let Some(longest) = longest.filter(|longest| text.insns.len() > *longest) {
            return Err(refused(
                &format!("{longest}: (85) call unknown#0\ninvalid func unknown#0"),
                errno::EINVAL,
            ));
        }
        if self.refused.contains(&text.name)
            || self.refused.contains(load.name)
            || self.refused_next.remove(&text.name)
        {
            *self.refused_loads.entry(text.name.clone()).or_default() += 1;
            return Err(refused("R2 !read_ok", errno::EACCES));
        }
        let mut refused_by_constant = false;
        for (constant, seen) in &mut self.constants {
            if text.insns.iter().any(|insn| insn.imm == *constant) {
                seen.asked += 1;
                seen.accepted += u64::from(!seen.refused);
                refused_by_constant |= seen.refused;
            }
        }
        if refused_by_constant {
            return Err(refused("R2 !read_ok", errno::EACCES));
        }
        let btf = (text.btf.is_some() && !text.func_info.is_empty()).then(|| self.objects.add(Body::Btf));
        Ok(self.objects.add(Body::Program {
            name: kernel_name(load.name),
            kind: load.kind,
            tag: tag(&text.insns),
            gpl: GPL.contains(&text.license.as_str()),
            insns: text.insns.len() as u32,
            loaded_at: SystemTime::now(),
            attach_btf_id: load.attach_btf_id,
            types: btf.and(text.btf.clone()),
            btf,
            maps,
            target,
            device,
            without_perfmon: load.without_perfmon,
        }))
    }

    pub(super) fn program_facts(&self, key: Key) -> Result<ProgramFacts, KernelError> {
        let object = self.object(key)?;
        let Body::Program { name, kind, tag, gpl, insns, loaded_at, btf, maps, .. } = &object.body else {
            return Err(refuse("describe", "a program", EINVAL));
        };
        Ok(ProgramFacts {
            id: ProgramId(object.id),
            name: name.clone(),
            kernel_type: kind.kernel_type,
            tag: *tag,
            loaded_at: *loaded_at,
            created_by_uid: 0,
            gpl_compatible: *gpl,
            map_ids: maps.iter().map(|map| MapId(self.objects.id(*map))).collect(),
            btf_id: btf.map(|btf| BtfId(self.objects.id(btf))),
            bytes_xlated: insns * 8,
            bytes_jited: insns * 5,
            bytes_memlock: 4096,
            verified_insns: self.walked.unwrap_or(*insns),
        })
    }

    pub(super) fn map_facts(&self, key: Key) -> Result<MapFacts, KernelError> {
        let object = self.object(key)?;
        let Body::Map { spec, max_entries, .. } = &object.body else {
            return Err(refuse("describe", "a map", EINVAL));
        };
        Ok(MapFacts {
            id: MapId(object.id),
            name: kernel_name(&spec.name),
            map_type: spec.map_type,
            key_size: spec.key_size,
            value_size: spec.value_size,
            max_entries: *max_entries,
            flags: spec.flags,
            bytes_memlock: u64::from(*max_entries) * u64::from(spec.key_size + spec.value_size),
            frozen: spec.role == MapRole::Rodata,
        })
    }

    pub(super) fn link_facts(&self, key: Key) -> Result<LinkFacts, KernelError> {
        let object = self.object(key)?;
        let Body::Link { program, place } = &object.body else {
            return Err(refuse("describe", "a link", EINVAL));
        };
        Ok(LinkFacts {
            id: KernelLinkId(object.id),
            kernel_type: place.kernel_type(),
            program: match place {
                SimLinkTarget::StructOps { .. } => ProgramId(0),
                _ => ProgramId(self.objects.id(*program)),
            },
            map: match place {
                SimLinkTarget::StructOps { map } => Some(MapId(self.objects.id(*map))),
                _ => None,
            },
            ifindex: place.ifindex(),
            gone: matches!(place, SimLinkTarget::Nowhere { .. }),
        })
    }
}

impl SimLinkTarget {
    pub(super) const fn kernel_type(&self) -> u32 {
        match self {
            Self::Xdp { .. } => link_type::XDP,
            Self::Tcx { .. } => link_type::TCX,
            Self::Netkit { .. } => link_type::NETKIT,
            Self::Event(_) => link_type::PERF_EVENT,
            Self::Group { .. } => link_type::CGROUP,
            Self::Sockmap { .. } => link_type::SOCKMAP,
            Self::StructOps { .. } => link_type::STRUCT_OPS,
            Self::Trampoline | Self::Replacement { .. } => link_type::TRACING,
            Self::Place { kernel_type, .. } | Self::Nowhere { kernel_type } => *kernel_type,
        }
    }

    pub(super) const fn ifindex(&self) -> Option<IfIndex> {
        match self {
            Self::Xdp { ifindex, .. } | Self::Tcx { ifindex, .. } => Some(*ifindex),
            _ => None,
        }
    }
}
