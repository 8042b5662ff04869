//! Variables of `.struct_ops` and `.struct_ops.link`, each a map. Members are matched by name: layouts may differ.

use std::collections::{BTreeMap, HashMap};

use bpfman_model::{MapRole, MapSpec, map_type};

use super::{MapTable, blank};
use crate::ObjectError;
use crate::btf::{Btf, Kind, Type};
use crate::check::check_name;
use crate::elf::{Elf, Reloc, SymbolPlace};

/// Maximum number of members of all struct_ops of an object: the kernel's largest type has about a hundred.
const MAX_MEMBERS: usize = 4096;
/// Maximum size of the values of all struct_ops of an object, without functions.
const MAX_BYTES: usize = 64 << 10;

/// Map with a struct_ops value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructOpsMap {
    pub map: usize,
    /// Kernel name of the struct, for example `tcp_congestion_ops`.
    pub structure: String,
    /// Members that the object sets; all others are zero.
    pub members: Vec<StructOpsMember>,
}

/// Member with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructOpsMember {
    pub name: String,
    pub value: StructOpsValue,
}

/// Value of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StructOpsValue {
    /// Name of a program of the object.
    Program(String),
    /// Bytes, in host byte order.
    Data(Vec<u8>),
}

impl StructOpsMap {
    /// Returns the programs of the members, each with its member.
    pub fn programs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members.iter().filter_map(|member| match &member.value {
            StructOpsValue::Program(program) => Some((program.as_str(), member.name.as_str())),
            StructOpsValue::Data(_) => None,
        })
    }
}

fn is_section(name: &str) -> bool {
    // libbpf creates a map with a question mark only on request; here it is created with its programs.
    matches!(name.strip_prefix('?').unwrap_or(name), ".struct_ops" | ".struct_ops.link")
}

pub(super) fn read(
    table: &mut MapTable,
    elf: &Elf,
    btf: Option<&Btf>,
    datasecs: &HashMap<&str, Type<'_>>,
) -> Result<(), ObjectError> {
    for (section, header) in elf.sections.iter().enumerate().filter(|(_, header)| is_section(&header.name)) {
        if header.size == 0 {
            continue;
        }
        let wrong = |why: String| ObjectError::map(header.name.clone(), why);
        let typed = btf.zip(datasecs.get(header.name.as_str()));
        let (btf, datasec) = typed
            .ok_or_else(|| wrong("the section has no type information (BTF): build with -g".to_owned()))?;
        let relocs = match elf.relocs.get(&section) {
            None => &BTreeMap::new(),
            Some(Ok(relocs)) => relocs,
            Some(Err(why)) => return Err(wrong(why.to_string())),
        };
        let symbols: HashMap<&str, u64> = elf
            .symbols_in(section)
            .filter(|symbol| !symbol.is_section)
            .map(|symbol| (symbol.name.as_str(), symbol.value))
            .collect();
        for info in datasec.sec_infos() {
            let variable = btf.get(info.type_id).filter(|ty| ty.kind == Kind::Var);
            let variable = variable.ok_or_else(|| wrong(format!("type {} is no variable", info.type_id)))?;
            let name = btf.name(&variable);
            let offset = symbols.get(name).copied().unwrap_or(u64::from(info.offset));
            let structure = btf.resolve(variable.size_or_type).filter(|ty| ty.kind == Kind::Struct);
            let structure = structure.ok_or_else(|| ObjectError::map(name, "its type is no structure"))?;
            let map = table.specs.len();
            let spec = MapSpec {
                map_type: map_type::STRUCT_OPS,
                key_size: 4,
                value_size: structure.size_or_type,
                max_entries: 1,
                ..blank(name.to_owned())
            };
            let place = Place { elf, btf, section, offset, relocs, map: name };
            let found = StructOpsMap {
                map,
                // A flavour distinguishes versions of a struct, as in CO-RE relocations.
                structure: btf.name(&structure).split("___").next().unwrap_or_default().to_owned(),
                members: place.members(&structure)?,
            };
            table.add(section, offset, spec)?;
            table.struct_ops.push(found);
            check_struct_ops(&table.specs, &table.struct_ops)
                .map_err(|why| ObjectError::map(name, format!("the object {why}")))?;
        }
    }
    Ok(())
}

