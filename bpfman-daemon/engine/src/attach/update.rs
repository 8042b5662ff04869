//! Update: changes a link in place. Its program never stops running, and a packet meets the old chain or the new one.

use std::collections::BTreeMap;
use std::sync::Arc;

use bpfman_model::{
    Anchor, AttachPoint, HookKey, HookKind, Interface, LinkId, OrderIntent, OrderedEntry, ProceedOn,
    VerdictFamily,
};
use bpfmand_kernel::{Kernel, KernelError};

use crate::attach::{check_priority, check_sharing};
use crate::describe::details::LinkDetails;
use crate::engine::undo::{retry_once, undoing};
use crate::order::check_intent;
use crate::order::tcx::TRIES;
use crate::state::check_metadata;
use crate::state::records::{Entry, LinkRecord};
use crate::{CallersNetwork, Engine, EngineError};

/// Changes of a link. Fields that are none stay unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateLinkRequest {
    pub link: LinkId,
    /// Priority: 0 runs first.
    pub priority: Option<i32>,
    /// Verdicts with which the next member runs; for xdp and tc.
    pub proceed_on: Option<ProceedOn>,
    /// Replaces the whole intent, including its role.
    pub order: Option<OrderIntent>,
    /// Position among our links, from 0, reached by a priority or by intents. Excludes `priority` and `order`.
    pub position: Option<u32>,
    /// True to run the member as a separate program, false to run it as part of the chain's program.
    pub isolated: Option<bool>,
    /// Makes the member a shadow, whose verdicts do not count, or a normal member.
    pub shadow: Option<bool>,
    /// Replaces all metadata.
    pub metadata: Option<BTreeMap<String, String>>,
}

impl UpdateLinkRequest {
    /// Creates a request that changes nothing yet.
    #[must_use]
    pub const fn of(link: LinkId) -> Self {
        Self {
            link,
            priority: None,
            proceed_on: None,
            order: None,
            position: None,
            isolated: None,
            shadow: None,
            metadata: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The link was changed.
    Changed,
    /// The link already had the requested values.
    Unchanged,
}

impl Outcome {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
        }
    }
}

impl<K: Kernel> Engine<K> {
    /// Changes a link without detaching it; its id stays. An error changes nothing.
    ///
    /// A chain is swapped once, atomically. The kernel cannot move tcx links: the program runs at both places for a
    /// moment.
    pub fn update_link(&self, request: &UpdateLinkRequest) -> Result<(Outcome, LinkDetails), EngineError> {
        let _operation = self.begin()?;
        let (old, _held) = self.lock_link(request.link).ok_or(EngineError::NoLink(request.link))?;
        CallersNetwork::ensure(old.home())?;
        let new = Arc::new(self.changed(&old, request)?);
        if *new == *old {
            return Ok((Outcome::Unchanged, self.held_link(old.id)?));
        }
        match (new.hook, new.point.hook()) {
            (Some(key), Some((interface, HookKind::Xdp | HookKind::Tc(_)))) => {
                self.update_member(&key, interface, &new)?;
            }
            (Some(key), Some((interface, HookKind::Tcx(_)))) => self.update_tcx(&key, interface, &new)?,
            _ if new.order != old.order => {
                let program = self.record(new.program).ok_or(EngineError::NoLink(new.id))?;
                self.update_group(&program, &new)?;
            }
            _ => self.record_link(&new, None)?,
        }
        Ok((Outcome::Changed, retry_once(|| self.held_link(new.id))?))
    }

    fn changed(&self, old: &LinkRecord, request: &UpdateLinkRequest) -> Result<LinkRecord, EngineError> {
        let invalid = |message: String| Err(EngineError::Invalid(message));
        let mut new = old.clone();
        if request.position.is_some() && (request.priority.is_some() || request.order.is_some()) {
            return invalid("a position is given by priority and order: set it, or them".to_owned());
        }
        if let Some(wanted) = request.priority {
            set_priority(&mut new.point, wanted)?;
            check_priority(&new.point)?;
        }
        if let Some(wanted) = request.proceed_on {
            set_proceed_on(&mut new.point, wanted)?;
        }
        if let Some(order) = &request.order {
            check_intent(&new.point, order)?;
            new.order = order.clone();
        }
        if let Some(isolated) = request.isolated {
            new.sharing.isolated = isolated;
            check_sharing(&new.point, new.sharing)?;
        }
        if let Some(shadow) = request.shadow {
            // The selector defines the setting for links of interfaces that appear later.
            if let Some(matching) = old.matching.filter(|_| shadow != old.sharing.shadow) {
                return invalid(format!(
                    "link {} is one of attachment {matching} by an interface selector, which sets for all its links whether \
                     they are shadows: attach the program again, {} --shadow, and end the attachment",
                    old.id,
                    if shadow { "with" } else { "without" },
                ));
            }
            new.sharing.shadow = shadow;
            check_sharing(&new.point, new.sharing)?;
        }
        if let Some(metadata) = &request.metadata {
            check_metadata(metadata)?;
            new.metadata = metadata.clone();
        }
        match request.position {
            Some(position) => self.at_position(new, position),
            None => Ok(new),
        }
    }

