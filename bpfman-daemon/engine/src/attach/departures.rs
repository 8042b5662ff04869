//! Refuses tenants' programs that can send packets out of interfaces on whose egress the machine has a program.
//!
//! If the machine's program is attached later, chains hold the packets back instead (`chain::senders`).

use bpfman_model::{Direction, HookKey, HookKind, Interface, LinkId, RankOrder};
use bpfmand_kernel::Kernel;
use bpfmand_splice::Departures;

use crate::chain::family;
use crate::engine::members::MemberText;
use crate::state::State;
use crate::state::records::{LinkRecord, ProgramRecord};
use crate::{Engine, EngineError};

/// Link of the machine at an interface out of which a tenant's program can send packets.
struct GuardedEgress {
    way: &'static str,
    interface: String,
    link: LinkId,
}

impl State {
    /// Returns the machine's links on egress in the network namespace of a hook.
    fn links_on_egress(&self, key: &HookKey) -> Vec<(HookKey, Interface, LinkId)> {
        let is_out = |key: &HookKey| key.kind.direction() == Some(Direction::Egress);
        let hooks: Vec<HookKey> = self.links.hooks_in(key.netns).filter(is_out).collect();
        let links = hooks.iter().flat_map(|hook| self.links.of_hook(hook).map(|link| (*hook, link)));
        let of_machine = links.filter(|(_, link)| self.place(link).turn == RankOrder::Machine);
        let named = of_machine.filter_map(|(hook, link)| Some((hook, link.point.hook()?.0.clone(), link.id)));
        named.collect()
    }
}

impl<K: Kernel> Engine<K> {
    pub(crate) fn ensure_sends_to_no_guarded(
        &self,
        key: &HookKey,
        interface: &Interface,
        link: &LinkRecord,
    ) -> Result<(), EngineError> {
        let Some(program) = self.member_record(link.program) else { return Ok(()) };
        match self.guarded_egress(&program, link) {
            Some(guarded) => Err(refused(&program, key.kind.at(interface), guarded)),
            None => Ok(()),
        }
    }

    /// Refuses a version that can send packets where the old one could not.
    pub(crate) fn ensure_version_sends_no_more(
        &self,
        old: &ProgramRecord,
        new: &ProgramRecord,
        link: &LinkRecord,
    ) -> Result<(), EngineError> {
        match self.guarded_egress(new, link) {
            Some(guarded) if self.guarded_egress(old, link).is_none() => {
                Err(refused(new, link.point.to_string(), guarded))
            }
            _ => Ok(()),
        }
    }

    fn guarded_egress(&self, program: &ProgramRecord, link: &LinkRecord) -> Option<GuardedEgress> {
        let key = link.hook.filter(|_| link.turn(program) != RankOrder::Machine)?;
        let links = self.state().links_on_egress(&key);
        if links.is_empty() {
            return None;
        }
        let departures = self.departures(program, link, key.kind);
        links.into_iter().find_map(|(hook, interface, link)| {
            let is_redirect = departures.targets.contains(hook.ifindex.0);
            let way = match departures.returns && hook.ifindex == key.ifindex {
                true => "return XDP_TX",
                false if is_redirect => "redirect or copy packets",
                false => return None,
            };
            Some(GuardedEgress { way, interface: interface.name, link })
        })
    }

    fn departures(&self, program: &ProgramRecord, link: &LinkRecord, kind: HookKind) -> Departures {
        let hook = family(kind);
        // An adopted program's text is not known.
        let text = (!program.is_adopted()).then(|| self.folded_member(program).ok()).flatten();
        // On egress, a redirect of a tenant's member is a drop.
        let decides = !link.sharing.shadow && link.turn(program) != RankOrder::TenantsFirst;
        text.map_or_else(|| Departures::unknown(hook), |text| Departures::of(&text.text.0, hook, decides))
    }

    fn folded_member(&self, program: &ProgramRecord) -> Result<MemberText, EngineError> {
        let texts = [self.member(program)?];
        let folded = self.specialised(&texts)?.and_then(|mut folded| folded.pop());
        Ok(folded.unwrap_or_else(|| {
            let [text] = texts;
            text
        }))
    }
}

fn refused(program: &ProgramRecord, hook: String, guarded: GuardedEgress) -> EngineError {
    let GuardedEgress { way, interface, link } = guarded;
    EngineError::SendsToGuarded { program: program.name.clone(), hook, way, interface, link }
}
