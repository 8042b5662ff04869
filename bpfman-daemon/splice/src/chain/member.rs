use std::collections::BTreeSet;
use std::ops::Range;

use bpfman_model::{BoundText, Insn, ProgramText, op};

use crate::chain::proceed::ProceedMask;
use crate::error::MemberName;
use crate::error::refusal::Refusal;
use crate::text::scan::{Effect, target, walk, width};

/// A program to be joined, and the verdicts with which the chain continues.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Name in messages and line information: its file or image.
    pub label: &'a str,
    /// The relocated program, its map references bound to kernel maps.
    pub text: &'a BoundText,
    /// Verdicts on which the next member runs.
    pub proceed_on: ProceedMask,
    /// XDP verdicts of a tenant's member that become a drop, since they send packets past the machine's programs.
    pub unsent: ProceedMask,
    /// Instructions or maps carry type ids of its own BTF (`bpf_obj_new`, lists, trees, local kptrs).
    pub needs_own_btf: bool,
    /// Stack depths by function (`stack depth 24+0+16`): the only exact ones for functions that index stack arrays.
    pub kernel_stack_depths: Option<&'a [u32]>,
    /// Positions of CO-RE's local type ids, which change. If maps depend on them too: [`Self::needs_own_btf`].
    pub local_type_ids: &'a [usize],
    /// The text is not the one that was loaded: it cannot run as a program of its own.
    pub is_altered: bool,
    /// Runs as a program of its own, at any cost.
    pub isolated: bool,
    /// The text stands for unknown instructions, which may redirect and tail-call; used with [`Self::isolated`].
    pub opaque: bool,
    /// Instructions that the verifier processed when the member was loaded alone, if known.
    pub verified_insns: Option<u32>,
    /// Owner of the member: chains are cut between owners first.
    pub owner: MemberOwner,
    /// Loaded for one device (receive-metadata functions), which applies to the whole chain.
    pub device_bound: bool,
    /// Made for device or CPU map entries (`xdp/devmap`, `xdp/cpumap`): never chained.
    pub for_map: bool,
}

/// Owner of a member, only compared with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberOwner(pub u32);

impl<'a> Member<'a> {
    /// Creates a member without exceptions to the rules.
    #[must_use]
    pub const fn new(label: &'a str, text: &'a BoundText, proceed_on: ProceedMask) -> Self {
        Self {
            label,
            text,
            proceed_on,
            unsent: ProceedMask(0),
            needs_own_btf: false,
            kernel_stack_depths: None,
            local_type_ids: &[],
            is_altered: false,
            isolated: false,
            opaque: false,
            verified_insns: None,
            owner: MemberOwner(0),
            device_bound: false,
            for_map: false,
        }
    }

    pub(crate) fn name(&self, index: usize) -> MemberName {
        MemberName {
            position: index + 1,
            label: self.label.into(),
            function: self.text.0.name.as_str().into(),
        }
    }

    pub(crate) fn program(&self) -> &'a ProgramText {
        &self.text.0
    }
}

pub(crate) fn span(text: &ProgramText, function: usize) -> Range<usize> {
    let span = &text.functions[function];
    span.start..span.start + span.len
}

pub(crate) fn function_at(text: &ProgramText, at: usize) -> Option<usize> {
    text.functions.binary_search_by_key(&at, |span| span.start).ok()
}

pub(crate) fn callees(text: &ProgramText, function: usize) -> BTreeSet<usize> {
    walk(&text.insns, span(text, function))
        .filter_map(|(at, effect)| match effect {
            Effect::LocalCall { distance } | Effect::FunctionPointer { distance } => {
                function_at(text, target(at, distance)?)
            }
            _ => None,
        })
        .collect()
}

/// Checks the assumptions of all later steps: functions without gaps, jumps inside their function, whole instructions.
pub(crate) fn check_shape(text: &ProgramText) -> Result<(), Refusal> {
    let malformed = |at, what| Err(Refusal::Malformed { at, what });
    let mut end = 0;
    for function in &text.functions {
        if function.start != end || function.len == 0 {
            return malformed(function.start, "functions overlap or leave gaps");
        }
        end = function.start.saturating_add(function.len);
    }
    if end != text.insns.len() || end == 0 {
        return malformed(end.min(text.insns.len()), "functions do not cover the instructions");
    }
    for function in 0..text.functions.len() {
        check_function(text, span(text, function))?;
    }
    check_recursion(text)
}

fn check_function(text: &ProgramText, range: Range<usize>) -> Result<(), Refusal> {
    let malformed = |at, what| Err(Refusal::Malformed { at, what });
    let starts = starts(&text.insns, range.clone());
    let mut last = Effect::Plain;
    for (at, effect) in walk(&text.insns, range.clone()) {
        if at + width(text.insns[at]) > range.end {
            return malformed(at, "a 64-bit load lacks its second half");
        }
        match effect {
            Effect::Jump { distance, .. } | Effect::BoundedLoop { distance } => match target(at, distance) {
                Some(to) if to >= range.start && starts.get(to - range.start) == Some(&true) => {}
                _ => return malformed(at, "a jump leaves its function or hits half an instruction"),
            },
            Effect::LocalCall { distance } | Effect::FunctionPointer { distance } => {
                match target(at, distance).and_then(|to| function_at(text, to)) {
                    Some(0) => return malformed(at, "the entry function is called by the program itself"),
                    Some(_) => {}
                    None => return malformed(at, "a call goes to no function's start"),
                }
            }
            _ => {}
        }
        last = effect;
    }
    match last {
        Effect::Exit | Effect::IndirectJump | Effect::Jump { conditional: false, .. } => Ok(()),
        _ => malformed(range.end - 1, "a function does not end with an exit or a jump"),
    }
}

fn starts(insns: &[Insn], range: Range<usize>) -> Vec<bool> {
    let mut starts = vec![false; range.len()];
    for (at, _) in walk(insns, range.clone()) {
        starts[at - range.start] = true;
    }
    starts
}

/// Refuses recursion, as the kernel does: its stack depth would be unlimited.
fn check_recursion(text: &ProgramText) -> Result<(), Refusal> {
    let calls: Vec<BTreeSet<usize>> = (0..text.functions.len()).map(|f| callees(text, f)).collect();
    // Functions that cannot be removed after all their callees are on a cycle or above one.
    let mut left: BTreeSet<usize> = (0..calls.len()).collect();
    loop {
        let before = left.len();
        let leaves: Vec<usize> =
            left.iter().copied().filter(|f| calls[*f].iter().all(|callee| !left.contains(callee))).collect();
        for leaf in leaves {
            left.remove(&leaf);
        }
        match left.first() {
            None => return Ok(()),
            Some(function) if left.len() == before => {
                return Err(Refusal::Malformed {
                    at: text.functions[*function].start,
                    what: "functions call themselves",
                });
            }
            Some(_) => {}
        }
    }
}

pub(crate) fn entry_uses_register(text: &ProgramText, register: u8) -> bool {
    walk(&text.insns, span(text, 0)).any(|(at, effect)| {
        let insn = text.insns[at];
        let calls = matches!(effect, Effect::Helper(_) | Effect::Kfunc { .. } | Effect::LocalCall { .. });
        !calls && insn.code != op::EXIT && (insn.dst() == register || insn.src() == register)
    })
}

pub(crate) fn effects(text: &ProgramText) -> impl Iterator<Item = (usize, Effect)> + '_ {
    walk(&text.insns, 0..text.insns.len())
}
