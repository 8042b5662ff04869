//! Consistency checks of another process's results: names become files, offsets indexes, module numbers descriptors.

use std::collections::HashSet;

use bpfman_model::{Insn, MapRole, MapSpec, ProgramText, map_type, op};

use crate::core_relo::{starts, takes_type_id};
use crate::maps::{InitialSlot, MAX_MAP_NAME, MAX_MAPS, check_struct_ops};
use crate::object_file::LinkedProgram;
use crate::{MAX_INSTRUCTIONS, MAX_OBJECT_BYTES, ObjectFacts, SlotTarget};

const MAX_NAME: usize = 64 << 10;
const MAX_MODULES: usize = 256;
/// `BPF_MAX_SUBPROGS` of the kernel; processing takes quadratic time.
const MAX_FUNCTIONS: usize = 256;
/// Maximum slots in all maps of an object: for each slot of a map of maps, the kernel waits for a grace period.
const MAX_SLOTS: usize = 4096;
/// `MODULE_NAME_LEN`, without the terminating zero.
const MAX_MODULE: usize = 55;

const MAX_WARNINGS: usize = 4;
const MAX_WARNING: usize = 1024;

type FactsDefect = String;

impl ObjectFacts {
    /// Checks facts of an object. Fails with the defect, as a sentence without its subject.
    pub fn check(&self) -> Result<(), FactsDefect> {
        let maps = self.maps.len();
        if maps > 2 * MAX_MAPS {
            return Err(format!("names {maps} maps"));
        }
        if self.types.len() != maps {
            return Err(format!("has types of {} maps for {maps}", self.types.len()));
        }
        for program in &self.programs {
            check_name(&program.name)?;
            check_name(&program.section)?;
        }
        check_name(&self.license)?;
        if self.warnings.len() > MAX_WARNINGS || self.warnings.iter().any(|text| text.len() > MAX_WARNING) {
            return Err("has more or longer warnings than any object".to_owned());
        }
        let mut names = HashSet::new();
        for map in &self.maps {
            check_map(map)?;
            if map.role == MapRole::Ordinary && !names.insert(map.name.as_str()) {
                return Err("names a map twice".to_owned());
            }
        }
        check_slots(&self.maps, &self.slots)?;
        check_struct_ops(&self.maps, &self.struct_ops)?;
        let mut parts = 0;
        for global in &self.globals {
            check_name(&global.name)?;
            check_name(&global.type_name)?;
            self.check_place(global.map, global.offset, global.size)?;
            if global.layout.size() != Some(global.size) {
                return Err("has a variable of another size than its type".to_owned());
            }
            global.layout.check(&mut parts)?;
        }
        for (map, kconfig) in self.kconfig.iter().flat_map(|(map, all)| all.iter().map(|one| (*map, one))) {
            check_name(&kconfig.name)?;
            self.check_place(map, kconfig.offset as usize, kconfig.size as usize)?;
        }
        Ok(())
    }

    fn check_place(&self, map: usize, offset: usize, size: usize) -> Result<(), FactsDefect> {
        let len = self.maps.get(map).map(|map| map.initial.len());
        let end = offset.checked_add(size);
        if len.zip(end).is_some_and(|(len, end)| end <= len) {
            return Ok(());
        }
        Err("has a variable outside of its map".to_owned())
    }
}

pub(crate) fn check_slots(maps: &[MapSpec], slots: &[InitialSlot]) -> Result<(), FactsDefect> {
    if slots.len() > MAX_SLOTS {
        return Err(format!("fills {} slots of maps, and {MAX_SLOTS} are the most", slots.len()));
    }
    let mut filled = HashSet::new();
    for InitialSlot { map: index, key, target } in slots {
        let Some(map) = maps.get(*index) else {
            return Err("has a slot of a map that is not there".to_owned());
        };
        match target {
            SlotTarget::Map(target) if map_type::holds_maps(map.map_type) && *target < maps.len() => {}
            SlotTarget::Program(name) if map.map_type == map_type::PROG_ARRAY => check_name(name)?,
            _ => return Err(format!("fills slot {key} of a map that cannot hold such a thing")),
        }
        // Keys of a hash are arbitrary numbers; its size limits the entries.
        let is_beyond = map.map_type != map_type::HASH_OF_MAPS && *key >= map.max_entries;
        if is_beyond || map.key_size != 4 {
            return Err(format!("fills slot {key} of a map that has no such slot"));
        }
        if !filled.insert((index, key)) {
            return Err(format!("fills slot {key} of a map twice"));
        }
    }
    Ok(())
}

