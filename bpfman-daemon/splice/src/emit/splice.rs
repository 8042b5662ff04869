use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bpfman_model::{BoundText, FunctionSpan, Insn, MapId, ProgramText};

use crate::analysis::stack::{self, ContextPlace, Group};
use crate::chain::counters::CounterLayout;
use crate::chain::join_mode::JoinMode;
use crate::chain::plan::{ArrayUse, ChainPlan};
use crate::chain::sections::{self, ChainSection};
use crate::emit::clock::{Clock, TimeLayout};
use crate::emit::compile::Timing;
use crate::emit::debug_info::{self, Names};
use crate::emit::exits::Counting;
use crate::emit::layout::{self, Layout, Segment};
use crate::error::SpliceError;
use crate::error::limits::MAX_INSNS;
use crate::share::{MAX_SLOTS, StackPlaces, share};
use crate::text::licence::{self, Licence};

/// Maximum length of a program's name in bytes, without the terminating zero.
const MAX_NAME: usize = 15;

/// A joined program, with the origin of its instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splice {
    pub text: BoundText,
    /// Licence of the program, which decides whether GPL-only helpers may be called.
    pub licence: Licence,
    /// Origin of every instruction: in order, without gaps.
    pub sections: Vec<ChainSection>,
    /// Bytes of stack at the deepest point, by the kernel's arithmetic.
    pub stack_bytes: u32,
    /// Members in the program, by their positions in the chain.
    pub members: Range<usize>,
    /// Tests and addresses of headers that a member takes from one before it; 0 if headers are not shared.
    pub shared: u32,
}

impl Splice {
    /// Returns the section of an instruction, for example of a verifier message.
    #[must_use]
    pub fn section_at(&self, insn: usize) -> Option<&ChainSection> {
        let index = self.sections.partition_point(|section| section.insns.end <= insn);
        self.sections.get(index)
    }
}

pub(crate) struct ChainMaps<'a> {
    pub(crate) plan: &'a ChainPlan,
    pub(crate) arrays: &'a [MapId],
    pub(crate) counters: Option<MapId>,
    pub(crate) timing: Option<Timing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copy {
    Plain,
    Twin,
}

impl ChainMaps<'_> {
    fn array(&self, wanted: ArrayUse) -> Option<MapId> {
        let place = self.plan.arrays.iter().position(|used| *used == wanted)?;
        self.arrays.get(place).copied()
    }
}

pub(crate) fn join(
    name: &str,
    group: Group<'_>,
    number: usize,
    copy: Copy,
    maps: &ChainMaps<'_>,
) -> Result<Splice, SpliceError> {
    let range = maps.plan.segments[number].members.clone();
    let stack = stack::plan(group, &range).map_err(|stack::DoesNotFit| SpliceError::DoesNotFit {
        member: group.members[range.start].name(range.start),
    })?;
    let own: BTreeMap<usize, MapId> =
        range.clone().filter_map(|member| Some((member, maps.array(ArrayUse::Member(member))?))).collect();
    let counting = maps.counters.map(|map| Counting {
        map,
        layout: CounterLayout::new(group.options.hook, group.members.len()),
        is_hidden: group.options.clear_frames,
    });
    let (context, frame) = (stack.context, stack.frame);
    let (slots, stack_with_slots) = match may_share(group, &range, copy) {
        true => stack::reserve(group, &range, &stack, MAX_SLOTS),
        false => (0, stack.worst),
    };
    let mut stack_bytes = stack.worst;
    let next = maps.array(match copy {
        Copy::Plain => ArrayUse::Segment(number + 1),
        Copy::Twin => ArrayUse::Twin(number + 1),
    });
    let twin = maps.timing.zip(maps.array(ArrayUse::Twin(0)));
    let tick = twin.filter(|_| copy == Copy::Plain && number == 0);
    let clock = maps.timing.filter(|_| copy == Copy::Twin).map(|timing| Clock {
        samples: timing.samples,
        layout: TimeLayout::new(group.members.len()),
        hook: group.options.hook,
        context: stack.context,
        frame: stack.untimed,
    });
    let segment = Segment { group, range: range.clone(), stack, next, own, counting, tick, clock };
    let Layout { mut insns, mut sections } = layout::lay_out(&segment)?;
    if insns.len() > MAX_INSNS {
        return Err(SpliceError::TooManyInsns { insns: insns.len() });
    }
    let names = Names::of(group, &range);
    let debug = debug_info::build(group, &range, &sections, &names)?;
    for (at, id) in debug.local_type_ids {
        if !holds_a_number(&insns, at) {
            return Err(SpliceError::NoTypeId { insn: at });
        }
        insns[at].imm = id.cast_signed();
    }
    let functions = functions(name, group, &sections, &names, insns.len());
    let joined = range.clone().filter(|member| group.ways[*member].way != JoinMode::Standalone);
    let licences: Vec<&str> = joined.map(|member| group.members[member].program().license.as_str()).collect();
    let licence = licence::decide(&licences);
    let mut text = ProgramText {
        name: name.to_owned(),
        license: licence.text.clone(),
        insns,
        functions,
        btf: Some(Arc::from(debug.btf)),
        func_info: debug.func_info,
        line_info: debug.line_info,
        frags: maps.plan.frags,
        sleepable: false,
        modules: Vec::new(),
        jump_tables: Vec::new(),
    };
    let context = match context {
        ContextPlace::Slot(depth) => Some(depth),
        ContextPlace::Nowhere | ContextPlace::Register(_) => None,
    };
    let places = StackPlaces { context, frame, slots };
    let shared = share(&mut text, &mut sections, group.options.hook, places);
    if shared > 0 {
        stack_bytes = stack_with_slots;
    }
    Ok(Splice { text: BoundText(text), licence, sections, stack_bytes, members: range, shared })
}

