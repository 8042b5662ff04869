//! Section `.maps`: properties are struct members; a number is an array's length, a key or value the pointer's target.

use std::collections::HashMap;

use bpfman_model::{MapSpec, map_type};

use super::{MapTable, blank};
use crate::ObjectError;
use crate::btf::{Btf, Kind, MAX_DEPTH, Type};
use crate::elf::Elf;

const PIN_BY_NAME: u32 = 1;

pub(super) fn read(
    table: &mut MapTable,
    elf: &Elf,
    btf: &Btf,
    datasecs: &HashMap<&str, Type<'_>>,
    section: usize,
) -> Result<(), ObjectError> {
    let datasec = datasecs.get(".maps").ok_or_else(|| {
        ObjectError::map(".maps", "the section has no type information (BTF): build with -g")
    })?;
    let symbols: HashMap<&str, u64> = elf
        .symbols_in(section)
        .filter(|symbol| !symbol.is_section)
        .map(|symbol| (symbol.name.as_str(), symbol.value))
        .collect();
    for info in datasec.sec_infos() {
        let variable = btf
            .get(info.type_id)
            .filter(|ty| ty.kind == Kind::Var)
            .ok_or_else(|| ObjectError::btf(".maps", format!("type {} is no variable", info.type_id)))?;
        let name = btf.name(&variable);
        // The compiler leaves offsets to the symbols; tools that rewrite objects set them.
        let offset = symbols.get(name).copied().unwrap_or(u64::from(info.offset));
        let definition = definition_of(btf, name, variable.size_or_type)?;
        let spec = read_definition(btf, name, &definition, true)?;
        let values = definition.members().find(|member| btf.string(member.name_off) == "values");
        if let Some(values) = values {
            table.values_at.insert(table.specs.len(), u64::from(values.bit_offset / 8));
        }
        table.add(section, offset, spec)?;
    }
    Ok(())
}

fn definition_of<'a>(btf: &'a Btf, name: &str, type_id: u32) -> Result<Type<'a>, ObjectError> {
    let mut found = btf.resolve(type_id);
    // Rust declares the struct inside a cell that can be shared: unwrap structs with a single struct member.
    for _ in 0..MAX_DEPTH {
        let wrapped = found.filter(|ty| ty.kind == Kind::Struct && ty.vlen() == 1).and_then(|ty| {
            let only = ty.members().next()?;
            btf.resolve(only.type_id).filter(|ty| ty.kind == Kind::Struct)
        });
        match wrapped {
            Some(inside) => found = Some(inside),
            None => break,
        }
    }
    found
        .filter(|ty| ty.kind == Kind::Struct)
        .ok_or_else(|| ObjectError::map(name, "its definition is not a structure"))
}

fn read_definition(
    btf: &Btf,
    name: &str,
    definition: &Type<'_>,
    outer: bool,
) -> Result<MapSpec, ObjectError> {
    let mut spec = blank(name.to_owned());
    let wrong = |why: String| ObjectError::map(name, why);
    for member in definition.members() {
        let field = btf.string(member.name_off);
        let number = || number(btf, member.type_id).ok_or_else(|| wrong(format!("{field} is not a number")));
        let small = || {
            number().and_then(|value| {
                u32::try_from(value).map_err(|_| wrong(format!("{field} {value} does not fit in 32 bits")))
            })
        };
        match field {
            "type" => spec.map_type = small()?,
            "max_entries" => spec.max_entries = small()?,
            "map_flags" => spec.flags = small()?,
            "map_extra" => spec.map_extra = number()?,
            "key_size" => agree(name, &mut spec.key_size, small()?, field)?,
            "value_size" => agree(name, &mut spec.value_size, small()?, field)?,
            "key" | "value" => {
                let (id, size) = pointee(btf, member.type_id)
                    .ok_or_else(|| wrong(format!("its {field} {}", btf.why_no_size(member.type_id))))?;
                if field == "key" {
                    agree(name, &mut spec.key_size, size, field)?;
                    spec.btf_key_type_id = id;
                } else {
                    agree(name, &mut spec.value_size, size, field)?;
                    spec.btf_value_type_id = id;
                }
            }
            "pinning" => {
                spec.pin_by_name = match small()? {
                    0 => false,
                    PIN_BY_NAME if outer => true,
                    PIN_BY_NAME => return Err(wrong("an inner map cannot be pinned".to_owned())),
                    other => {
                        return Err(wrong(format!("pinning {other} is neither none (0) nor by name (1)")));
                    }
                };
            }
            "values" => read_values(btf, &mut spec, member.type_id, outer)?,
            "numa_node" => spec.numa_node = small()?,
            _ if btf.size_of(member.type_id) == Some(0) => {}
            _ => return Err(wrong(format!("unknown property {field}"))),
        }
    }
    if spec.map_type == 0 {
        return Err(ObjectError::map(name, "it has no type"));
    }
    if map_type::holds_maps(spec.map_type) && !outer {
        return Err(ObjectError::map(name, "maps of maps of maps do not exist"));
    }
    if map_type::is_ring(spec.map_type) {
        // `__type(value, struct event)` declares records; for the kernel, a ring buffer has neither keys nor values.
        (spec.key_size, spec.value_size) = (0, 0);
    }
    if map_type::is_ring(spec.map_type) || !kernel_takes_types(btf, &spec) {
        spec.btf_key_type_id = 0;
        spec.btf_value_type_id = 0;
    }
    Ok(spec)
}