/// Refuses long names, and zero bytes, at which the kernel would end a name.
pub(crate) fn check_name(name: &str) -> Result<(), FactsDefect> {
    if name.len() > MAX_NAME || name.contains('\0') {
        return Err("has a name that none can be".to_owned());
    }
    Ok(())
}

/// Returns whether a map can have the name, which becomes a file name: no slash, no dot.
pub(crate) fn is_map_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.len() <= MAX_MAP_NAME && name.bytes().all(plain)
}

fn check_map(map: &MapSpec) -> Result<(), FactsDefect> {
    check_name(&map.name)?;
    let wrong = |what: &str| Err(format!("has a map that is {what}"));
    if map.role == MapRole::Ordinary {
        if !is_map_name(&map.name) {
            return wrong("named so that no file can be");
        }
        if !map.initial.is_empty() && map.map_type != map_type::ARENA {
            return wrong("declared with contents");
        }
    } else {
        let layout = (map.map_type, map.key_size, map.max_entries, map.value_size as usize);
        if layout != (map_type::ARRAY, 4, 1, map.initial.len()) || map.pin_by_name || map.inner.is_some() {
            return wrong("of variables and no array of one value");
        }
    }
    if let Some(inner) = &map.inner
        && (inner.inner.is_some()
            || inner.role != MapRole::Ordinary
            || !inner.initial.is_empty()
            || inner.pin_by_name)
    {
        return wrong("nested too deep");
    }
    map.inner.as_ref().map_or(Ok(()), |inner| check_name(&inner.name))
}

impl LinkedProgram {
    /// Checks a program linked from an object with this number of maps. Fails like [`ObjectFacts::check`].
    pub fn check(&self, maps: usize) -> Result<(), FactsDefect> {
        let text = &self.text;
        if text.insns.is_empty() || text.insns.len() > MAX_INSTRUCTIONS {
            return Err(format!("has {} instructions", text.insns.len()));
        }
        if text.btf.as_ref().is_some_and(|btf| btf.len() > MAX_OBJECT_BYTES) {
            return Err("has more types than the kernel takes".to_owned());
        }
        check_modules(&text.modules)?;
        check_functions(text)?;
        for function in &text.functions {
            check_function(text, function.start, function.start + function.len, maps)?;
        }
        check_info(text)?;
        let starts = starts(&text.insns);
        if self.local_type_ids.len() > text.insns.len()
            || !self.local_type_ids.iter().all(|at| takes_type_id(&text.insns, &starts, *at))
        {
            return Err("has a type's number where none can be".to_owned());
        }
        for wanted in &self.addresses {
            check_name(&wanted.symbol)?;
            let at = wanted.at;
            let is_plain = |insn: &Insn| insn.is_ld_imm64() && insn.src() == 0;
            if !text.insns.get(at).is_some_and(is_plain) || starts.get(at) != Some(&true) {
                return Err(format!("wants an address at instruction {at}, which loads none"));
            }
        }
        check_jump_tables(text, &starts)
    }
}

