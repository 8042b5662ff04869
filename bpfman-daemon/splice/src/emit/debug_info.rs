//! Function and line information: tools and the verifier name each member's lines.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bpfman_model::{FuncInfo, LineInfo};

use crate::analysis::stack::Group;
use crate::chain::join_mode::{JoinMode, NotInlinedReason};
use crate::chain::member::{self, Member};
use crate::chain::sections::{self, ChainPart, ChainSection};
use crate::emit::btf_merge::{Linkage, Merge, Moved, identifier};
use crate::error::SpliceError;
use crate::error::refusal::Refusal;

const OWN_FILE: &str = "bpfman chain";

pub(crate) struct DebugInfo {
    pub(crate) btf: Vec<u8>,
    pub(crate) func_info: Vec<FuncInfo>,
    pub(crate) line_info: Vec<LineInfo>,
    /// Positions of immediates that are type ids, with the ids.
    pub(crate) local_type_ids: Vec<(usize, u32)>,
}

pub(crate) struct Names(BTreeMap<usize, String>);

impl Names {
    /// Names the members' functions, uniquely in the program, so that tools find the right one.
    pub(crate) fn of(group: Group<'_>, range: &Range<usize>) -> Self {
        let mut taken: BTreeSet<String> = BTreeSet::from(["chain".to_owned()]);
        for member in range.clone().filter(|member| group.ways[*member].way != JoinMode::Standalone) {
            let functions = &group.members[member].program().functions;
            taken.extend(functions[1..].iter().map(|function| identifier(&function.name)));
        }
        let mut names = BTreeMap::new();
        for member in range.clone().filter(|member| group.ways[*member].way != JoinMode::Inline) {
            let own = identifier(&group.members[member].program().name);
            let mut name = own.clone();
            let mut number = member + 1;
            while !taken.insert(name.clone()) {
                name = format!("{}_{number}", &own[..own.len().min(100)]);
                number += 1;
            }
            names.insert(member, name);
        }
        Self(names)
    }

    pub(crate) fn function(&self, group: Group<'_>, part: &ChainPart) -> String {
        let member = part.member();
        match part {
            ChainPart::Function { function, .. } | ChainPart::Start { function, .. } if *function > 0 => {
                group.members[member].program().functions[*function].name.clone()
            }
            _ => self.0.get(&member).cloned().unwrap_or_default(),
        }
    }
}

/// Builds function and line information. With line information, every function needs a line.
pub(crate) fn build(
    group: Group<'_>,
    range: &Range<usize>,
    sections: &[ChainSection],
    names: &Names,
) -> Result<DebugInfo, SpliceError> {
    let mut merge = Merge::new(group.options.hook);
    // Add these functions before the members' types, so that lookups by name find them first.
    let entries: BTreeMap<usize, u32> = names
        .0
        .iter()
        .map(|(member, name)| (*member, merge.entry_function(name, linkage(group, *member))))
        .collect();
    let moved = append_all(&mut merge, group, range)?;
    let mut func_info = vec![FuncInfo { insn_off: 0, type_id: merge.chain }];
    for (start, part) in sections::functions(sections) {
        let index = part.member();
        let type_id = match part {
            ChainPart::Function { function, .. } | ChainPart::Start { function, .. } if *function > 0 => {
                let member = &group.members[index];
                function_type(member, moved.get(&index), *function)
                    .unwrap_or_else(|| merge.function(&member.program().functions[*function].name))
            }
            _ => entries.get(&index).copied().unwrap_or(merge.chain),
        };
        func_info.push(FuncInfo { insn_off: start as u32, type_id });
    }
    let mut line_info = Vec::new();
    let mut local_type_ids = Vec::new();
    for section in sections {
        let index = section.part.member();
        let member = &group.members[index];
        let lines = member_lines(member, moved.get(&index), section);
        if lines.first().is_none_or(|line| line.insn_off as usize != section.insns.start) {
            line_info.push(own_line(&mut merge, member, section, index));
        }
        line_info.extend(lines);
        local_type_ids.extend(moved_type_ids(member, moved.get(&index), section));
    }
    let btf = merge.finish().map_err(|(types, strings)| SpliceError::BtfTooLarge { types, strings })?;
    Ok(DebugInfo { btf, func_info, line_info, local_type_ids })
}