    fn at_position(&self, link: LinkRecord, position: u32) -> Result<LinkRecord, EngineError> {
        let Some(key) = link.hook else {
            return Err(EngineError::Invalid(format!("link {} has no position", link.id)));
        };
        let state = self.state();
        let newcomer = state.hooks.get(&key).and_then(|hook| hook.newcomer);
        let others: Vec<_> = state.chain(&key).into_iter().filter(|other| other.id != link.id).collect();
        let wanted = position as usize;
        if wanted > others.len() {
            return Err(EngineError::Invalid(format!(
                "position {position} is beyond the end: the last of {} is {}",
                others.len() + 1,
                others.len()
            )));
        }
        let leads_there = |link: &LinkRecord| {
            let all = others.iter().cloned().chain([Arc::new(link.clone())]).collect();
            let order = state.order(&key, all, newcomer);
            order.iter().position(|other| other.id == link.id) == Some(wanted)
        };
        if leads_there(&link) {
            return Ok(link);
        }
        let priority = |at: usize| others.get(at).and_then(|other| other.point.priority());
        let before = wanted.checked_sub(1).and_then(priority);
        let least = before.unwrap_or(0);
        let most = priority(wanted).or_else(|| least.checked_add(1)).unwrap_or(i32::MAX);
        for candidate in [least.saturating_add(1), most.saturating_sub(1), least, most] {
            let mut tried = link.clone();
            set_priority(&mut tried.point, candidate)?;
            if (least..=most).contains(&candidate) && leads_there(&tried) {
                return Ok(tried);
            }
        }
        let neighbour = |at: Option<usize>| {
            at.and_then(|at| others.get(at)).map(|other| Anchor::Link(other.id)).into_iter().collect()
        };
        let (before, after) = (neighbour(Some(wanted)), neighbour(wanted.checked_sub(1)));
        Ok(LinkRecord { order: OrderIntent { role: link.order.role.clone(), before, after }, ..link })
    }

    fn update_member(
        &self,
        key: &HookKey,
        interface: &Interface,
        new: &Arc<LinkRecord>,
    ) -> Result<(), EngineError> {
        let (before, hook) = {
            let state = self.state();
            (state.chain(key), state.hooks.get(key).cloned())
        };
        let newcomer = hook.as_ref().and_then(|hook| hook.newcomer);
        let with_it =
            before.iter().map(|link| if link.id == new.id { new } else { link }).map(Arc::clone).collect();
        let after = self.order_changed(key, interface, with_it, newcomer, new)?;
        let runs = |links: &[Arc<LinkRecord>]| {
            links.iter().map(|link| (link.id, link.point.proceed_on(), link.sharing)).collect::<Vec<_>>()
        };
        let moved = runs(&before) != runs(&after);
        // If a third party removed our chain, recovery or the next attach restores it.
        let hook = match hook {
            // In a dispatcher, the priority itself is the position.
            Some(hook) if (moved || hook.entry == Entry::Dispatcher) && self.is_entered(&hook)? => hook,
            _ => {
                self.step("update", "record");
                self.record_link(new, None)?;
                self.keep_order(key);
                return Ok(());
            }
        };
        self.step("update", "build chain");
        let built =
            self.build_chain(key, &hook.interface, &after, Some(hook.entry), std::slice::from_ref(new))?;
        undoing(|undo| {
            self.change_chain(&hook, &built, undo)?;
            self.step("update", "record");
            self.record_link(new, Some(built.recorded((*hook).clone())))
        })?;
        self.keep_order(key);
        self.settle_chain(built)
    }

    fn update_tcx(
        &self,
        key: &HookKey,
        interface: &Interface,
        new: &Arc<LinkRecord>,
    ) -> Result<(), EngineError> {
        self.check_tcx(key, interface, new)?;
        let mut tries = 0;
        loop {
            let order = match self.tcx_order(key, interface, &self.with_changed(key, new)) {
                Ok(order) => order,
                Err(EngineError::Kernel(KernelError::HookGone { .. })) => {
                    self.step("update", "record");
                    return self.record_link(new, None);
                }
                Err(error) => return Err(error),
            };
            let own = OrderedEntry::Ours(new.id);
            let moves = order.has(own) && order.moves(Some(new.id)).moves.contains(&own);
            let result = if moves {
                self.move_link(key, Arc::clone(new), order.place(own))
            } else {
                self.step("update", "record");
                self.record_link(new, None)
            };
            match result {
                Err(error) if error.is_race() && tries < TRIES => tries += 1,
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        self.keep_order(key);
        Ok(())
    }
}

fn set_priority(point: &mut AttachPoint, wanted: i32) -> Result<(), EngineError> {
    let none = EngineError::Invalid(format!("links of type {} have no priority", point.type_name()));
    *point.priority_mut().ok_or(none)? = wanted;
    Ok(())
}

fn set_proceed_on(point: &mut AttachPoint, wanted: ProceedOn) -> Result<(), EngineError> {
    let name = point.type_name();
    let family = wanted.family();
    match (point, family) {
        (AttachPoint::Xdp { proceed_on, .. }, VerdictFamily::Xdp)
        | (AttachPoint::Tc { proceed_on, .. }, VerdictFamily::Tc) => *proceed_on = wanted,
        (AttachPoint::Xdp { .. } | AttachPoint::Tc { .. }, _) => {
            return Err(EngineError::Invalid(format!("the proceed-on set has no verdicts of type {name}")));
        }
        _ => return Err(EngineError::Invalid(format!("links of type {name} have no proceed-on set"))),
    }
    Ok(())
}
