use std::collections::BTreeMap;

use bpfman_model::Insn;

use crate::analysis::stack::Group;
use crate::chain::member::{self, function_at};
use crate::chain::sections::{self, ChainPart, ChainSection};
use crate::text::scan::{Effect, target};

pub(crate) fn relocate(group: Group<'_>, insns: &mut [Insn], sections: &[ChainSection]) {
    let starts: BTreeMap<(usize, usize), usize> = sections::functions(sections)
        .filter_map(|(start, part)| match part {
            ChainPart::Function { member, function } | ChainPart::Start { member, function } => {
                Some(((*member, *function), start))
            }
            _ => None,
        })
        .collect();
    for section in sections {
        let Some(function) = section.part.function() else { continue };
        let member = section.part.member();
        let text = group.members[member].program();
        let range = member::span(text, function);
        for (at, effect) in crate::text::scan::walk(&text.insns, range.clone()) {
            let (Effect::LocalCall { distance } | Effect::FunctionPointer { distance }) = effect else {
                continue;
            };
            let now = section.insns.start + (at - range.start);
            let callee = target(at, distance).and_then(|to| function_at(text, to));
            if let Some(to) = callee.and_then(|callee| starts.get(&(member, callee))) {
                // Both are below the limit of a million instructions.
                insns[now].imm = (*to as i64 - now as i64 - 1) as i32;
            }
        }
    }
}