/// Verifiers of Linux 6.1 and 6.12 overlook tail calls in static functions; results of global ones are unknown to them.
fn linkage(group: Group<'_>, member: usize) -> Linkage {
    let survey = &group.surveys[member];
    let loads = matches!(survey.must, Some((_, NotInlinedReason::OldPacketLoad { .. })));
    let hides = group.ways[member].way == JoinMode::Standalone || survey.hidden_exit.is_some() || loads;
    if hides || group.options.as_subprograms { Linkage::Global } else { Linkage::Static }
}

/// Appends the BTF of all members. BTF that several members share is appended once.
fn append_all(
    merge: &mut Merge,
    group: Group<'_>,
    range: &Range<usize>,
) -> Result<BTreeMap<usize, Moved>, SpliceError> {
    let members = || {
        range
            .clone()
            .filter(|member| group.ways[*member].way != JoinMode::Standalone)
            .filter_map(|member| Some((member, group.members[member].program().btf.as_deref()?)))
    };
    let mut entries: BTreeMap<&[u8], BTreeSet<u32>> = BTreeMap::new();
    for (member, raw) in members() {
        let infos = group.members[member].program().func_info.iter();
        entries
            .entry(raw)
            .or_default()
            .extend(infos.filter(|info| info.insn_off == 0).map(|info| info.type_id));
    }
    // A function that one member calls and another begins with keeps its type.
    for (member, raw) in members() {
        if let Some(entries) = entries.get_mut(raw) {
            for called in group.members[member].program().func_info.iter().filter(|info| info.insn_off != 0) {
                entries.remove(&called.type_id);
            }
        }
    }
    let mut done: BTreeMap<&[u8], Moved> = BTreeMap::new();
    let mut places = BTreeMap::new();
    for (member, raw) in members() {
        let place = match done.get(raw) {
            Some(place) => *place,
            None => merge.append(raw, &entries[raw]).map_err(|what| SpliceError::Refused {
                member: group.members[member].name(member),
                reason: Refusal::BadBtf { what },
            })?,
        };
        done.insert(raw, place);
        places.insert(member, place);
    }
    Ok(places)
}

fn function_type(member: &Member<'_>, moved: Option<&Moved>, function: usize) -> Option<u32> {
    let text = member.program();
    let start = text.functions[function].start as u32;
    let info = text.func_info.iter().find(|info| info.insn_off == start)?;
    Some(moved?.type_id(info.type_id))
}

fn member_range(member: &Member<'_>, section: &ChainSection) -> Option<Range<usize>> {
    section.part.function().map(|function| member::span(member.program(), function))
}

fn member_lines(member: &Member<'_>, moved: Option<&Moved>, section: &ChainSection) -> Vec<LineInfo> {
    let (Some(range), Some(moved)) = (member_range(member, section), moved) else { return Vec::new() };
    let lines = member.program().line_info.iter();
    lines
        .filter(|line| range.contains(&(line.insn_off as usize)))
        .map(|line| LineInfo {
            insn_off: (section.insns.start + line.insn_off as usize - range.start) as u32,
            file_name_off: moved.string(line.file_name_off),
            line_off: moved.string(line.line_off),
            line_col: line.line_col,
        })
        .collect()
}

fn moved_type_ids(member: &Member<'_>, moved: Option<&Moved>, section: &ChainSection) -> Vec<(usize, u32)> {
    let (Some(range), Some(moved)) = (member_range(member, section), moved) else { return Vec::new() };
    let ids = member.local_type_ids.iter().filter(|at| range.contains(at));
    ids.map(|at| {
        let id = member.program().insns[*at].imm.cast_unsigned();
        (section.insns.start + at - range.start, moved.type_id(id))
    })
    .collect()
}

fn own_line(merge: &mut Merge, member: &Member<'_>, section: &ChainSection, index: usize) -> LineInfo {
    let text = member.program();
    let position = index + 1;
    let label = member.label;
    let line = match section.part {
        ChainPart::Function { function, .. } | ChainPart::Start { function, .. } if function > 0 => {
            format!("member {position}: {label}:{}", text.functions[function].name)
        }
        ChainPart::Check { .. } => format!("after member {position}: {label}:{}", text.name),
        _ => format!("member {position}: {label}:{}", text.name),
    };
    LineInfo {
        insn_off: section.insns.start as u32,
        file_name_off: merge.string(OWN_FILE),
        line_off: merge.string(&line),
        line_col: (position as u32) << 10,
    }
}
