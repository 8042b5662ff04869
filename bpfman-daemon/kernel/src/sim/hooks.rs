//! Hooks of interfaces: the attached programs, their order, and their description.

use bpfman_model::{
    FilterFacts, HookAttachment, HookContents, HookEntry, HookKey, HookKind, IfIndex, KernelLinkId, NetnsId,
    ProgramId, XdpRunsIn,
};

use super::errno::{EEXIST, EINVAL, ENODEV, EOPNOTSUPP};
use super::network::{AttachedBy, TcPlace, TcxHook};
use super::objects::{Body, Key, LINK, PROGRAM, SimLinkTarget};
use super::{SimState, refuse};
use crate::{KernelError, ListAnchor, XdpMode};

/// `BPF_MPROG_MAX` minus the terminator of the list.
const MAX_TCX: usize = 63;

pub(super) const fn runs_in(mode: XdpMode) -> XdpRunsIn {
    match mode {
        XdpMode::Native => XdpRunsIn::Native,
        XdpMode::Generic => XdpRunsIn::Generic,
        XdpMode::Offload => XdpRunsIn::Offload,
    }
}

impl SimState {
    pub(super) fn program_at(&self, attached: AttachedBy) -> Option<Key> {
        match attached {
            AttachedBy::Link(link) => self.program_of_link(link),
            AttachedBy::Program(program) => Some(program),
        }
    }

    pub(super) fn xdp_place(
        &self,
        program: Key,
        home: NetnsId,
        ifindex: IfIndex,
        mode: XdpMode,
    ) -> Result<(NetnsId, IfIndex), KernelError> {
        let hook = format!("XDP of interface {ifindex}");
        let fail = |number| refuse("attach", format!("a program to {hook}"), number);
        let namespace = self.network.reach(home, &hook)?;
        let netns = namespace.has(ifindex).then_some(namespace.id).ok_or_else(|| fail(EINVAL))?;
        if let Some((attached, mode)) = self.network.xdp.get(&(netns, ifindex)) {
            let facts = self.program_at(*attached).map(|program| self.program_facts(program)).transpose()?;
            let via = self.xdp_via(*attached, *mode);
            return Err(KernelError::HookHeld {
                hook,
                holder: facts.map_or_else(String::new, |facts| crate::error::holder(&facts, &via)),
                look: None,
            });
        }
        if mode == XdpMode::Native && namespace.index("lo") == Some(ifindex) {
            return Err(fail(EOPNOTSUPP));
        }
        if let Body::Program { device: Some(device), .. } = &self.object(program)?.body
            && (*device != (netns, ifindex) || mode == XdpMode::Generic)
        {
            return Err(fail(EINVAL));
        }
        Ok((netns, ifindex))
    }

    pub(super) fn replace_unlinked_xdp(
        &mut self,
        key: &HookKey,
        mode: XdpRunsIn,
        program: Option<Key>,
        expected: Option<Key>,
    ) -> Result<(), KernelError> {
        // Refuses a hook that is gone.
        self.hook_contents(key)?;
        let place = (NetnsId::from(key.netns), key.ifindex);
        let now = self.network.xdp.get(&place).copied();
        let fits = match (now, expected) {
            (None, None) => true,
            (Some((AttachedBy::Program(now), at)), Some(expected)) => now == expected && at == mode,
            _ => false,
        };
        if !fits {
            return Err(KernelError::HookChanged { hook: format!("XDP of interface {}", key.ifindex) });
        }
        match program {
            Some(program) => {
                self.objects.use_it(program);
                self.network.xdp.insert(place, (AttachedBy::Program(program), mode));
            }
            None => {
                self.network.xdp.remove(&place);
            }
        }
        expected.into_iter().for_each(|old| self.unuse(old));
        Ok(())
    }

    pub(super) fn tcx_position(
        &self,
        program: Key,
        hook: TcPlace,
        anchor: ListAnchor,
        expected_revision: Option<u64>,
    ) -> Result<(TcPlace, usize), KernelError> {
        let (home, ifindex, direction) = hook;
        let name = || format!("tcx {direction} of interface {ifindex}");
        let fail = |number| refuse("attach", format!("a program to {}", name()), number);
        let namespace = self.network.reach(home, &name())?;
        let netns = namespace.has(ifindex).then_some(namespace.id).ok_or_else(|| fail(ENODEV))?;
        let place = (netns, ifindex, direction);
        let none = TcxHook::default();
        let TcxHook { revision, entries } = self.network.tcx.get(&place).unwrap_or(&none);
        if expected_revision.is_some_and(|expected| expected != *revision) {
            return Err(KernelError::HookChanged { hook: name() });
        }
        if entries.iter().any(|entry| self.program_at(*entry) == Some(program)) {
            return Err(fail(EEXIST));
        }
        let find = |kind, id, is: &dyn Fn(AttachedBy, Key) -> bool| {
            self.objects
                .find(kind, id)
                .and_then(|key| entries.iter().position(|entry| is(*entry, key)))
                .ok_or_else(|| KernelError::NoAnchor {
                    anchor: anchor.name().unwrap_or_default(),
                    hook: name(),
                })
        };
        let link = |id: KernelLinkId| find(LINK, id.0, &|entry, key| entry == AttachedBy::Link(key));
        let by_program =
            |id: ProgramId| find(PROGRAM, id.0, &|entry, key| self.program_at(entry) == Some(key));
        let at = match anchor {
            ListAnchor::First => 0,
            ListAnchor::Last => entries.len(),
            ListAnchor::Before(id) => link(id)?,
            ListAnchor::After(id) => link(id)? + 1,
            ListAnchor::BeforeProgram(id) => by_program(id)?,
            ListAnchor::AfterProgram(id) => by_program(id)? + 1,
        };
        if entries.len() >= MAX_TCX {
            return Err(KernelError::HookFull { hook: name(), most: MAX_TCX });
        }
        Ok((place, at))
    }

