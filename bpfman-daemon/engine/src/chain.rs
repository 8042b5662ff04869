//! Chains: the members of a hook, made into the one program that the hook runs.

use std::path::Path;
use std::sync::Arc;

use bpfmand_core::{HookKey, HookKind, Interface, ProgramId};
use bpfmand_kernel::{FilterPlace, Kernel, KernelError, ProgramKind, ProgramLoad, TcFilter};
use bpfmand_splice::{
    FragsRule, FrameRounding, HookKind as SpliceHook, Member, ProceedMask, SpliceOptions, can_attach_direct,
    splice,
};

use crate::members::calls_kfuncs;
use crate::records::{Entry, HookRecord, LinkRecord, Strategy};
use crate::{Engine, EngineError, paths};

/// The program that a hook is to run.
pub struct BuiltChain<H> {
    /// How it was made.
    pub strategy: Strategy,
    /// Keeps it loaded.
    pub handle: H,
    /// The kernel's id.
    pub id: ProgramId,
    /// The kernel's tag.
    pub tag: [u8; 8],
}

impl<K: Kernel> Engine<K> {
    /// True if chains of type `tc` enter by tcx here.
    pub(crate) fn tc_enters_by_tcx(&self) -> bool {
        self.kernel.features().tcx && !self.tc_by_clsact
    }

    /// What the end of a chain has to answer: tcx and filters want different verdicts. A hook that is entered already
    /// says it by how it is; only a new one is entered as the configuration wants.
    fn splice_hook(&self, kind: HookKind, entered: Option<Entry>) -> SpliceHook {
        match (kind, entered) {
            (HookKind::Xdp, _) => SpliceHook::Xdp,
            (_, Some(Entry::Link)) => SpliceHook::TcTcx,
            (_, Some(Entry::Filter { .. })) => SpliceHook::TcClsact,
            (_, None) if self.tc_enters_by_tcx() => SpliceHook::TcTcx,
            (_, None) => SpliceHook::TcClsact,
        }
    }

    /// Makes the program for a hook out of its links, which are in order.
    pub(crate) fn build_chain(
        &self,
        key: &HookKey,
        interface: &Interface,
        links: &[Arc<LinkRecord>],
        entered: Option<Entry>,
    ) -> Result<BuiltChain<K::Handle>, EngineError> {
        self.refuse_lost(links.iter().map(|link| &**link))?;
        let hook = self.splice_hook(key.kind, entered);
        if let [only] = links
            && can_attach_direct(hook, mask(only))
        {
            return self.direct(only);
        }
        let members = links
            .iter()
            .map(|link| {
                let program = self.member_record(link.program).ok_or_else(|| lost(link))?;
                let text = self.member(&program)?;
                Ok((link, program, text))
            })
            .collect::<Result<Vec<_>, EngineError>>()?;
        let features = self.kernel.features();
        let mut options = SpliceOptions::new(hook);
        options.rounding = if features.frames_by_16 { FrameRounding::To16 } else { FrameRounding::To32 };
        options.ja32 = features.long_jumps;
        options.frags = FragsRule::OnlyIfAll;
        let special = if members.iter().any(|(_, _, member)| calls_kfuncs(&member.text.0.insns)) {
            self.special_kfuncs()?
        } else {
            SpecialKfuncs::default()
        };
        options.throwing_kfuncs = &special.throwing;
        options.deferring_kfuncs = &special.deferring;
        let parts: Vec<Member<'_>> = members
            .iter()
            .map(|(link, program, member)| Member {
                needs_own_btf: member.needs_own_btf,
                kernel_stack_depths: program.stack_depths.as_deref(),
                ..Member::new(&program.name, &member.text, mask(link))
            })
            .collect();
        let name = chain_name(key, interface);
        let joined = splice(&name, &parts, &options).map_err(|source| EngineError::Chain {
            hook: hook_text(key, interface),
            source: Box::new(source),
        })?;
        let kind = match key.kind {
            HookKind::Xdp => ProgramKind { kernel_type: 6, expected_attach_type: 37 },
            _ => ProgramKind { kernel_type: 3, expected_attach_type: 0 },
        };
        self.step("chain", "load");
        let loaded = self.kernel.load_program(&ProgramLoad {
            name: &name,
            text: &joined.text,
            kind,
            attach_btf_id: 0,
            extends: None,
            device: None,
            log: bpfmand_kernel::LogRequest::OnFailure,
        })?;
        let facts = self.kernel.program_of(&loaded.program)?;
        Ok(BuiltChain { strategy: Strategy::Splice, handle: loaded.program, id: facts.id, tag: facts.tag })
    }

    fn direct(&self, link: &LinkRecord) -> Result<BuiltChain<K::Handle>, EngineError> {
        let program = self.member_record(link.program).ok_or_else(|| lost(link))?;
        let handle = self.kernel.open_program(program.id)?.ok_or(EngineError::NoKernelProgram(program.id))?;
        Ok(BuiltChain { strategy: Strategy::Direct, handle, id: program.id, tag: program.tag })
    }