/// Returns whether the kernel accepts the map with type ids.
fn kernel_takes_types(btf: &Btf, spec: &MapSpec) -> bool {
    let key = btf.resolve(spec.btf_key_type_id);
    let both = key.is_some() && spec.btf_value_type_id != 0;
    match spec.map_type {
        kind if map_type::takes_no_types(kind) => false,
        map_type::BLOOM_FILTER => key.is_none(),
        map_type::ARRAY | map_type::PERCPU_ARRAY => {
            both && key.is_some_and(|key| key.kind == Kind::Int && key.int_bits() == 32)
        }
        map_type::LPM_TRIE => both && key.is_some_and(|key| key.kind == Kind::Struct),
        _ => both,
    }
}

/// Returns the declared types of key and value with their sizes, for any map type.
pub(crate) fn declared_types(btf: &Btf, map: &str) -> [Option<(u32, u32)>; 2] {
    declaration_of(btf, map).map_or([None; 2], |definition| types_in(btf, &definition))
}

pub(crate) fn declared_inner_types(btf: &Btf, map: &str) -> [Option<(u32, u32)>; 2] {
    let inner = || {
        let outer = declaration_of(btf, map)?;
        let values = outer.members().find(|member| btf.string(member.name_off) == "values")?;
        let array = btf.resolve(values.type_id).filter(|ty| ty.kind == Kind::Array)?.array();
        let pointer = btf.resolve(array.element).filter(|ty| ty.kind == Kind::Ptr)?;
        btf.resolve(pointer.size_or_type).filter(|ty| ty.kind == Kind::Struct)
    };
    inner().map_or([None; 2], |definition| types_in(btf, &definition))
}

fn declaration_of<'a>(btf: &'a Btf, map: &str) -> Option<Type<'a>> {
    let datasecs = btf.datasecs();
    let variables = datasecs.get(".maps").into_iter().flat_map(|datasec| datasec.sec_infos());
    let variable = variables
        .filter_map(|info| btf.get(info.type_id))
        .find(|variable| variable.kind == Kind::Var && btf.name(variable) == map)?;
    definition_of(btf, map, variable.size_or_type).ok()
}

fn types_in(btf: &Btf, definition: &Type<'_>) -> [Option<(u32, u32)>; 2] {
    ["key", "value"].map(|field| {
        let member = definition.members().find(|member| btf.string(member.name_off) == field)?;
        pointee(btf, member.type_id)
    })
}

/// Reads `values`: the definition of inner maps, or the functions of a program array.
fn read_values(btf: &Btf, spec: &mut MapSpec, type_id: u32, outer: bool) -> Result<(), ObjectError> {
    let wrong = |why: &str| ObjectError::map(spec.name.clone(), why);
    let array = btf
        .resolve(type_id)
        .filter(|ty| ty.kind == Kind::Array)
        .ok_or_else(|| wrong("values is not an array"))?
        .array();
    let target = btf
        .resolve(array.element)
        .filter(|ty| ty.kind == Kind::Ptr)
        .and_then(|pointer| btf.resolve(pointer.size_or_type))
        .ok_or_else(|| wrong("values is not an array of pointers"))?;
    match target.kind {
        Kind::Struct if outer => {
            let inner_name = format!("{}.inner", spec.name);
            spec.inner = Some(Box::new(read_definition(btf, &inner_name, &target, false)?));
        }
        Kind::Struct => return Err(wrong("maps of maps of maps do not exist")),
        Kind::FuncProto => {}
        _ => return Err(wrong("values holds neither maps nor programs")),
    }
    agree(&spec.name, &mut spec.value_size, 4, "values")
}

/// Returns a property's number: the length of an array behind a pointer, or (64 bits) an enumerator.
fn number(btf: &Btf, type_id: u32) -> Option<u64> {
    let ty = btf.resolve(type_id)?;
    match ty.kind {
        Kind::Ptr => {
            let array = btf.get(ty.size_or_type).filter(|ty| ty.kind == Kind::Array)?;
            Some(u64::from(array.array().len))
        }
        Kind::Enum | Kind::Enum64 => ty.enumerators().next().map(|(_, value)| value),
        _ => None,
    }
}

fn pointee(btf: &Btf, type_id: u32) -> Option<(u32, u32)> {
    let pointer = btf.get(type_id).filter(|ty| ty.kind == Kind::Ptr)?;
    let size = btf.size_of(pointer.size_or_type)?;
    Some((pointer.size_or_type, u32::try_from(size).ok()?))
}

fn agree(map: &str, size: &mut u32, said: u32, field: &str) -> Result<(), ObjectError> {
    if *size != 0 && *size != said {
        let why = format!("{field} has {said} bytes, another property has {size}");
        return Err(ObjectError::map(map, why));
    }
    *size = said;
    Ok(())
}
