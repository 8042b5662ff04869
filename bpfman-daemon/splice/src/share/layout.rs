//! Puts blocks in an order, without saves that nothing loads and without computations that nothing uses.

use std::collections::BTreeSet;

use bpfman_model::{Insn, op};

use crate::share::walk::{BlockId, End, Op, PathBlock, SlotUse};
use crate::specialise::needless;

#[derive(Clone, Copy)]
pub(super) struct PlacedInsn {
    pub(super) insn: Insn,
    pub(super) origin: usize,
}

/// Returns the blocks as instructions in order; `None` if a jump would be too far.
pub(super) fn lay_out(mut blocks: Vec<PathBlock>) -> Option<Vec<PlacedInsn>> {
    drop_unloaded(&mut blocks);
    let (lines, targets) = in_order(&blocks);
    without_needless(lines, &targets)
}

/// Removes saves that no later instruction loads.
fn drop_unloaded(blocks: &mut [PathBlock]) {
    let mut wanted: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); blocks.len()];
    let behind = |wanted: &[BTreeSet<usize>], end: End| match end {
        End::Exit => BTreeSet::new(),
        End::To(to) => wanted[to].clone(),
        End::Branch { taken, next, .. } => wanted[taken].union(&wanted[next]).copied().collect(),
    };
    loop {
        let mut grew = false;
        for number in (0..blocks.len()).rev() {
            let mut live = behind(&wanted, blocks[number].end);
            for op in blocks[number].ops.iter().rev() {
                match op.slot {
                    Some(SlotUse::Load(slot)) => _ = live.insert(slot),
                    Some(SlotUse::Save(slot)) => _ = live.remove(&slot),
                    None => {}
                }
            }
            grew |= live != wanted[number];
            wanted[number] = live;
        }
        if !grew {
            break;
        }
    }
    for block in blocks {
        let mut live = behind(&wanted, block.end);
        let mut kept: Vec<Op> = Vec::with_capacity(block.ops.len());
        for op in block.ops.iter().rev() {
            match op.slot {
                Some(SlotUse::Load(slot)) => _ = live.insert(slot),
                Some(SlotUse::Save(slot)) if !live.remove(&slot) => continue,
                _ => {}
            }
            kept.push(*op);
        }
        kept.reverse();
        block.ops = kept;
    }
}

/// Returns instructions in order, and for each jump the index of its target.
fn in_order(blocks: &[PathBlock]) -> (Vec<PlacedInsn>, Vec<Option<usize>>) {
    let through = |mut to: BlockId| {
        for _ in 0..blocks.len() {
            match blocks[to].end {
                End::To(next) if blocks[to].ops.is_empty() => to = next,
                _ => break,
            }
        }
        to
    };
    let mut lines: Vec<PlacedInsn> = Vec::new();
    let mut jumps: Vec<(usize, BlockId)> = Vec::new();
    let mut starts: Vec<Option<usize>> = vec![None; blocks.len()];
    let mut waiting: BTreeSet<BlockId> = BTreeSet::from([through(0)]);
    while let Some(first) = waiting.pop_first() {
        let mut current = first;
        while starts[current].is_none() {
            starts[current] = Some(lines.len());
            waiting.remove(&current);
            let block = &blocks[current];
            lines.extend(block.ops.iter().map(|op| PlacedInsn { insn: op.insn, origin: op.origin }));
            let origin = lines.last().map_or(0, |line| line.origin);
            let next = match block.end {
                End::Exit => break,
                End::To(to) => through(to),
                End::Branch { taken, next, .. } if through(taken) == through(next) => through(next),
                End::Branch { op, taken, next } => {
                    let taken = through(taken);
                    jumps.push((lines.len(), taken));
                    lines.push(PlacedInsn { insn: op.insn, origin: op.origin });
                    if starts[taken].is_none() {
                        waiting.insert(taken);
                    }
                    through(next)
                }
            };
            if starts[next].is_some() {
                jumps.push((lines.len(), next));
                lines.push(PlacedInsn { insn: Insn::new(op::JA, 0, 0, 0, 0), origin });
            }
            current = next;
        }
    }
    let mut targets = vec![None; lines.len()];
    for (at, to) in jumps {
        targets[at] = starts[to];
    }
    (lines, targets)
}

fn without_needless(mut lines: Vec<PlacedInsn>, targets: &[Option<usize>]) -> Option<Vec<PlacedInsn>> {
    let distance = |from: usize, to: usize| i16::try_from(to as i64 - from as i64 - 1).ok();
    for (at, to) in targets.iter().enumerate().filter_map(|(at, to)| Some((at, (*to)?))) {
        lines[at].insn.off = distance(at, to)?;
    }
    let insns: Vec<Insn> = lines.iter().map(|line| line.insn).collect();
    let mut dropped = needless(&insns);
    for at in 1..dropped.len() {
        dropped[at] |= dropped[at - 1] && insns[at - 1].is_ld_imm64();
    }
    let mut places = Vec::with_capacity(lines.len() + 1);
    let mut kept = 0;
    for dropped in &dropped {
        places.push(kept);
        kept += usize::from(!dropped);
    }
    for (at, to) in targets.iter().enumerate().filter_map(|(at, to)| Some((at, (*to)?))) {
        lines[at].insn.off = distance(places[at], places[to])?;
    }
    let mut dropped = dropped.into_iter();
    lines.retain(|_| dropped.next() == Some(false));
    Some(lines)
}
