//! Order of a program: context, bodies with glue, the ends of the program, then all functions.

use std::collections::BTreeMap;
use std::ops::Range;

use bpfman_model::{Insn, MapId};

use crate::analysis::pointer::FULL;
use crate::analysis::stack::{Group, Stack};
use crate::analysis::unwritten::FrameSlots;
use crate::analysis::verdicts::Codes;
use crate::chain::hook::{Code, TC_SHOT, XDP_DROP};
use crate::chain::join_mode::JoinMode;
use crate::chain::member;
use crate::chain::proceed::{ProceedMask, emit_drop_test};
use crate::chain::sections::{ChainPart, ChainSection};
use crate::emit::clock::{self, Clock};
use crate::emit::compile::Timing;
use crate::emit::exits::{self, Counting, Exits, FAILED};
use crate::emit::glue;
use crate::emit::relocate::relocate;
use crate::error::SpliceError;
use crate::text::asm::{Asm, JumpOutOfRange, Label};
use crate::text::opcode;
use crate::text::scan::Effect;

pub(crate) struct Layout {
    pub(crate) insns: Vec<Insn>,
    /// Sections in order, without gaps, none empty.
    pub(crate) sections: Vec<ChainSection>,
}

pub(crate) struct Segment<'a> {
    pub(crate) group: Group<'a>,
    pub(crate) range: Range<usize>,
    pub(crate) stack: Stack,
    pub(crate) next: Option<MapId>,
    pub(crate) own: BTreeMap<usize, MapId>,
    pub(crate) counting: Option<Counting>,
    pub(crate) tick: Option<(Timing, MapId)>,
    pub(crate) clock: Option<Clock>,
}

/// Conditional jumps to a far end of the chain get a longer form.
pub(crate) fn lay_out(segment: &Segment<'_>) -> Result<Layout, SpliceError> {
    let wide = segment.group.options.ja32;
    let mut far = vec![false; segment.group.members.len()];
    loop {
        let mut emission = Emission { segment, far: &far, asm: Asm::default(), sections: Vec::new() };
        emission.emit();
        let Emission { asm, sections, .. } = emission;
        match asm.finish(wide) {
            Ok(mut insns) => {
                relocate(segment.group, &mut insns, &sections);
                return Ok(Layout { insns, sections });
            }
            Err(JumpOutOfRange { at, conditional }) => {
                let owner = sections.iter().find(|section| section.insns.contains(&at));
                let member = owner.map_or(segment.range.start, |section| section.part.member());
                if !conditional || far[member] || !wide {
                    let member = segment.group.members[member].name(member);
                    return Err(SpliceError::JumpTooFar { member });
                }
                far[member] = true;
            }
        }
    }
}

struct Emission<'a> {
    segment: &'a Segment<'a>,
    /// Checks too far from the chain's end for a conditional jump.
    far: &'a [bool],
    asm: Asm,
    sections: Vec<ChainSection>,
}

