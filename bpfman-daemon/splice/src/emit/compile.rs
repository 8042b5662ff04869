//! Compiles a plan and its maps into programs.

use bpfman_model::MapId;

use crate::analysis::stack::Group;
use crate::analysis::survey::survey_all;
use crate::chain::member::Member;
use crate::chain::options::SpliceOptions;
use crate::chain::plan::ChainPlan;
use crate::emit::splice::{ChainMaps, Copy, Splice, check_name, join, segment_name};
use crate::error::SpliceError;
use crate::planning::planner;

/// Maps that a chain refers to, other than its members' own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bindings<'a> {
    /// One-slot program arrays (4-byte keys and values), in the order of [`ChainPlan::arrays`].
    pub arrays: &'a [MapId],
    /// Map of the exits ([`crate::CounterLayout`]), if the options enable counters.
    pub counters: Option<MapId>,
    /// Maps of the timed twin, if the options enable one.
    pub timing: Option<Timing>,
}

/// Maps of a timed twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// Per-CPU array of one 8-byte value: counts packets, to select every 1,024th.
    pub ticks: MapId,
    /// Per-CPU array of [`crate::COUNTER_ROWS`] rows of [`crate::TimeLayout`].
    pub samples: MapId,
    /// Index of the timed packet among 1,024: random, since a member that knew it could be slow on all other packets.
    pub phase: u16,
}

/// Programs of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// Programs by segment of the plan; the hook runs the first. Empty for [`crate::ChainStrategy::Direct`].
    pub programs: Vec<Splice>,
    /// Timed twins, by segment; empty if the options enable none.
    pub twins: Vec<Splice>,
}

/// Compiles a plan of [`crate::plan()`]. The same input gives the same bytes, except for map references, which the
/// kernel excludes from the tag. [`SpliceError::Bindings`]: maps are missing.
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

/// Joins members into one program, even a single one. [`SpliceError::NeedsArrays`]: use [`compile()`].
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
