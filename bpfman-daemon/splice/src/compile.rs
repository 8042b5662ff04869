//! A plan and the maps that it needs in, programs out.

use bpfmand_core::MapId;

use crate::error::SpliceError;
use crate::member::Member;
use crate::options::SpliceOptions;
use crate::plan::{ChainPlan, Strategy};
use crate::splice::{Splice, splice};

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
    /// Per-CPU array of one value: for each slot of the chain two 8-byte cells, samples and nanoseconds.
    pub samples: MapId,
}

/// The programs of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// By segment of the plan; the first is what the hook runs. Empty for [`Strategy::Direct`].
    pub programs: Vec<Splice>,
    /// The timed twins, by segment; empty if the options want none.
    pub twins: Vec<Splice>,
}

/// Makes the programs of a planned chain. `members` and `options` have to be those of [`crate::plan`].
///
/// The same input gives the same bytes; other map ids change nothing but map references, which the kernel leaves out
/// of a program's tag.
///
/// # Errors
/// [`SpliceError::Bindings`] if maps are missing; else what [`crate::plan`] could not foresee.
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
    let programs = match plan.strategy {
        Strategy::Direct => Vec::new(),
        Strategy::Splice | Strategy::Cut => vec![splice(name, members, options)?],
    };
    Ok(Compiled { programs, twins: Vec::new() })
}
