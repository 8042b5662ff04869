//! A plan and the maps that it needs in, programs out.

use bpfmand_core::MapId;

use crate::analysis::stack::Group;
use crate::analysis::survey::survey_all;
use crate::chain::member::Member;
use crate::chain::options::SpliceOptions;
use crate::chain::plan::ChainPlan;
use crate::emit::splice::{ChainMaps, Copy, Splice, check_name, join, segment_name};
use crate::error::SpliceError;
use crate::planning::planner;

/// The kernel's maps that a chain refers to besides its members' own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bindings<'a> {
    /// One-slot program arrays (4-byte keys and values), in the order of [`ChainPlan::arrays`].
    pub arrays: &'a [MapId],
    /// The map of exits ([`crate::CounterLayout`]), if the options want counters.
    pub counters: Option<MapId>,
    /// The maps of the timed twin, if the options want one.
    pub timing: Option<Timing>,
}

/// The maps of a timed twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// Per-CPU array of one 8-byte value: counts packets, to pick every 1,024th.
    pub ticks: MapId,
    /// Per-CPU array of [`crate::COUNTER_ROWS`] rows of [`crate::TimeLayout`].
    pub samples: MapId,
    /// Which of 1,024 packets goes through the twin, from 0. A member that knew it could be slow on all others.
    pub phase: u16,
}

/// The programs of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// By segment of the plan; the first is what the hook runs. Empty for [`crate::ChainStrategy::Direct`].
    pub programs: Vec<Splice>,
    /// The timed twins, by segment; empty if the options want none.
    pub twins: Vec<Splice>,
}

/// Makes the programs of a planned chain. `members` and `options` have to be those of [`crate::plan()`].
///
/// The same input gives the same bytes; other map ids change nothing but map references, which the kernel leaves out
/// of a program's tag.
///
/// # Errors
/// [`SpliceError::Bindings`] if maps are missing; else what [`crate::plan()`] could not foresee.
pub fn compile(
    name: &str,
    members: &[Member<'_>],
    plan: &ChainPlan,
    options: &SpliceOptions<'_>,
    bindings: &Bindings<'_>,
) -> Result<Compiled, SpliceError> {
    if bindings.arrays.len() != plan.arrays.len() {
        return Err(SpliceError::Bindings { what: "program arrays" });
    }
    if options.counters != bindings.counters.is_some() {
        return Err(SpliceError::Bindings { what: "counters" });
    }
    if plan.timed != bindings.timing.is_some() {
        return Err(SpliceError::Bindings { what: "times" });
    }
    check_name(name)?;
    let options = &SpliceOptions { timing: plan.timed, ..*options };
    let members = members.get(..plan.members.len()).ok_or(SpliceError::Bindings { what: "members" })?;
    let surveys = survey_all(members, options)?;
    let group = Group { members, surveys: &surveys, ways: &plan.members, options };
    let maps =
        ChainMaps { plan, arrays: bindings.arrays, counters: bindings.counters, timing: bindings.timing };
    let copies = |copy: Copy| {
        (0..plan.segments.len())
            .map(|number| join(&segment_name(name, number, copy), group, number, copy, &maps))
            .collect::<Result<Vec<_>, _>>()
    };
    let twins = if plan.timed { copies(Copy::Twin)? } else { Vec::new() };
    Ok(Compiled { programs: copies(Copy::Plain)?, twins })
}

/// Joins members that need no maps beside their own into one program, also a member that could be attached directly.
///
/// # Errors
/// [`SpliceError::NeedsArrays`] if they do need some: then [`crate::plan()`] and [`compile()`] are the way.
pub fn splice(
    name: &str,
    members: &[Member<'_>],
    options: &SpliceOptions<'_>,
) -> Result<Splice, SpliceError> {
    let options = SpliceOptions { counters: false, timing: false, tc_writers_behind_cut: false, ..*options };
    check_name(name)?;
    let plan = planner::decide(members, &options, false)?;
    let compiled = if plan.arrays.is_empty() {
        compile(name, members, &plan, &options, &Bindings::default())?
    } else {
        return Err(SpliceError::NeedsArrays { plan: plan.reason() });
    };
    compiled.programs.into_iter().next().ok_or(SpliceError::NoMembers)
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
