//! Where everything goes: context, bodies with glue between them, the end of the chain, then all functions.

use std::ops::Range;

use bpfmand_core::{Insn, ProgramText};

use crate::asm::{Asm, Label, OutOfReach};
use crate::error::SpliceError;
use crate::joint;
use crate::member::{self, Member, function_at};
use crate::options::SpliceOptions;
use crate::proceed::ProceedMask;
use crate::refuse;
use crate::scan::{Effect, target};
use crate::stack::{ContextPlace, Stack};
use crate::verdicts::{self, Codes};

/// What a range of the joined program is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Glue that leads into a member (by its index): saved context, zeroed frame.
    Entry {
        /// Index of the member.
        member: usize,
    },
    /// The member's entry function, inlined.
    Body {
        /// Index of the member.
        member: usize,
    },
    /// Glue behind a member: the check of its verdict and, behind the last one, the end of the chain.
    Check {
        /// Index of the member.
        member: usize,
    },
    /// A function of a member, behind a call.
    Function {
        /// Index of the member.
        member: usize,
        /// Number of the function in the member's text, from 1.
        function: usize,
    },
}

impl Part {
    /// Index of the member that the part belongs to.
    #[must_use]
    pub const fn member(&self) -> usize {
        match self {
            Self::Entry { member }
            | Self::Body { member }
            | Self::Check { member }
            | Self::Function { member, .. } => *member,
        }
    }
}

/// A range of the joined program's instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Instruction indexes.
    pub insns: Range<usize>,
    /// What they are.
    pub part: Part,
}

/// All instructions in place.
pub(crate) struct Layout {
    pub(crate) insns: Vec<Insn>,
    /// In order, without gaps, none empty.
    pub(crate) sections: Vec<Section>,
}

/// Lays the program out. Conditional jumps to the chain's end that prove too far get a longer form.
pub(crate) fn lay_out(
    members: &[Member<'_>],
    stack: &Stack,
    options: &SpliceOptions<'_>,
) -> Result<Layout, SpliceError> {
    let possible: Vec<Codes> = members.iter().map(|member| verdicts::possible(member.program())).collect();
    let mut far = vec![false; members.len()];
    loop {
        let plan = Plan { members, stack, options, possible: &possible, far: &far };
        let (asm, sections) = plan.emit();
        match asm.finish(options.ja32) {
            Ok(insns) => return relocate(members, insns, sections),
            Err(OutOfReach { at, conditional }) => {
                let owner = sections.iter().find(|section| section.insns.contains(&at));
                let member = owner.map_or(0, |section| section.part.member());
                if !conditional || far[member] || !options.ja32 {
                    return Err(SpliceError::JumpTooFar { member: members[member].name(member) });
                }
                far[member] = true;
            }
        }
    }
}

struct Plan<'a> {
    members: &'a [Member<'a>],
    stack: &'a Stack,
    options: &'a SpliceOptions<'a>,
    possible: &'a [Codes],
    /// Checks whose way to the chain's end is longer than a conditional jump.
    far: &'a [bool],
}

