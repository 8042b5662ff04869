//! Function and line information of the joined program, so that tools and the verifier name each member's lines.

use std::collections::{BTreeMap, BTreeSet};

use bpfmand_core::{FuncInfo, LineInfo};

use crate::btf_merge::{Merge, Moved};
use crate::error::SpliceError;
use crate::hook::HookKind;
use crate::layout::{Part, Section};
use crate::member::{self, Member};
use crate::refusal::Refusal;

/// File name of the lines that no member brought.
const OWN_FILE: &str = "bpfman chain";

/// Type information of the joined program.
pub(crate) struct DebugInfo {
    pub(crate) btf: Vec<u8>,
    pub(crate) func_info: Vec<FuncInfo>,
    pub(crate) line_info: Vec<LineInfo>,
}

/// Merges all members' information and fills the gaps: with line information every function needs a line.
pub(crate) fn build(
    members: &[Member<'_>],
    sections: &[Section],
    hook: HookKind,
) -> Result<DebugInfo, SpliceError> {
    let mut merge = Merge::new(hook);
    let moved = append_all(&mut merge, members)?;
    let mut func_info = vec![FuncInfo { insn_off: 0, type_id: merge.chain }];
    let mut line_info = Vec::new();
    for section in sections {
        let index = section.part.member();
        let member = &members[index];
        let start = section.insns.start as u32;
        if let Part::Function { function, .. } = section.part {
            let type_id = function_type(member, moved[index], function)
                .unwrap_or_else(|| merge.function(&member.program().functions[function].name));
            func_info.push(FuncInfo { insn_off: start, type_id });
        }
        let lines = member_lines(member, moved[index], section);
        if lines.first().is_none_or(|line| line.insn_off != start) {
            line_info.push(own_line(&mut merge, member, section, index));
        }
        line_info.extend(lines);
    }
    let btf = merge.finish().map_err(|(types, strings)| SpliceError::BtfTooLarge { types, strings })?;
    Ok(DebugInfo { btf, func_info, line_info })
}

/// Appends each member's BTF, the same BTF of several members once.
fn append_all(merge: &mut Merge, members: &[Member<'_>]) -> Result<Vec<Option<Moved>>, SpliceError> {
    let mut entries: BTreeMap<&[u8], BTreeSet<u32>> = BTreeMap::new();
    for member in members {
        let text = member.program();
        if let Some(raw) = &text.btf {
            let entries = entries.entry(raw).or_default();
            entries.extend(text.func_info.iter().filter(|info| info.insn_off == 0).map(|info| info.type_id));
        }
    }
    // A function that one member calls and another begins with stays what it is.
    for member in members {
        let text = member.program();
        if let Some(entries) = text.btf.as_deref().and_then(|raw| entries.get_mut(raw)) {
            for called in text.func_info.iter().filter(|info| info.insn_off != 0) {
                entries.remove(&called.type_id);
            }
        }
    }
    let mut done: BTreeMap<&[u8], Moved> = BTreeMap::new();
    let mut places = Vec::with_capacity(members.len());
    for (index, member) in members.iter().enumerate() {
        let Some(raw) = member.program().btf.as_deref() else {
            places.push(None);
            continue;
        };
        let place = match done.get(raw) {
            Some(place) => *place,
            None => merge.append(raw, &entries[raw]).map_err(|what| SpliceError::Refused {
                member: member.name(index),
                reason: Refusal::BadBtf { what },
            })?,
        };
        done.insert(raw, place);
        places.push(Some(place));
    }
    Ok(places)
}

/// The FUNC that the member's own information gives a function.
fn function_type(member: &Member<'_>, moved: Option<Moved>, function: usize) -> Option<u32> {
    let text = member.program();
    let start = text.functions[function].start as u32;
    let info = text.func_info.iter().find(|info| info.insn_off == start)?;
    Some(moved?.type_id(info.type_id))
}

/// The member's own lines for a section, at their new places.
fn member_lines(member: &Member<'_>, moved: Option<Moved>, section: &Section) -> Vec<LineInfo> {
    let text = member.program();
    let range = match section.part {
        Part::Body { .. } => member::span(text, 0),
        Part::Function { function, .. } => member::span(text, function),
        Part::Entry { .. } | Part::Check { .. } => return Vec::new(),
    };
    let Some(moved) = moved else { return Vec::new() };
    text.line_info
        .iter()
        .filter(|line| range.contains(&(line.insn_off as usize)))
        .map(|line| LineInfo {
            insn_off: (section.insns.start + line.insn_off as usize - range.start) as u32,
            file_name_off: moved.string(line.file_name_off),
            line_off: moved.string(line.line_off),
            line_col: line.line_col,
        })
        .collect()
}

/// A line that says what the instructions are: glue, or code of a member that came without lines.
fn own_line(merge: &mut Merge, member: &Member<'_>, section: &Section, index: usize) -> LineInfo {
    let text = member.program();
    let position = index + 1;
    let label = member.label;
    let line = match section.part {
        Part::Entry { .. } | Part::Body { .. } => format!("member {position}: {label}:{}", text.name),
        Part::Check { .. } => format!("after member {position}: {label}:{}", text.name),
        Part::Function { function, .. } => {
            format!("member {position}: {label}:{}", text.functions[function].name)
        }
    };
    LineInfo {
        insn_off: section.insns.start as u32,
        file_name_off: merge.string(OWN_FILE),
        line_off: merge.string(&line),
        line_col: (position as u32) << 10,
    }
}
