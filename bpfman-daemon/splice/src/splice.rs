//! Members in, one program out.

use std::collections::BTreeSet;
use std::sync::Arc;

use bpfmand_core::{BoundText, FunctionSpan, MapId, ProgramText};

use crate::debug_info;
use crate::error::SpliceError;
use crate::layout::{self, Layout, Part, Section};
use crate::licence::{self, Licence};
use crate::member::Member;
use crate::options::{FragsRule, SpliceOptions};
use crate::refuse;
use crate::stack;

/// Most members of one chain.
pub const MAX_MEMBERS: usize = 32;
/// Most maps of one program (`MAX_USED_MAPS` of the kernel).
pub const MAX_MAPS: usize = 64;
/// Most instructions of one program (`BPF_COMPLEXITY_LIMIT_INSNS` of the kernel, privileged loads).
pub const MAX_INSNS: usize = 1_000_000;

/// Longest name that the kernel keeps for a program, in bytes.
const MAX_NAME: usize = 15;

/// A joined program, and which part of it is whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splice {
    /// What to load.
    pub text: BoundText,
    /// Under which licence, and why GPL-only helpers may or may not be called.
    pub licence: Licence,
    /// Every instruction's origin: in order, without gaps.
    pub sections: Vec<Section>,
    /// Bytes of stack at the deepest point, by the kernel's arithmetic.
    pub stack_bytes: u32,
    /// Members that can run: those behind one with an empty set are left out.
    pub members: usize,
}

impl Splice {
    /// Whose instruction this is: to say which member the verifier means. None beyond the end.
    #[must_use]
    pub fn section_at(&self, insn: usize) -> Option<&Section> {
        let index = self.sections.partition_point(|section| section.insns.end <= insn);
        self.sections.get(index)
    }
}

/// Joins one to [`MAX_MEMBERS`] members into one program called `name`.
pub fn splice(
    name: &str,
    members: &[Member<'_>],
    options: &SpliceOptions<'_>,
) -> Result<Splice, SpliceError> {
    check_name(name)?;
    if members.is_empty() {
        return Err(SpliceError::NoMembers);
    }
    if members.len() > MAX_MEMBERS {
        return Err(SpliceError::TooManyMembers { given: members.len() });
    }
    // No verdict leads past an empty set, and the verifier refuses code that nothing reaches.
    let reached =
        members.iter().position(|member| member.proceed_on.0 == 0).map_or(members.len(), |at| at + 1);
    let members = &members[..reached];
    let mut frames = Vec::with_capacity(members.len());
    for (index, member) in members.iter().enumerate() {
        let checked = refuse::check(member, index + 1 == members.len(), options)
            .and_then(|()| stack::frames(member))
            .map_err(|reason| SpliceError::Refused { member: member.name(index), reason })?;
        frames.push(checked);
    }
    let licence = licence::decide(members)?;
    let frags = decide_frags(members, options.frags)?;
    check_sizes(members)?;
    let stack = stack::plan(members, &frames, options)?;
    let layout = layout::lay_out(members, &stack, options)?;
    if layout.insns.len() > MAX_INSNS {
        return Err(SpliceError::TooManyInsns { insns: layout.insns.len() });
    }
    let debug = debug_info::build(members, &layout.sections, options.hook)?;
    let functions = functions(name, members, &layout);
    let Layout { insns, sections } = layout;
    let text = ProgramText {
        name: name.to_owned(),
        license: licence.text.clone(),
        insns,
        functions,
        btf: Some(Arc::from(debug.btf)),
        func_info: debug.func_info,
        line_info: debug.line_info,
        frags,
        sleepable: false,
    };
    Ok(Splice { text: BoundText(text), licence, sections, stack_bytes: stack.worst, members: reached })
}

fn check_name(name: &str) -> Result<(), SpliceError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(allowed) {
        return Err(SpliceError::BadName { name: name.to_owned() });
    }
    Ok(())
}

fn decide_frags(members: &[Member<'_>], rule: FragsRule) -> Result<bool, SpliceError> {
    let with = members.iter().position(|member| member.program().frags);
    let without = members.iter().position(|member| !member.program().frags);
    match (with, without, rule) {
        (Some(with), Some(without), FragsRule::MustAgree) => Err(SpliceError::FragsDisagree {
            with: members[with].name(with),
            without: members[without].name(without),
        }),
        (_, without, _) => Ok(without.is_none()),
    }
}

/// Before any work is done that grows with the members.
fn check_sizes(members: &[Member<'_>]) -> Result<(), SpliceError> {
    let maps: BTreeSet<MapId> = members.iter().flat_map(|member| member.text.map_ids()).collect();
    if maps.len() > MAX_MAPS {
        return Err(SpliceError::TooManyMaps { maps: maps.len() });
    }
    let insns = members.iter().map(|member| member.program().insns.len()).sum();
    if insns > MAX_INSNS {
        return Err(SpliceError::TooManyInsns { insns });
    }
    Ok(())
}

/// The common entry function, then every function that is called.
fn functions(name: &str, members: &[Member<'_>], layout: &Layout) -> Vec<FunctionSpan> {
    let called = layout.sections.iter().filter_map(|section| match section.part {
        Part::Function { member, function } => Some(FunctionSpan {
            name: members[member].program().functions[function].name.clone(),
            start: section.insns.start,
            len: section.insns.len(),
        }),
        _ => None,
    });
    let called: Vec<FunctionSpan> = called.collect();
    let entry_len = called.first().map_or(layout.insns.len(), |function| function.start);
    let mut functions = vec![FunctionSpan { name: name.to_owned(), start: 0, len: entry_len }];
    functions.extend(called);
    functions
}

#[cfg(test)]
#[path = "splice_tests.rs"]
mod tests;
