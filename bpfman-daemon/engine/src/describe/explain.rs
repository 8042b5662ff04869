//! Why is a member not reached? What is known of its hook, gathered.

use bpfmand_core::{HookEntry, HookKey, HookKind, Interface, KernelLinkId, ProceedOn, Via, XdpRunsIn};
use bpfmand_kernel::Kernel;

use crate::describe::details_chains::ChainView;
use crate::describe::findings::{MemberScene, Scene, findings};
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Says why a member of a hook is or is not reached, the most telling finding first. `member` is a link id or a
    /// function name; none: all members.
    ///
    /// # Errors
    /// No program of ours is there, or none of that name.
    pub fn explain(
        &self,
        interface: &Interface,
        kind: HookKind,
        member: Option<&str>,
    ) -> Result<Vec<String>, EngineError> {
        let view = self.show_chain(interface, kind)?;
        let at = member.map(|wanted| place_of(&view, wanted)).transpose()?;
        let key = self.kernel.find_hook(interface, kind)?;
        let scene = self.scene(interface, &key, &view)?;
        Ok(findings(&scene, at))
    }

    fn scene(&self, interface: &Interface, key: &HookKey, view: &ChainView) -> Result<Scene, EngineError> {
        let netns = interface.netns.as_deref();
        let contents = self.kernel.hook_contents(netns, key)?;
        let is_ours = |entry: &HookEntry| self.is_ours(entry, key, view);
        let ours = contents.entries.iter().position(is_ours);
        let mut before = Vec::new();
        for entry in &contents.entries[..ours.unwrap_or(contents.entries.len())] {
            before.push(self.foreign_text(entry)?);
        }
        let interfaces = self.kernel.interfaces(netns)?;
        let is_generic = ours
            .and_then(|at| contents.entries.get(at))
            .is_some_and(|entry| matches!(entry.via, Via::XdpLink { mode: XdpRunsIn::Generic, .. }));
        let counted = |link| view.members.iter().find(|member| member.link == link);
        Ok(Scene {
            hook: view.chain.hook.clone(),
            trouble: view
                .standing
                .iter()
                .filter(|standing| !standing.is_running())
                .map(ToString::to_string)
                .collect(),
            is_down: interfaces.iter().any(|facts| facts.ifindex == key.ifindex && !facts.up),
            before,
            is_generic,
            members: view
                .chain
                .members
                .iter()
                .map(|member| {
                    let counters = counted(member.link).and_then(|member| member.counters.clone());
                    MemberScene {
                        name: member.name.clone(),
                        goes_on_after: member
                            .proceed_on
                            // The kernel goes on after these where it runs the links itself.
                            .map_or_else(|| "next".to_owned(), |set| set.to_string()),
                        forgets_redirects: member.proceed_on.is_some_and(ProceedOn::has_redirect),
                        runs: counters.as_ref().map_or(0, |counters| counters.runs),
                        ended: counters.map(|counters| counters.ended).unwrap_or_default(),
                    }
                })
                .collect(),
            is_counted: view.switches.counters,
            failed: view.failed,
            held_by: view.switches.held_by.clone(),
        })
    }

    fn is_ours(&self, entry: &HookEntry, key: &HookKey, view: &ChainView) -> bool {
        let is_link = |link: KernelLinkId| entry.may_be_link(link);
        match (&entry.via, key.kind) {
            // Each of ours is a link there: what is before the first of them is before all.
            (_, HookKind::Tcx(_)) => entry
                .program
                .is_some_and(|program| view.chain.members.iter().any(|member| member.program == program)),
            _ => {
                view.chain.kernel_link.is_some_and(is_link)
                    || (matches!(entry.via, Via::Filter(_))
                        && entry.program.is_some()
                        && entry.program == view.chain.entry.as_ref().map(|facts| facts.id))
            }
        }
    }

    fn foreign_text(&self, entry: &HookEntry) -> Result<String, EngineError> {
        let via = match &entry.via {
            Via::XdpLink { .. } => "xdp link".to_owned(),
            Via::XdpNetlink { mode } => format!("attached by netlink, {mode}"),
            Via::TcxLink { link } => format!("tcx link {link}"),
            Via::TcxProgram => "tcx program".to_owned(),
            Via::Filter(filter) => {
                format!("{} filter, priority {} handle {:#x}", filter.kind, filter.priority, filter.handle)
            }
        };
        let Some(id) = entry.program else { return Ok(format!("a {via}")) };
        let name = self.kernel.program(id)?.map(|facts| facts.name).unwrap_or_default();
        Ok(format!("program {id} ({name}), {via},"))
    }
}

/// The place of a member by link id or function name.
fn place_of(view: &ChainView, wanted: &str) -> Result<usize, EngineError> {
    let link = wanted.parse().ok();
    let is_it = |member: &crate::ChainMemberDetails| link == Some(member.link.0) || member.name == wanted;
    view.chain.members.iter().position(is_it).ok_or_else(|| {
        let there: Vec<String> = view
            .chain
            .members
            .iter()
            .map(|member| format!("{} (link {})", member.name, member.link))
            .collect();
        EngineError::NoMember {
            member: wanted.to_owned(),
            hook: view.chain.hook.clone(),
            there: there.join(", "),
        }
    })
}
