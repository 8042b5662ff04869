//! Ladder of plans for a chain: if the verifier refuses one, the next is slower but easier to verify.

use std::time::{Duration, Instant};

use bpfman_model::{HookKey, Interface, OperationId, Optimisation};
use bpfmand_kernel::Kernel;
use bpfmand_splice::{Attempt, ChainPlan, plan};

use crate::chain::build::{Joined, Wanted, held_texts};
use crate::chain::load::{Failure, Programs};
use crate::chain::refused::Refused;
use crate::engine::members::MemberText;
use crate::engine::undo::undoing;
use crate::state::chain_record::{ChainId, Savings};
use crate::{Engine, EngineError};

pub(crate) struct ChainInputs<'a> {
    pub key: &'a HookKey,
    pub interface: &'a Interface,
    pub members: &'a [Joined],
    pub texts: &'a [MemberText],
    pub wanted: &'a Wanted,
}

/// Programs of a chain that are loaded with `CAP_PERFMON`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PerfmonUse {
    /// Only programs in which every member was itself loaded with it: tenants' members are not.
    NotForTenants,
    /// All programs. The verifier has shown for each tenant's member alone that it stores no addresses.
    ForAll,
}

pub(crate) struct Taken {
    pub id: ChainId,
    pub programs: Programs,
    pub plan: ChainPlan,
    pub attempt: Attempt,
    pub specialised: bool,
    pub savings: Savings,
    /// True if programs with members of tenants were loaded with `CAP_PERFMON`.
    pub has_perfmon: bool,
    /// Number of plans that the verifier refused before.
    pub fallbacks: u32,
    pub load_time: Duration,
}

impl<K: Kernel> Engine<K> {
    /// Loads a chain by the first plan that the verifier accepts, and pins it unless this is a dry run. If a member was loaded
    /// without `CAP_PERFMON`, so is its program in the chain, unless the verifier refuses all plans.
    pub(crate) fn load_best(&self, recipe: &ChainInputs<'_>, is_pinned: bool) -> Result<Taken, EngineError> {
        let refused = match self.try_plans(recipe, is_pinned, PerfmonUse::NotForTenants) {
            Err(EngineError::ChainRefused { ways, source, .. })
                if recipe.members.iter().any(Joined::is_without_perfmon) =>
            {
                tracing::warn!(
                    hook = recipe.key.kind.at(recipe.interface),
                    error = %source,
                    "a chain with tenants' members is loaded with CAP_PERFMON, without barriers against speculative reads"
                );
                ways
            }
            taken => return taken,
        };
        let taken = self.try_plans(recipe, is_pinned, PerfmonUse::ForAll)?;
        let refused = u32::try_from(refused).unwrap_or(u32::MAX);
        Ok(Taken { fallbacks: taken.fallbacks.saturating_add(refused), ..taken })
    }

    fn try_plans(
        &self,
        recipe: &ChainInputs<'_>,
        is_pinned: bool,
        perfmon: PerfmonUse,
    ) -> Result<Taken, EngineError> {
        let texts = &held_texts(recipe.members, recipe.texts);
        let special = self.special_of(recipe.members, texts)?;
        let mut options = self.splice_options(recipe.wanted, &special, recipe.members);
        options.shares_headers = recipe.wanted.optimisation >= Optimisation::Share;
        let mut specialised = match recipe.wanted.optimisation {
            Optimisation::None => None,
            Optimisation::Fold | Optimisation::Share => self.specialised(texts)?,
        };
        let mut parts = self.parts(recipe.members, specialised.as_deref().unwrap_or(texts))?;
        let hook = recipe.key.kind.at(recipe.interface);
        let cannot = |source| EngineError::Chain { hook: hook.clone(), source };
        let mut first: Option<Box<Refused>> = None;
        let mut tried: Vec<ChainPlan> = Vec::new();
        let mut fallbacks = 0;
        let mut attempt = Some(Attempt::First);
        while let Some(now) = attempt {
            attempt = now.next();
            options.attempt = now;
            let plan = match (plan(&parts, &options), &first) {
                (Ok(plan), _) => plan,
                (Err(source), None) => return Err(cannot(Box::new(source))),
                // An impossible plan is no alternative: keep the verifier's error.
                (Err(_), Some(_)) => continue,
            };
            if tried.iter().any(|other| has_same_modes(other, &plan)) {
                continue;
            }
            // Each attempt gets an id, so that remains of a failed one are not in the way.
            let id = ChainId(self.number());
            let began = Instant::now();
            let loaded = undoing(|undo| {
                if is_pinned {
                    undo.push(|| self.undo_pending_of(OperationId(id.0)));
                }
                self.load_plan(is_pinned.then_some(id), recipe, &parts, (&plan, perfmon), &options)
            });
            match loaded {
                Ok(programs) => {
                    let load_time = began.elapsed();
                    return Ok(Taken {
                        id,
                        savings: Savings {
                            folded: specialised.as_ref().map_or(0, |folded| different_insns(texts, folded)),
                            shared: programs.shared,
                        },
                        programs,
                        plan,
                        attempt: now,
                        specialised: specialised.is_some(),
                        has_perfmon: perfmon == PerfmonUse::ForAll,
                        fallbacks,
                        load_time,
                    });
                }
                Err(Failure::Verifier(refused)) if refused.shares_headers || specialised.is_some() => {
                    let without = if refused.shares_headers {
                        options.shares_headers = false;
                        "headers that are parsed once"
                    } else {
                        parts = self.parts(recipe.members, texts)?;
                        specialised = None;
                        "read-only data folded into its members"
                    };
                    tracing::warn!(
                        hook,
                        without,
                        error = %refused.source,
                        "the verifier refused an optimised chain: it is tried without"
                    );
                    fallbacks += 1;
                    attempt = Some(now);
                    continue;
                }
                Err(Failure::Verifier(refused)) => {
                    tracing::warn!(
                        hook,
                        attempt = %now,
                        error = %refused.source,
                        "the verifier refused a chain of members that pass alone"
                    );
                    fallbacks += 1;
                    first.get_or_insert(refused);
                }
                Err(Failure::Other(EngineError::Unplanned(source))) if first.is_none() => {
                    return Err(cannot(source));
                }
                Err(Failure::Other(EngineError::Unplanned(_))) => {}
                Err(Failure::Other(error)) => return Err(error),
            }
            tried.push(plan);
        }
        match first {
            Some(refused) => Err(EngineError::ChainRefused {
                hook,
                member: refused.member,
                ways: tried.len(),
                source: Box::new(refused.source),
            }),
            None => Err(EngineError::Fault("a chain without a plan".to_owned())),
        }
    }
}

fn different_insns(texts: &[MemberText], others: &[MemberText]) -> u32 {
    let both =
        texts.iter().zip(others).flat_map(|(one, other)| one.text.0.insns.iter().zip(&other.text.0.insns));
    both.filter(|(one, other)| one != other).count() as u32
}

fn has_same_modes(one: &ChainPlan, other: &ChainPlan) -> bool {
    let ways = |plan: &ChainPlan| plan.members.iter().map(|member| member.way).collect::<Vec<_>>();
    let cuts = |plan: &ChainPlan| plan.segments.iter().map(|s| s.members.clone()).collect::<Vec<_>>();
    one.strategy == other.strategy
        && ways(one) == ways(other)
        && cuts(one) == cuts(other)
        && one.arrays == other.arrays
}
