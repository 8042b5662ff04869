//! Simulated `struct_ops` maps.

use bpfman_model::uapi::prog_type;
use bpfman_model::{MapId, MapSpec, map_type};

use super::errno::{EBUSY, EINVAL, ENOENT, ENOLINK};
use super::objects::{Body, Key, MAP, SimLinkTarget};
use super::{SimState, refuse};
use crate::{KernelError, StructOpsSpec};

const KEY: [u8; 4] = [0; 4];

impl SimState {
    pub(super) fn create_struct_ops(
        &mut self,
        spec: &StructOpsSpec<'_>,
        btf: Key,
    ) -> Result<Key, KernelError> {
        if !matches!(self.object(btf)?.body, Body::Btf) || spec.value == 0 {
            return Err(refuse("create", format!("map \"{}\"", spec.name), EINVAL));
        }
        self.create_map(&MapSpec::sized(spec.name, map_type::STRUCT_OPS, 4, spec.value_size, 1))
    }

    pub(super) fn fill_struct_ops(
        &mut self,
        map: Key,
        value: &[u8],
        programs: &[(u32, Key)],
    ) -> Result<(), KernelError> {
        let fail = |number| refuse("fill", "a struct_ops map", number);
        match &self.object(map)?.body {
            Body::Map { spec, entries, .. }
                if spec.map_type == map_type::STRUCT_OPS && spec.value_size as usize == value.len() =>
            {
                if !entries.is_empty() {
                    return Err(fail(EBUSY));
                }
            }
            _ => return Err(fail(EINVAL)),
        }
        for (_, program) in programs {
            match &self.object(*program)?.body {
                Body::Program { kind, .. } if kind.kernel_type == prog_type::STRUCT_OPS => {}
                _ => return Err(fail(EINVAL)),
            }
        }
        for (_, program) in programs {
            self.objects.use_it(*program);
        }
        if let Some(Body::Map { slots, entries, .. }) =
            self.objects.all.get_mut(&map).map(|object| &mut object.body)
        {
            entries.insert(KEY.to_vec(), value.to_vec());
            slots.extend(programs.iter().copied());
        }
        Ok(())
    }

    fn functions(&self, map: Key) -> Option<&Vec<u8>> {
        match &self.objects.all.get(&map)?.body {
            Body::Map { spec, entries, .. } if spec.map_type == map_type::STRUCT_OPS => {
                entries.get(KEY.as_slice())
            }
            _ => None,
        }
    }

    /// Two structures of one name (here: of one value) cannot be active at a time.
    pub(super) fn attach_struct_ops(&mut self, program: Key, map: MapId) -> Result<Key, KernelError> {
        let fail = |number| refuse("attach", format!("the functions of map {map}"), number);
        let key = self.objects.find(MAP, map.0).ok_or_else(|| fail(ENOENT))?;
        let value = self.functions(key).ok_or_else(|| fail(EINVAL))?;
        let is_held = self.objects.all.values().any(|object| {
            matches!(object.body, Body::Link { place: SimLinkTarget::StructOps { map }, .. }
                if self.functions(map) == Some(value))
        });
        if is_held {
            return Err(KernelError::struct_ops_held(map));
        }
        Ok(self.objects.add(Body::Link { program, place: SimLinkTarget::StructOps { map: key } }))
    }

    pub(super) fn replace_struct_ops(
        &mut self,
        link: Key,
        new: Key,
        expected: Key,
    ) -> Result<(), KernelError> {
        let id = self.objects.id(link);
        let fail = |number| refuse("swap the functions", format!("of link {id}"), number);
        let old = match &self.object(link)?.body {
            Body::Link { place: SimLinkTarget::StructOps { map }, .. } => *map,
            Body::Link { .. } => return Err(fail(ENOLINK)),
            _ => return Err(fail(EINVAL)),
        };
        if self.functions(new).is_none() {
            return Err(fail(EINVAL));
        }
        if old != expected {
            return Err(KernelError::HookChanged { hook: format!("of link {id}") });
        }
        self.objects.use_it(new);
        if let Some(Body::Link { place: SimLinkTarget::StructOps { map }, .. }) =
            self.objects.all.get_mut(&link).map(|object| &mut object.body)
        {
            *map = new;
        }
        self.unuse(old);
        Ok(())
    }
}