struct Place<'a> {
    elf: &'a Elf,
    btf: &'a Btf,
    section: usize,
    offset: u64,
    relocs: &'a BTreeMap<u64, Reloc>,
    map: &'a str,
}

impl Place<'_> {
    fn members(&self, structure: &Type<'_>) -> Result<Vec<StructOpsMember>, ObjectError> {
        let mut members = Vec::new();
        for member in structure.members() {
            let name = self.btf.string(member.name_off);
            let wrong = |why: &str| ObjectError::map(self.map, format!("member \"{name}\" {why}"));
            let bytes = self
                .btf
                .size_of(member.type_id)
                .and_then(|size| self.bytes(u64::from(member.bit_offset / 8), size))
                .ok_or_else(|| wrong("lies outside of its section"))?;
            let at = self.offset + u64::from(member.bit_offset / 8);
            let mut relocs = self.relocs.range(at..at + bytes.len() as u64);
            let value = match relocs.next() {
                Some((offset, reloc)) if *offset == at && bytes.len() == 8 && relocs.next().is_none() => {
                    let program = self.program(*reloc, bytes);
                    StructOpsValue::Program(program.ok_or_else(|| wrong("refers to what is no program"))?)
                }
                Some(_) => return Err(wrong("refers to something, and is no pointer to a function")),
                None if bytes.iter().all(|byte| *byte == 0) => continue,
                None if name.is_empty() || member.bit_size != 0 => {
                    return Err(wrong("is set, and is a bit field or has no name"));
                }
                None => StructOpsValue::Data(bytes.to_vec()),
            };
            members.push(StructOpsMember { name: name.to_owned(), value });
            // Structs may overlap in a damaged file.
            if members.len() > MAX_MEMBERS {
                return Err(wrong("is one of too many"));
            }
        }
        Ok(members)
    }

    fn bytes(&self, offset: u64, size: u64) -> Option<&[u8]> {
        let start = usize::try_from(self.offset.checked_add(offset)?).ok()?;
        let end = start.checked_add(usize::try_from(size).ok().filter(|size| *size <= MAX_BYTES)?)?;
        self.elf.section_data(self.section).get(start..end)
    }

    fn program(&self, reloc: Reloc, bytes: &[u8]) -> Option<String> {
        let symbol = self.elf.symbols.get(reloc.symbol)?;
        let SymbolPlace::Section(section) = symbol.place else { return None };
        if symbol.is_function {
            return Some(symbol.name.clone());
        }
        // Static functions are identified by section and offset.
        let addend = u64::from_ne_bytes(bytes.try_into().ok()?);
        let at = symbol.value.checked_add(addend).filter(|_| symbol.is_section)?;
        let found = self.elf.symbols_in(section).find(|other| other.is_function && other.value == at)?;
        Some(found.name.clone())
    }
}

pub(crate) fn check_struct_ops(maps: &[MapSpec], all: &[StructOpsMap]) -> Result<(), String> {
    let is_one = |map: &MapSpec| map.map_type == map_type::STRUCT_OPS && map.role == MapRole::Ordinary;
    let (mut members, mut bytes) = (0, 0);
    for (number, ops) in all.iter().enumerate() {
        if !maps.get(ops.map).is_some_and(is_one) || all[..number].iter().any(|other| other.map == ops.map) {
            return Err("has struct_ops members in a map that is no struct_ops map".to_owned());
        }
        check_name(&ops.structure)?;
        members += ops.members.len();
        for member in &ops.members {
            check_name(&member.name)?;
            match &member.value {
                StructOpsValue::Program(program) => check_name(program)?,
                StructOpsValue::Data(data) => bytes += data.len(),
            }
        }
        if members > MAX_MEMBERS || bytes > MAX_BYTES || number > 64 {
            return Err(format!(
                "has too many struct_ops maps, or more than {MAX_MEMBERS} members or {MAX_BYTES} bytes in them"
            ));
        }
    }
    Ok(())
}
