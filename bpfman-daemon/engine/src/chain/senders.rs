//! XDP programs of tenants do not send packets past the machine's programs of tc and tcx.
//!
//! `XDP_TX` leaves by the interface of its hook, and a redirect goes to any of the network namespace, or to a socket: neither
//! meets programs of ingress behind it, or of egress. So where the machine has one there, a tenant's member that answers so drops
//! the packet. Of devices that lie on others, each can send by the others: `XDP_TX` counts for the whole namespace. Chains are
//! built again when the machine's programs come or go. Packets that tc programs redirect or clone meet the programs of egress of their target.

use bpfmand_core::{HookKey, HookKind, RankOrder};
use bpfmand_kernel::Kernel;
use bpfmand_splice::ProceedMask;

use crate::Engine;
use crate::engine::locks::Subject;
use crate::state::State;

const TX: u32 = 1 << 3;
const REDIRECT: u32 = 1 << 4;

impl<K: Kernel> Engine<K> {
    /// Verdicts by which a tenant's program would send packets of an XDP hook past the machine's programs.
    pub(crate) fn unsent_at(&self, key: &HookKey) -> ProceedMask {
        if key.kind != HookKind::Xdp {
            return ProceedMask(0);
        }
        ProceedMask(if is_guarded(&self.state(), key) { TX | REDIRECT } else { 0 })
    }

    /// Builds chains of XDP again whose members of tenants may send what they may not, or not what they may. The caller holds
    /// no hook.
    pub(crate) fn settle_senders(&self) {
        let hooks: Vec<HookKey> = {
            let state = self.state();
            let has_tenants = |key: &HookKey| {
                let mut links = state.links.of_hook(key);
                links.any(|link| state.place(link).turn != RankOrder::Machine)
            };
            state.hooks.keys().filter(|key| key.kind == HookKind::Xdp && has_tenants(key)).copied().collect()
        };
        for key in hooks {
            let wanted = self.unsent_at(&key);
            let is_late = || self.state().hooks.get(&key).is_some_and(|hook| hook.unsent != wanted.0);
            if !is_late() {
                continue;
            }
            let _lock = self.lock(Subject::Hook(key));
            let hook = self.state().hooks.get(&key).cloned();
            let Some(hook) = hook.filter(|_| is_late()) else { continue };
            if let Err(error) = self.rebuild_chain(&hook) {
                tracing::warn!(
                    %error,
                    hook = key.kind.at(&hook.interface),
                    "programs of tenants may send packets past the machine's programs"
                );
            }
        }
    }
}

/// Returns whether the machine has programs of tc or tcx in the network namespace of a hook.
fn is_guarded(state: &State, key: &HookKey) -> bool {
    let in_namespace = |hook: &HookKey| hook.kind != HookKind::Xdp && hook.netns == key.netns;
    let mut links = state.links.values().filter(|link| link.hook.as_ref().is_some_and(in_namespace));
    links.any(|link| state.place(link).turn == RankOrder::Machine)
}