    pub(super) fn insert_tcx(&mut self, place: TcPlace, at: usize, entry: AttachedBy) {
        let hook = self.network.tcx.entry(place).or_default();
        hook.entries.insert(at, entry);
        hook.revision += 1;
    }

    fn xdp_via(&self, attached: AttachedBy, mode: XdpRunsIn) -> HookAttachment {
        let AttachedBy::Link(link) = attached else { return HookAttachment::XdpNetlink { mode } };
        let (program, Some(SimLinkTarget::Xdp { ifindex, .. })) =
            (self.program_of_link(link), self.place_of_link(link))
        else {
            return HookAttachment::XdpLink { links: Vec::new(), mode };
        };
        // The facts of a link in the kernel do not contain its namespace.
        let mut links: Vec<_> = self
            .objects
            .all
            .iter()
            .filter(|(key, _)| {
                matches!(self.place_of_link(**key), Some(SimLinkTarget::Xdp { ifindex: at, .. }) if at == ifindex)
                    && self.program_of_link(**key) == program
            })
            .map(|(_, object)| KernelLinkId(object.id))
            .collect();
        links.sort_unstable();
        HookAttachment::XdpLink { links, mode }
    }

    pub(super) fn place_of_link(&self, link: Key) -> Option<&SimLinkTarget> {
        match &self.objects.all.get(&link)?.body {
            Body::Link { place, .. } => Some(place),
            _ => None,
        }
    }

    pub(super) fn hook_contents(&self, key: &HookKey) -> Result<HookContents, KernelError> {
        let hook = || match key.kind.direction() {
            None => format!("XDP of interface {}", key.ifindex),
            Some(direction) => format!("{} {direction} of interface {}", key.kind.name(), key.ifindex),
        };
        let Some(home) = key.netns.id() else {
            let reason = "it waits for its interface, or went along with it";
            return Err(KernelError::HookGone { hook: hook(), reason });
        };
        let namespace = self.network.reach(home, &hook())?;
        if !namespace.has(key.ifindex) {
            let reason = "there is no such interface any more";
            return Err(KernelError::HookGone { hook: hook(), reason });
        }
        let program_id =
            |attached| self.program_at(attached).map(|program| ProgramId(self.objects.id(program)));
        let (direction, with_filters) = match key.kind {
            HookKind::Xdp => {
                let at = self.network.xdp.get(&(namespace.id, key.ifindex));
                let entries = at.map(|(attached, mode)| HookEntry {
                    program: program_id(*attached),
                    via: self.xdp_via(*attached, *mode),
                });
                return Ok(HookContents { revision: None, entries: entries.into_iter().collect() });
            }
            HookKind::Tcx(direction) => (direction, false),
            HookKind::Tc(direction) => (direction, true),
        };
        let place = (namespace.id, key.ifindex, direction);
        let mut contents = HookContents::default();
        if self.tcx {
            let none = TcxHook::default();
            let hook = self.network.tcx.get(&place).unwrap_or(&none);
            contents.revision = Some(hook.revision);
            contents.entries.extend(hook.entries.iter().map(|entry| HookEntry {
                program: program_id(*entry),
                via: match entry {
                    AttachedBy::Link(link) => {
                        HookAttachment::TcxLink { link: KernelLinkId(self.objects.id(*link)) }
                    }
                    AttachedBy::Program(_) => HookAttachment::TcxProgram,
                },
            }));
        }
        if with_filters {
            contents.entries.extend(self.filters_at(place));
        }
        Ok(contents)
    }

    fn filters_at(&self, place: TcPlace) -> impl Iterator<Item = HookEntry> {
        const PROTOCOL_ALL: u16 = 3;
        let at_place = self.filters.all.iter().filter(move |((at, ..), _)| *at == place);
        let mut found: Vec<_> = at_place
            .map(|((_, priority, handle), filter)| {
                let facts = FilterFacts {
                    priority: *priority,
                    handle: *handle,
                    protocol: PROTOCOL_ALL,
                    chain: 0,
                    kind: "bpf".to_owned(),
                    name: Some(filter.name.clone()),
                    direct_action: true,
                };
                (filter.made, facts, Some(ProgramId(self.objects.id(filter.program))))
            })
            .collect();
        // With equal priority, the newest filter runs first.
        found.sort_by_key(|(made, facts, _)| (facts.priority, std::cmp::Reverse(*made)));
        found.into_iter().map(|(_, facts, program)| HookEntry { program, via: HookAttachment::Filter(facts) })
    }
}