/// Returns whether members may share tests of headers. A twin measures each member alone, so its members share none;
/// and if stack accesses need barriers against speculation, sharing gains nothing.
fn may_share(group: Group<'_>, range: &Range<usize>, copy: Copy) -> bool {
    let inlined = || range.clone().filter(|member| group.ways[*member].way == JoinMode::Inline);
    group.options.shares_headers
        && copy == Copy::Plain
        && !group.options.clear_frames
        && inlined().count() > 1
        && inlined().all(|member| group.members[member].local_type_ids.is_empty())
}

/// Returns whether the instruction's immediate is a number, and not a map reference or the target of a call.
fn holds_a_number(insns: &[Insn], at: usize) -> bool {
    let is_second_half =
        at.checked_sub(1).and_then(|before| insns.get(before)).is_some_and(|insn| insn.is_ld_imm64());
    insns.get(at).is_some_and(|insn| {
        let takes_immediate = matches!(insn.class(), 4 | 7) && insn.code & 8 == 0;
        !is_second_half && (takes_immediate || insn.is_ld_imm64() && insn.src() == 0)
    })
}

fn functions(
    name: &str,
    group: Group<'_>,
    sections: &[ChainSection],
    names: &Names,
    end: usize,
) -> Vec<FunctionSpan> {
    let called: Vec<(usize, String)> =
        sections::functions(sections).map(|(start, part)| (start, names.function(group, part))).collect();
    let starts = std::iter::once((0, name.to_owned())).chain(called.clone());
    let ends = called.iter().map(|(start, _)| *start).chain([end]);
    starts.zip(ends).map(|((start, name), end)| FunctionSpan { name, start, len: end - start }).collect()
}

pub(crate) fn check_name(name: &str) -> Result<(), SpliceError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(allowed) {
        return Err(SpliceError::BadName { name: name.to_owned() });
    }
    Ok(())
}

/// Returns the name of a segment, shortened so that its number and suffix fit into the kernel's limit.
pub(crate) fn segment_name(name: &str, number: usize, copy: Copy) -> String {
    let suffix = match (copy, number) {
        (Copy::Plain, 0) => return name.to_owned(),
        (Copy::Plain, number) => format!(".{}", number + 1),
        (Copy::Twin, 0) => ".t".to_owned(),
        (Copy::Twin, number) => format!(".t{}", number + 1),
    };
    let kept = name.len().min(MAX_NAME - suffix.len());
    format!("{}{suffix}", &name[..kept])
}

#[cfg(test)]
#[path = "splice_tests.rs"]
mod tests;