fn check_jump_tables(text: &ProgramText, starts: &[bool]) -> Result<(), FactsDefect> {
    let is_start = |at: usize| starts.get(at) == Some(&true);
    let is_plain = |at: &usize| {
        is_start(*at) && text.insns.get(*at).is_some_and(|insn| insn.is_ld_imm64() && insn.src() == 0)
    };
    let entries = text.jump_tables.iter().map(|table| table.entries.len()).sum::<usize>();
    let are_sound = text.jump_tables.iter().all(|table| {
        !table.entries.is_empty()
            && !table.loads.is_empty()
            && table.loads.iter().all(is_plain)
            && table.entries.iter().all(|entry| is_start(*entry as usize))
    });
    if entries > MAX_INSTRUCTIONS || text.jump_tables.len() > text.insns.len() || !are_sound {
        return Err("has jump tables that lead nowhere".to_owned());
    }
    Ok(())
}

fn check_modules(modules: &[String]) -> Result<(), FactsDefect> {
    let is_name = |name: &String| {
        !name.is_empty()
            && name.len() <= MAX_MODULE
            && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
    };
    if modules.len() > MAX_MODULES || !modules.iter().all(is_name) {
        return Err("names modules that there cannot be".to_owned());
    }
    Ok(())
}

fn check_functions(text: &ProgramText) -> Result<(), FactsDefect> {
    if text.functions.len() > MAX_FUNCTIONS {
        return Err(format!("has {} functions", text.functions.len()));
    }
    let mut end = 0_usize;
    for function in &text.functions {
        check_name(&function.name)?;
        if function.start != end || function.len == 0 || function.len > text.insns.len() {
            return Err("has functions that overlap or leave gaps".to_owned());
        }
        end += function.len;
    }
    if end != text.insns.len() {
        return Err("has functions that are not its instructions".to_owned());
    }
    Ok(())
}

fn check_function(text: &ProgramText, start: usize, end: usize, maps: usize) -> Result<(), FactsDefect> {
    let below = |number: i32, most: usize| usize::try_from(number).is_ok_and(|number| number < most);
    let modules = text.modules.len() + 1;
    let mut at = start;
    while at < end {
        let insn = text.insns[at];
        let is_wide = insn.is_ld_imm64();
        let Some(second) = (if is_wide { text.insns[..end].get(at + 1).copied() } else { Some(insn) }) else {
            return Err("ends in the middle of an instruction".to_owned());
        };
        let is_there = match (is_wide, insn.code == op::CALL, insn.src()) {
            (true, _, op::PSEUDO_MAP_FD | op::PSEUDO_MAP_VALUE) => below(insn.imm, maps),
            (true, _, op::PSEUDO_BTF_ID) => below(second.imm, modules),
            (true, _, op::PSEUDO_FUNC) | (_, true, op::PSEUDO_CALL) => is_function(text, at, insn),
            (_, true, op::PSEUDO_KFUNC_CALL) => below(i32::from(insn.off), modules),
            (true, _, source) | (_, true, source) => source == 0,
            _ => true,
        };
        if !is_there {
            return Err(format!("refers at instruction {at} to what is not there"));
        }
        at += if is_wide { 2 } else { 1 };
    }
    Ok(())
}

fn is_function(text: &ProgramText, at: usize, insn: Insn) -> bool {
    let target = usize::try_from(at as i64 + i64::from(insn.imm) + 1);
    target.is_ok_and(|target| text.functions.binary_search_by_key(&target, |span| span.start).is_ok())
}

/// Checks that function information covers each function or none, and that lines ascend.
fn check_info(text: &ProgramText) -> Result<(), FactsDefect> {
    let infos = &text.func_info;
    let of_each = infos.len() == text.functions.len()
        && infos.iter().zip(&text.functions).all(|(info, function)| info.insn_off as usize == function.start);
    if !infos.is_empty() && (!of_each || text.btf.is_none()) {
        return Err("describes functions that are not there".to_owned());
    }
    let lines = &text.line_info;
    let ascend = lines.is_sorted_by(|one, next| one.insn_off < next.insn_off);
    let last = lines.last().is_none_or(|line| (line.insn_off as usize) < text.insns.len());
    if !lines.is_empty() && (!ascend || !last || infos.is_empty()) {
        return Err("has lines of instructions that are not there".to_owned());
    }
    Ok(())
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
