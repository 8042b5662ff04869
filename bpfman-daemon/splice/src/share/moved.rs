//! Replaces a program's entry function: removes functions without callers, and adjusts positions in all records.

use std::collections::BTreeMap;

use bpfman_model::{Insn, LineInfo, ProgramText};

use crate::chain::member::{function_at, span};
use crate::chain::sections::ChainSection;
use crate::share::layout::PlacedInsn;
use crate::text::scan::{Effect, target, walk};

/// Replaces the entry function. Returns the earlier program, and each new instruction with its origin.
pub(super) fn with_entry(
    text: &mut ProgramText,
    sections: &mut Vec<ChainSection>,
    entry: &[PlacedInsn],
) -> (ProgramText, Vec<PlacedInsn>) {
    let before = text.clone();
    let functions = reached(&before, entry);
    // The origin of each instruction, and the place of each function.
    let mut lines: Vec<PlacedInsn> = entry.to_vec();
    let mut starts: BTreeMap<usize, usize> = BTreeMap::from([(0, 0)]);
    for function in functions.iter().skip(1) {
        starts.insert(*function, lines.len());
        lines.extend(span(&before, *function).map(|at| PlacedInsn { insn: before.insns[at], origin: at }));
    }
    text.insns = lines.iter().map(|line| line.insn).collect();
    for (at, callee) in calls(&before, &lines) {
        if let Some(to) = starts.get(&callee) {
            // Both are below the limit of a million instructions.
            text.insns[at].imm = (*to as i64 - at as i64 - 1) as i32;
        }
    }
    let len = |function: usize| if function == 0 { entry.len() } else { before.functions[function].len };
    text.functions.clear();
    text.func_info.clear();
    for (function, start) in &starts {
        let mut moved = before.functions[*function].clone();
        (moved.start, moved.len) = (*start, len(*function));
        text.functions.push(moved);
        if let Some(info) = before.func_info.get(*function) {
            text.func_info.push(bpfman_model::FuncInfo { insn_off: *start as u32, ..*info });
        }
    }
    text.line_info = moved_lines(&before.line_info, &lines);
    *sections = moved_sections(sections, &lines);
    (before, lines)
}

/// Returns the functions that the entry, number 0, calls directly or indirectly.
fn reached(text: &ProgramText, entry: &[PlacedInsn]) -> Vec<usize> {
    let mut is_reached = vec![false; text.functions.len()];
    is_reached[0] = true;
    let mut waiting: Vec<usize> = calls(text, entry).into_iter().map(|(_, callee)| callee).collect();
    while let Some(function) = waiting.pop() {
        if !std::mem::replace(&mut is_reached[function], true) {
            waiting.extend(crate::chain::member::callees(text, function));
        }
    }
    (0..is_reached.len()).filter(|function| is_reached[*function]).collect()
}

/// Returns positions of calls and of loads of function addresses, each with its function's number.
fn calls(text: &ProgramText, lines: &[PlacedInsn]) -> Vec<(usize, usize)> {
    let insns: Vec<Insn> = lines.iter().map(|line| line.insn).collect();
    let calls = walk(&insns, 0..insns.len()).filter_map(|(at, effect)| match effect {
        Effect::LocalCall { distance } | Effect::FunctionPointer { distance } => {
            Some((at, function_at(text, target(lines[at].origin, distance)?)?))
        }
        _ => None,
    });
    calls.collect()
}

/// Returns the source lines of the new program. An instruction's line is the last one at or before it.
fn moved_lines(before: &[LineInfo], lines: &[PlacedInsn]) -> Vec<LineInfo> {
    let mut moved: Vec<LineInfo> = Vec::new();
    let mut last = None;
    let mut is_second_half = false;
    for (at, line) in lines.iter().enumerate() {
        let index = before.partition_point(|one| one.insn_off as usize <= line.origin).checked_sub(1);
        // An instruction that begins a line begins it again in each of its copies.
        let begins = index.is_some_and(|index| before[index].insn_off as usize == line.origin);
        if let Some(index) = index
            && (begins || last != Some(index))
            && !is_second_half
        {
            moved.push(LineInfo { insn_off: at as u32, ..before[index] });
            last = Some(index);
        }
        is_second_half = line.insn.is_ld_imm64();
    }
    moved
}

/// Returns the sections of the new program. A part can have several.
fn moved_sections(before: &[ChainSection], lines: &[PlacedInsn]) -> Vec<ChainSection> {
    let mut moved: Vec<ChainSection> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let index = before.partition_point(|section| section.insns.end <= line.origin);
        let Some(section) = before.get(index) else { continue };
        match moved.last_mut() {
            Some(last) if last.part == section.part => last.insns.end = at + 1,
            _ => moved.push(ChainSection { insns: at..at + 1, part: section.part.clone() }),
        }
    }
    moved
}
