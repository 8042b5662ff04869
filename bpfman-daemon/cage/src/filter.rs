use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use crate::seccomp::arguments::{Argument, Arguments, narrowed, of_workers};
use crate::seccomp::groups::{CallGroup, GROUPS, MOUNTING};
use crate::seccomp::refused::{LATER, UNKNOWN};
use crate::{CageError, CageMode};

#[cfg(target_arch = "x86_64")]
const PROCESSOR: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const PROCESSOR: TargetArch = TargetArch::aarch64;

/// Filters of one process. The kernel runs all of them, and the strictest result applies.
#[derive(Clone, Debug)]
pub struct CallFilters {
    allowing: BpfProgram,
    /// ENOSYS for calls that newer C libraries try first.
    unknown: Option<BpfProgram>,
}

impl CallFilters {
    /// Compiles the filters for the process `own`; `None` if the mode is off. `mounting` allows mount and unmount.
    pub fn compile(mode: CageMode, own: u32, mounting: bool) -> Result<Option<Self>, CageError> {
        Self::of_groups(mode, narrowed(own), GROUPS.iter().chain(mounting.then_some(&MOUNTING)))
    }

    /// Compiles the filters of a worker process, with further restricted arguments.
    pub fn of_worker<'a>(
        mode: CageMode,
        own: u32,
        groups: impl Iterator<Item = &'a CallGroup>,
    ) -> Result<Option<Self>, CageError> {
        let mut narrowed = narrowed(own);
        narrowed.extend(of_workers());
        Self::of_groups(mode, narrowed, groups)
    }

    fn of_groups<'a>(
        mode: CageMode,
        mut narrowed: BTreeMap<i64, Vec<Arguments>>,
        groups: impl Iterator<Item = &'a CallGroup>,
    ) -> Result<Option<Self>, CageError> {
        let otherwise = match mode {
            CageMode::Off => return Ok(None),
            CageMode::Log => SeccompAction::Log,
            CageMode::On => SeccompAction::KillProcess,
        };
        let unknown: Vec<i64> = UNKNOWN.iter().map(|call| call.number).chain(LATER).collect();
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
        for group in groups {
            for call in group.all() {
                let arguments = narrowed.remove(&call.number).unwrap_or_default();
                let arguments = arguments.iter().map(|together| rule(together)).collect::<Result<_, _>>()?;
                rules.insert(call.number, arguments);
            }
        }
        // In mode `on`, the killing filter allows the unknown calls, and the other filter returns ENOSYS.
        let refused = mode == CageMode::On;
        if refused {
            rules.extend(unknown.iter().map(|number| (*number, Vec::new())));
        }
        let allowing = SeccompFilter::new(rules, otherwise, SeccompAction::Allow, PROCESSOR)?;
        let unknown = if refused {
            let rules = unknown.into_iter().map(|number| (number, Vec::new())).collect();
            let no_such_call = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
            Some(SeccompFilter::new(rules, SeccompAction::Allow, no_such_call, PROCESSOR)?.try_into()?)
        } else {
            None
        };
        Ok(Some(Self { allowing: allowing.try_into()?, unknown }))
    }

    /// Returns the filters as `struct sock_filter` in host byte order, in the order of installation.
    #[must_use]
    pub fn programs(&self) -> Vec<Vec<u8>> {
        let bytes = |program: &BpfProgram| {
            program
                .iter()
                .flat_map(|instruction| {
                    let [low, high] = instruction.code.to_ne_bytes();
                    let [a, b, c, d] = instruction.k.to_ne_bytes();
                    [low, high, instruction.jt, instruction.jf, a, b, c, d]
                })
                .collect()
        };
        self.unknown.iter().chain([&self.allowing]).map(bytes).collect()
    }

    pub(crate) fn put_on(&self) -> Result<(), CageError> {
        // The killing filter comes last: it forbids the installation of filters.
        for program in self.unknown.iter().chain([&self.allowing]) {
            seccompiler::apply_filter_all_threads(program)?;
        }
        Ok(())
    }
}

fn rule(together: &[Argument]) -> Result<SeccompRule, seccompiler::BackendError> {
    let condition = |argument: &Argument| {
        let how = match argument.mask {
            u32::MAX => SeccompCmpOp::Eq,
            mask => SeccompCmpOp::MaskedEq(mask.into()),
        };
        SeccompCondition::new(argument.place, SeccompCmpArgLen::Dword, how, argument.value.into())
    };
    SeccompRule::new(together.iter().map(condition).collect::<Result<_, _>>()?)
}

/// Allows all threads the tables' system calls; any other kills the process (SIGSYS), or is only logged.
pub fn filter_calls(mode: CageMode, mounting: bool) -> Result<(), CageError> {
    match CallFilters::compile(mode, std::process::id(), mounting)? {
        Some(filters) => filters.put_on(),
        None => Ok(()),
    }
}
