use crate::btf::Kind;
use crate::{KernelBtf, StructOpsMap, StructOpsValue};

/// struct_ops type of the kernel, with the value type of its map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelStructOps {
    /// BTF id of the struct, for which its programs are loaded.
    pub structure: u32,
    /// BTF id of the map's value, `bpf_struct_ops_NAME`.
    pub value: u32,
    /// Size of the map's value, in bytes.
    pub value_size: u32,
    /// In the kernel's order.
    members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    name: String,
    /// Offset in the map's value, in bytes.
    offset: u32,
    size: u32,
    is_function: bool,
}

/// struct_ops value in the kernel's layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaidOut {
    /// Value of the map; zero where programs go.
    pub bytes: Vec<u8>,
    /// Programs by name, each with the byte offset of its descriptor.
    pub programs: Vec<(u32, String)>,
}

impl KernelBtf {
    /// Returns a struct_ops type of the kernel itself.
    #[must_use]
    pub fn struct_ops(&self, name: &str) -> Option<KernelStructOps> {
        let btf = self.own_types();
        let structure = btf.get(self.struct_id(name)?)?;
        let value = btf.get(self.struct_id(&format!("bpf_struct_ops_{name}"))?)?;
        let data = value.members().find(|member| btf.string(member.name_off) == "data")?;
        let start = data.bit_offset / 8;
        let member = |member: crate::btf::BtfMember| {
            let pointee = btf.resolve(member.type_id).filter(|ty| ty.kind == Kind::Ptr);
            let pointee = pointee.and_then(|ty| btf.resolve(ty.size_or_type));
            Some(Member {
                name: btf.string(member.name_off).to_owned(),
                offset: start.checked_add(member.bit_offset / 8)?,
                // Bit fields cannot be set.
                size: match member.bit_size {
                    0 => btf.size_of(member.type_id).and_then(|size| u32::try_from(size).ok()).unwrap_or(0),
                    _ => 0,
                },
                is_function: pointee.is_some_and(|ty| ty.kind == Kind::FuncProto),
            })
        };
        Some(KernelStructOps {
            structure: structure.id,
            value: value.id,
            value_size: value.size_or_type,
            members: structure.members().map(member).collect::<Option<_>>()?,
        })
    }
}

impl KernelStructOps {
    /// Returns the index of a function member, for which its program is loaded.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<u32> {
        let at = self.members.iter().position(|member| member.name == name && member.is_function)?;
        u32::try_from(at).ok()
    }

    /// Converts an object's value by member names; fails with a member that the kernel lacks or declares otherwise.
    pub fn lay_out(&self, ops: &StructOpsMap) -> Result<LaidOut, String> {
        let mut laid = LaidOut { bytes: vec![0; self.value_size as usize], programs: Vec::new() };
        for member in &ops.members {
            let what = format!("{}.{}", ops.structure, member.name);
            let found = self.members.iter().find(|found| found.name == member.name);
            let found = found.ok_or_else(|| format!("the kernel has no member {what}"))?;
            let place = found.offset as usize..(found.offset as usize).saturating_add(found.size as usize);
            let outside = || format!("the kernel has {what} outside of its structure");
            let place = laid.bytes.get_mut(place).ok_or_else(outside)?;
            match &member.value {
                StructOpsValue::Program(program) if found.is_function => {
                    laid.programs.push((found.offset, program.clone()));
                }
                StructOpsValue::Data(data) if !found.is_function && data.len() == place.len() => {
                    place.copy_from_slice(data);
                }
                StructOpsValue::Data(data) if !found.is_function => {
                    return Err(format!(
                        "{what} has {} bytes, and the kernel's has {}",
                        data.len(),
                        place.len()
                    ));
                }
                StructOpsValue::Program(_) => {
                    return Err(format!("{what} is a program, and the kernel's is no function"));
                }
                StructOpsValue::Data(_) => {
                    return Err(format!("{what} is set to something that is no program"));
                }
            }
        }
        Ok(laid)
    }
}
