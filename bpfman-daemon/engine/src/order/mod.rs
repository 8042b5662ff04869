//! Order by intent: requested positions of links, checked before anything changes.

mod broken_order;
mod contradiction;
pub mod group;
pub mod move_link;
pub mod tcx;

use std::sync::Arc;

use bpfman_model::{
    Anchor, AttachPoint, Contradiction, HookKey, HookKind, Interface, LinkId, MAX_ANCHORS, Occupant,
    OrderIntent, OrderedEntry, Place, Waiting, solve,
};
use bpfmand_kernel::Kernel;

use crate::engine::undo::retry_once;
use crate::state::records::LinkRecord;
use crate::{Engine, EngineError};

pub fn check_intent(point: &AttachPoint, intent: &OrderIntent) -> Result<(), EngineError> {
    let invalid = |message: String| Err(EngineError::Invalid(message));
    if !intent.is_empty() && point.hook().is_none() && !matches!(point, AttachPoint::Cgroup { .. }) {
        return invalid(format!(
            "links of type {} have no order among each other: role, before and after are for xdp, tc, tcx and programs of \
             cgroups",
            point.type_name()
        ));
    }
    for (side, anchors) in [("before", &intent.before), ("after", &intent.after)] {
        if anchors.len() > MAX_ANCHORS {
            return invalid(format!("{} anchors {side} one link; the limit is {MAX_ANCHORS}", anchors.len()));
        }
    }
    Ok(())
}

impl<K: Kernel> Engine<K> {
    /// Orders the links of a chain. Anchors of the `changed` link must exist, except roles.
    pub(crate) fn order_changed(
        &self,
        key: &HookKey,
        interface: &Interface,
        links: Vec<Arc<LinkRecord>>,
        newcomer: Option<LinkId>,
        changed: &LinkRecord,
    ) -> Result<Vec<Arc<LinkRecord>>, EngineError> {
        let places = self.state().places(key, &links, newcomer);
        let solution =
            solve(&places, &[]).map_err(|c| self.contradiction(key.kind.at(interface), c, changed.id))?;
        let hook = self.state().hooks.get(key).cloned();
        self.ensure_foreign_order(key, interface, changed, hook.as_deref())?;
        if changed.order.names_foreign() {
            self.block_place(key, interface, &links, Some(changed))?;
        }
        let own = solution.waiting.iter().filter(|waiting| !matches!(waiting.anchor, Anchor::Foreign(_)));
        ensure_anchors_known(own, || key.kind.at(interface), changed.id, &places, &[])?;
        Ok(self.state().order(key, links, newcomer))
    }

    pub(crate) fn waiting(&self, key: &HookKey) -> Vec<Waiting> {
        let (links, places) = {
            let state = self.state();
            let links = state.chain(key);
            let places = state.places(key, &links, None);
            (links, places)
        };
        let mut waiting = solve(&places, &[]).map(|solution| solution.waiting).unwrap_or_default();
        let interface = links.first().and_then(|link| link.point.hook()).map(|(interface, _)| interface);
        let Some(interface) = interface.filter(|_| links.iter().any(|link| link.order.names_foreign()))
        else {
            return waiting;
        };
        // Only the kernel knows third-party programs; a hook that is gone has none.
        let others = match key.kind {
            HookKind::Tcx(_) => self.tcx_order(key, interface, &links).ok().map(|order| order.waiting),
            _ => self.block_place(key, interface, &links, None).ok().flatten().map(|order| order.waiting),
        };
        if let Some(others) = others {
            waiting.retain(|own| !matches!(own.anchor, Anchor::Foreign(_)) || others.contains(own));
        }
        waiting
    }

    /// Moves links that are out of position. A failure is a finding of `doctor`, and a warning of the finished change.
    pub(crate) fn keep_order(&self, key: &HookKey) {
        if !self.is_ordered(key) {
            self.state().disordered.remove(&key.of_chain());
            return;
        }
        match retry_once(|| self.settle_order(key)) {
            Ok(report) => {
                if let Some(contradiction) = report.contradiction {
                    tracing::warn!(
                        contradiction,
                        ?key,
                        "programs of others stand so that not all intents can hold"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, ?key, "a hook is not in the order that was asked for"),
        }
    }

    /// Returns the links in running order, which third-party programs affect if tcx links name them.
    pub(crate) fn running_order(&self, key: &HookKey) -> Vec<Arc<LinkRecord>> {
        let links = self.state().chain(key);
        let interface = links.first().and_then(|link| link.point.hook()).map(|(interface, _)| interface);
        let among_others =
            matches!(key.kind, HookKind::Tcx(_)) && links.iter().any(|link| link.order.names_foreign());
        let Some(interface) = interface.filter(|_| among_others) else { return links };
        let Ok(order) = self.tcx_order(key, interface, &links) else { return links };
        let own = |id: LinkId| links.iter().find(|link| link.id == id).cloned();
        order.wanted.iter().filter_map(OrderedEntry::link).filter_map(own).collect()
    }

    pub(crate) fn waits_for(&self, key: &HookKey, link: LinkId) -> Vec<Waiting> {
        self.waiting(key).into_iter().filter(|waiting| waiting.link == link).collect()
    }

    pub(crate) fn contradiction(
        &self,
        hook: String,
        contradiction: Contradiction,
        changed: LinkId,
    ) -> EngineError {
        // A link that is about to be attached has no id yet that its user could know.
        let is_known = self.state().links.contains_key(&changed);
        let told = if is_known { contradiction } else { contradiction.with_new(changed) };
        EngineError::Contradiction { hook, contradiction: Box::new(told) }
    }
}

pub fn foreign_anchor(link: &LinkRecord) -> Option<&Anchor> {
    link.order.anchors().map(|(_, anchor)| anchor).find(|anchor| matches!(anchor, Anchor::Foreign(_)))
}

pub fn ensure_anchors_known<'a>(
    waiting: impl IntoIterator<Item = &'a Waiting>,
    hook: impl FnOnce() -> String,
    changed: LinkId,
    places: &[Place],
    standing: &[Occupant],
) -> Result<(), EngineError> {
    let unknown = waiting
        .into_iter()
        .find(|waiting| waiting.link == changed && !matches!(waiting.anchor, Anchor::Role(_)));
    let Some(Waiting { side, anchor, .. }) = unknown else { return Ok(()) };
    let ours = places.iter().filter(|place| place.link != changed).map(|place| {
        let role = place.intent.role.as_ref().map(|role| format!(", role={role}")).unwrap_or_default();
        format!("link {} ({}{role})", place.link, place.name)
    });
    let others = standing.iter().filter_map(Occupant::foreign).map(|other| format!("foreign:{}", other.name));
    Err(EngineError::NoAnchor {
        side: *side,
        anchor: anchor.clone(),
        hook: hook(),
        there: ours.chain(others).collect(),
    })
}