impl Plan<'_> {
    fn emit(&self) -> (Asm, Vec<Section>) {
        let mut asm = Asm::default();
        let mut sections: Vec<Section> = Vec::new();
        let mut close = |asm: &Asm, part: Part| {
            let start = sections.last().map_or(0, |section| section.insns.end);
            if asm.here() > start {
                sections.push(Section { insns: start..asm.here(), part });
            }
        };
        let stop = asm.label();
        for member in 0..self.members.len() {
            if member == 0 {
                joint::save_context(&mut asm, self.stack.context);
            } else {
                joint::enter(&mut asm, self.stack.context, self.stack.bodies[member]);
            }
            close(&asm, Part::Entry { member });
            let end = asm.label();
            self.body(&mut asm, member, end);
            close(&asm, Part::Body { member });
            asm.bind(end);
            self.check(&mut asm, member, stop);
            close(&asm, Part::Check { member });
        }
        for (member, text) in self.members.iter().map(Member::program).enumerate() {
            for function in 1..text.functions.len() {
                asm.extend(&text.insns[member::span(text, function)]);
                close(&asm, Part::Function { member, function });
            }
        }
        (asm, sections)
    }

    /// The entry function, each exit a jump to `end`. Nothing moves inside, so its own jumps stay right.
    fn body(&self, asm: &mut Asm, member: usize, end: Label) {
        let text = self.members[member].program();
        let range = member::span(text, 0);
        let start = asm.here();
        asm.extend(&text.insns[range.clone()]);
        for (at, effect) in crate::scan::walk(&text.insns, range) {
            if effect == Effect::Exit {
                asm.turn_into_jump(start + at, end);
            }
        }
    }

    fn check(&self, asm: &mut Asm, member: usize, stop: Label) {
        let hook = self.options.hook;
        let set = self.occurring(member);
        if member + 1 < self.members.len() {
            joint::check(asm, hook, set, stop, self.far[member]);
            if self.context_follows() && refuse::uses_redirect(self.members[member].program()) {
                joint::forget_redirect(asm);
            }
            return;
        }
        // Codes of the set that answer the same as a chain that ran to its end need no check.
        let needs_check = set.codes(hook).any(|code| hook.translate(code) != hook.end_verdict());
        if needs_check {
            joint::check(asm, hook, set, stop, false);
            joint::all_proceeded(asm, hook);
        }
        asm.bind(stop);
        joint::stopped(asm, hook, self.stopping_codes(needs_check));
    }

    /// True if a next member is entered at all.
    fn context_follows(&self) -> bool {
        self.stack.context != ContextPlace::Nowhere
    }

    /// The part of a member's set that it can return; the whole set if that is none of it.
    fn occurring(&self, member: usize) -> ProceedMask {
        let set = self.members[member].proceed_on;
        match self.possible[member].of(self.options.hook, set) {
            ProceedMask(0) => set,
            part => part,
        }
    }

    /// The codes with which the chain's end can be reached.
    fn stopping_codes(&self, last_is_checked: bool) -> Codes {
        let last = self.members.len() - 1;
        self.members.iter().enumerate().fold(Codes::default(), |all, (index, member)| {
            let possible = self.possible[index];
            let arrives = if index == last && !last_is_checked {
                possible
            } else {
                possible.outside(self.options.hook, member.proceed_on)
            };
            all.or(arrives)
        })
    }
}

/// Points calls and function pointers of all members to where the functions went.
fn relocate(
    members: &[Member<'_>],
    mut insns: Vec<Insn>,
    sections: Vec<Section>,
) -> Result<Layout, SpliceError> {
    let starts: Vec<Vec<Option<usize>>> = members
        .iter()
        .enumerate()
        .map(|(index, member)| {
            (0..member.program().functions.len())
                .map(|number| {
                    let wanted = Part::Function { member: index, function: number };
                    sections.iter().find(|section| section.part == wanted).map(|section| section.insns.start)
                })
                .collect()
        })
        .collect();
    for section in &sections {
        let (member, function) = match section.part {
            Part::Body { member } => (member, 0),
            Part::Function { member, function } => (member, function),
            Part::Entry { .. } | Part::Check { .. } => continue,
        };
        let text = members[member].program();
        let range = member::span(text, function);
        for (at, effect) in crate::scan::walk(&text.insns, range.clone()) {
            let (Effect::LocalCall { distance } | Effect::FunctionPointer { distance }) = effect else {
                continue;
            };
            let now = section.insns.start + (at - range.start);
            if let Some(to) = callee(text, at, distance).and_then(|number| starts[member][number]) {
                // Both are below the limit of a million instructions.
                insns[now].imm = (to as i64 - now as i64 - 1) as i32;
            }
        }
    }
    Ok(Layout { insns, sections })
}

fn callee(text: &ProgramText, at: usize, distance: i32) -> Option<usize> {
    function_at(text, target(at, distance)?)
}