    fn special_kfuncs(&self) -> Result<SpecialKfuncs, EngineError> {
        let btf = self.kernel_btf()?;
        let ids = |names: &[&str]| {
            names.iter().filter_map(|name| btf.function_id(name)).map(u32::cast_signed).collect()
        };
        Ok(SpecialKfuncs {
            throwing: ids(&["bpf_throw"]),
            deferring: ids(&["bpf_wq_init", "bpf_wq_set_callback_impl", "bpf_wq_start"]),
        })
    }

    /// True if something is still where ours was put. Strangers can remove pins and filters, and interfaces go.
    pub(crate) fn is_entered(&self, hook: &HookRecord) -> Result<bool, EngineError> {
        match hook.entry {
            // A link whose interface is gone stays pinned, and does nothing.
            Entry::Link => match self.kernel.open_pin(&paths::hook_link(&hook.key))? {
                Some(link) => Ok(self.kernel.link_of(&link)?.ifindex.is_some()),
                None => Ok(false),
            },
            Entry::Filter { priority, handle } => {
                let filter = TcFilter { priority, handle };
                let Some(at) = filter_place(&hook.key, &hook.interface, filter) else { return Ok(false) };
                match self.kernel.filter_program(&at) {
                    Ok(program) => Ok(program.is_some()),
                    // The filter went with its namespace.
                    Err(KernelError::NoNamespace { .. }) => Ok(false),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// Puts another program where a hook's chain is. Packets meet the old one or the new one.
    ///
    /// A hook whose interface is gone has nothing to be swapped: that is no error.
    pub(crate) fn swap(
        &self,
        hook: &HookRecord,
        from: ProgramId,
        to: &K::Handle,
        interface: &Interface,
    ) -> Result<(), EngineError> {
        match hook.entry {
            Entry::Link => {
                let changed = || {
                    EngineError::Kernel(KernelError::HookChanged { hook: hook_text(&hook.key, interface) })
                };
                let link = self.kernel.open_pin(&paths::hook_link(&hook.key))?.ok_or_else(changed)?;
                if self.kernel.link_of(&link)?.ifindex.is_none() {
                    return Ok(());
                }
                let expected = self.kernel.open_program(from)?.ok_or_else(changed)?;
                match self.held_network.during(|| self.kernel.replace(&link, to, &expected)) {
                    // Its interface went after the look above: a namespace is taken down some time after its name.
                    Err(_) if self.kernel.link_of(&link)?.ifindex.is_none() => Ok(()),
                    result => Ok(result?),
                }
            }
            Entry::Filter { priority, handle } => {
                let filter = TcFilter { priority, handle };
                let Some(at) = filter_place(&hook.key, interface, filter) else { return Ok(()) };
                let name = chain_name(&hook.key, interface);
                Ok(self.held_network.during(|| self.kernel.replace_filter(&at, to, from, &name))?)
            }
        }
    }
}

/// Where a filter is; none for a hook that has no filters.
pub fn filter_place<'a>(
    key: &HookKey,
    interface: &'a Interface,
    filter: TcFilter,
) -> Option<FilterPlace<'a>> {
    let direction = key.kind.direction()?;
    Some(FilterPlace { netns: interface.netns.as_deref(), ifindex: key.ifindex, direction, filter })
}

#[derive(Default)]
struct SpecialKfuncs {
    throwing: Vec<i32>,
    deferring: Vec<i32>,
}

fn mask(link: &LinkRecord) -> ProceedMask {
    ProceedMask(link.point.proceed_on().map_or(0, bpfmand_core::ProceedOn::mask))
}

fn lost(link: &LinkRecord) -> EngineError {
    EngineError::Invalid(format!("link {} belongs to a program that has no record", link.id))
}

/// The stable name of a hook's chain: what `bpftool` and `ip link` show. The kernel keeps 15 bytes.
pub fn chain_name(key: &HookKey, interface: &Interface) -> String {
    let prefix = match key.kind.direction() {
        None => "xdp",
        Some(bpfmand_core::Direction::Ingress) => "tci",
        Some(bpfmand_core::Direction::Egress) => "tce",
    };
    let clean: String =
        interface.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(11).collect();
    format!("{prefix}_{clean}")
}

/// A hook in messages: `xdp:eth0`, `tc:eth0:ingress@/run/netns/a`.
pub fn hook_text(key: &HookKey, interface: &Interface) -> String {
    let mut text = format!("{}:{}", key.kind.name(), interface.name);
    if let Some(direction) = key.kind.direction() {
        text.push(':');
        text.push_str(direction.name());
    }
    if let Some(netns) = &interface.netns {
        text.push('@');
        text.push_str(&Path::display(netns).to_string());
    }
    text
}