impl Emission<'_> {
    fn close(&mut self, part: ChainPart) {
        let start = self.sections.last().map_or(0, |section| section.insns.end);
        if self.asm.here() > start {
            self.sections.push(ChainSection { insns: start..self.asm.here(), part });
        }
    }

    fn way(&self, member: usize) -> JoinMode {
        self.segment.group.ways[member].way
    }

    fn emit(&mut self) {
        let range = self.segment.range.clone();
        let mut exits = Exits::new(self.segment.group.options.hook, self.segment.counting);
        let mut callees: Vec<(usize, Label)> = Vec::new();
        for member in range.clone() {
            self.enter(member);
            match self.way(member) {
                JoinMode::Inline => {
                    self.close(ChainPart::Entry { member });
                    let end = self.asm.label();
                    self.body(member, 0, Some(end));
                    self.close(ChainPart::Body { member });
                    self.asm.bind(end);
                }
                JoinMode::Function | JoinMode::Standalone => {
                    let function = self.asm.label();
                    self.asm.call(function);
                    callees.push((member, function));
                    self.close(ChainPart::Entry { member });
                }
            }
            self.leave(member, &mut exits);
            if member + 1 < range.end {
                self.close(ChainPart::Check { member });
            }
        }
        exits.emit(&mut self.asm, self.segment.stack.context);
        self.close(ChainPart::Check { member: range.end - 1 });
        for (member, label) in callees {
            self.asm.bind(label);
            match self.way(member) {
                JoinMode::Standalone => self.stub(member),
                JoinMode::Inline | JoinMode::Function => self.function(member, 0),
            }
        }
        for member in range {
            if self.way(member) == JoinMode::Standalone {
                continue;
            }
            for function in 1..self.segment.group.members[member].program().functions.len() {
                self.function(member, function);
            }
        }
    }

    fn enter(&mut self, member: usize) {
        let context = self.segment.stack.context;
        let is_first = member == self.segment.range.start;
        if let (true, Some((timing, twin))) = (is_first, self.segment.tick) {
            clock::tick(&mut self.asm, timing, twin);
        }
        if is_first {
            glue::save_context(&mut self.asm, context);
        } else {
            glue::load_context(&mut self.asm, context);
        }
        // A tail-called program finds the frame of the previous one.
        if member > 0 {
            let group = self.segment.group;
            match group.options.clear_frames {
                true => {
                    glue::zero_frame(&mut self.asm, group.body(member).next_multiple_of(8), FrameSlots::ALL)
                }
                false => {
                    glue::zero_frame(&mut self.asm, group.body(member), group.surveys[member].unwritten[0]);
                }
            }
        }
        if let (true, Some(clock)) = (is_first, self.segment.clock) {
            clock.start(&mut self.asm);
        }
    }

    /// Copies a function. Exits become jumps to `end` if there is one; distances, and so other jumps, stay the same.
    fn body(&mut self, member: usize, function: usize, end: Option<Label>) {
        let text = self.segment.group.members[member].program();
        let range = member::span(text, function);
        let start = self.asm.here();
        self.asm.extend(&text.insns[range.clone()]);
        let Some(end) = end else { return };
        for (at, effect) in crate::text::scan::walk(&text.insns, range.clone()) {
            if effect == Effect::Exit {
                self.asm.turn_into_jump(start + at - range.start, end);
            }
        }
    }

    fn function(&mut self, member: usize, function: usize) {
        let survey = &self.segment.group.surveys[member];
        let frame = survey.frames[function].next_multiple_of(8);
        let slots = survey.unwritten[function];
        if member > 0 && slots.depths(frame).next().is_some() {
            glue::zero_frame(&mut self.asm, frame, slots);
            self.close(ChainPart::Start { member, function });
        }
        self.body(member, function, None);
        self.close(ChainPart::Function { member, function });
    }

    /// Emits a stub. The member's frame takes the place of the stub's: slots cleared here are clear for the member.
    fn stub(&mut self, member: usize) {
        if member > 0 {
            let group = self.segment.group;
            let left = FULL.saturating_sub(group.options.rounding.round(self.segment.stack.frame)) / 32 * 32;
            // The called program may differ from the analysed text: clear the whole frame.
            glue::zero_frame(&mut self.asm, group.surveys[member].frames[0].min(left), FrameSlots::ALL);
        }
        if let Some(array) = self.segment.own.get(&member) {
            glue::tail_call(&mut self.asm, *array);
        }
        glue::answer(&mut self.asm, FAILED);
        self.close(ChainPart::Stub { member });
    }

    fn leave(&mut self, member: usize, exits: &mut Exits) {
        let group = self.segment.group;
        let hook = group.options.hook;
        if let Some(clock) = self.segment.clock {
            clock.lap(&mut self.asm, member);
        }
        let is_shadow = group.members[member].proceed_on == ProceedMask::EVERYTHING;
        // The chain continues after any verdict of a shadow member, and even if the tail call to it fails.
        if self.way(member) == JoinMode::Standalone && !is_shadow {
            let failed = exits.failed(&mut self.asm, member);
            self.branch(opcode::JEQ32, FAILED.cast_unsigned(), failed, self.far[member]);
        }
        if is_shadow {
            return self.leave_shadow(member, exits);
        }
        if group.members[member].proceed_on == ProceedMask::UNLESS_DROPPED {
            return self.leave_unless_dropped(member, exits);
        }
        self.hold_back(member, exits);
        let set = self.occurring(member);
        let stopping = self.codes(member).outside(hook, group.members[member].proceed_on);
        if member + 1 == group.members.len() {
            // No check if all codes have the end's result, nor for an empty set, which makes later code unreachable.
            let needs_check = match self.segment.counting {
                Some(_) => set != ProceedMask(0),
                None => set.codes(hook).any(|code| hook.translate(code) != hook.end_verdict()),
            };
            if needs_check {
                let stop = exits.stopped(&mut self.asm, member, stopping);
                glue::check(&mut self.asm, hook, set, stop, self.far[member]);
                let end = exits.all_proceeded(&mut self.asm);
                exits.run_into(end);
            } else {
                let codes = self.codes(member);
                let stop = exits.stopped(&mut self.asm, member, codes);
                exits.run_into(stop);
            }
            return;
        }
        let stop = exits.stopped(&mut self.asm, member, stopping);
        glue::check(&mut self.asm, hook, set, stop, self.far[member]);
        self.go_on(member, exits);
    }

    /// Drops packets that a verdict outside the proceed-on set would send past the machine's programs.
    fn hold_back(&mut self, member: usize, exits: &mut Exits) {
        let group = self.segment.group;
        let (hook, set) = (group.options.hook, group.members[member].proceed_on);
        let unsent = group.members[member].unsent.codes(hook).filter(|code| !set.contains(hook, *code));
        let unsent: Vec<Code> = unsent.collect();
        if unsent.is_empty() {
            return;
        }
        let (drop, on) = (self.asm.label(), self.asm.label());
        for code in unsent {
            self.asm.branch(opcode::JEQ32, code.cast_unsigned(), drop);
        }
        self.asm.jump(on);
        self.asm.bind(drop);
        self.asm.set(0, XDP_DROP);
        let stop = exits.stopped(&mut self.asm, member, Codes::constant(XDP_DROP));
        self.asm.jump(stop);
        self.asm.bind(on);
    }

    fn leave_unless_dropped(&mut self, member: usize, exits: &mut Exits) {
        let go = self.asm.label();
        emit_drop_test(&mut self.asm, go);
        let stop = exits.stopped(&mut self.asm, member, Codes::constant(TC_SHOT));
        self.asm.jump(stop);
        self.asm.bind(go);
        if member + 1 == self.segment.group.members.len() {
            let end = exits.all_proceeded(&mut self.asm);
            exits.run_into(end);
        } else {
            self.go_on(member, exits);
        }
    }

    fn leave_shadow(&mut self, member: usize, exits: &mut Exits) {
        let group = self.segment.group;
        if let Some(counting) = self.segment.counting {
            exits::count_shadow(
                &mut self.asm,
                group.options.hook,
                counting,
                self.segment.stack.context,
                member,
            );
        }
        if member + 1 == group.members.len() {
            let end = exits.all_proceeded(&mut self.asm);
            exits.run_into(end);
        } else {
            self.go_on(member, exits);
        }
    }

    /// Emits the transition to the next member, which may be in the next program.
    fn go_on(&mut self, member: usize, exits: &mut Exits) {
        if self.segment.group.surveys[member].redirects {
            glue::forget_redirect(&mut self.asm);
        }
        if let (true, Some(array)) = (member + 1 == self.segment.range.end, self.segment.next) {
            glue::load_context(&mut self.asm, self.segment.stack.context);
            glue::tail_call(&mut self.asm, array);
            let failed = exits.failed(&mut self.asm, member + 1);
            exits.run_into(failed);
        }
    }

    fn branch(&mut self, code: u8, value: u32, to: Label, far: bool) {
        if far {
            let (near, on) = (self.asm.label(), self.asm.label());
            self.asm.branch(code, value, near);
            self.asm.jump(on);
            self.asm.bind(near);
            self.asm.jump(to);
            self.asm.bind(on);
        } else {
            self.asm.branch(code, value, to);
        }
    }

    /// Returns the codes that a member can return: any for a separate program, which may be replaced later.
    fn codes(&self, member: usize) -> Codes {
        match self.way(member) {
            JoinMode::Standalone => Codes::UNKNOWN,
            JoinMode::Inline | JoinMode::Function => self.segment.group.surveys[member].codes,
        }
    }

    /// Returns the codes of the proceed-on set that can occur, or if none can, the whole set.
    fn occurring(&self, member: usize) -> ProceedMask {
        let set = self.segment.group.members[member].proceed_on;
        match self.codes(member).of(self.segment.group.options.hook, set) {
            ProceedMask(0) => set,
            part => part,
        }
    }
}
