//! Programs at the hooks of one cgroup, in the order in which they run.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use bpfman_model::{AttachPoint, CgroupPath, KernelLinkId, LinkId, ProgramId, ProgramType};
use bpfmand_kernel::{Kernel, ObjectHolders};

use crate::describe::foreign::holders_among;
use crate::order::group::CgroupHook;
use crate::{Engine, EngineError, paths};

/// Programs that run at one hook for the tasks of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPrograms {
    /// The hook, as errors name it.
    pub hook: String,
    /// Programs of cgroups above with `BPF_F_PREORDER`, which run first.
    pub above_first: Vec<GroupProgram>,
    /// Programs of the cgroup itself.
    pub own: Vec<GroupProgram>,
    /// Other programs of cgroups above.
    pub above_last: Vec<GroupProgram>,
    /// False if the order of `own` is unknown; programs of cgroups above are then left out.
    pub is_order_known: bool,
}

/// Program at a hook of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupProgram {
    pub program: ProgramId,
    /// Name in the kernel, or the whole function name of the daemon's programs.
    pub name: String,
    /// Link of the daemon at this hook.
    pub link: Option<LinkId>,
    /// True if it is none of the daemon's programs.
    pub is_third_party: bool,
    /// Link in the kernel; `None` for programs that `BPF_PROG_ATTACH` attached, and for those of cgroups above.
    pub kernel_link: Option<KernelLinkId>,
    /// True if it has `BPF_F_PREORDER`; `None` if unknown: the kernel does not report that flag.
    pub preorder: Option<bool>,
    /// Processes that hold it, for third-party programs.
    pub held_by: Vec<String>,
}

impl<K: Kernel> Engine<K> {
    /// Returns the programs at each hook of a cgroup where the daemon has a link. Excludes `lsm_cgroup`: the kernel
    /// lists all of its hooks as one.
    pub fn group_programs(&self, path: &CgroupPath) -> Result<Vec<GroupPrograms>, EngineError> {
        let mut hooks: BTreeMap<u32, (String, Vec<(LinkId, String)>)> = BTreeMap::new();
        {
            let state = self.state();
            for link in state.links.values() {
                let is_here = matches!(&link.point, AttachPoint::Cgroup { path: at } if at == path);
                let Some(program) = state.member(link.program).filter(|_| is_here) else { continue };
                if program.program_type == ProgramType::LsmCgroup {
                    continue;
                }
                let Some(hook) = CgroupHook::of(program, link) else { continue };
                let (_, links) = hooks.entry(hook.attach_type).or_insert_with(|| (hook.name(), Vec::new()));
                links.push((link.id, program.name.clone()));
            }
        }
        // A scan of all processes takes long: one is enough for all programs.
        let holders = OnceCell::new();
        hooks
            .into_iter()
            .map(|(attach_type, (hook, links))| self.programs_at(path, attach_type, hook, &links, &holders))
            .collect()
    }

    fn programs_at(
        &self,
        path: &CgroupPath,
        attach_type: u32,
        hook: String,
        links: &[(LinkId, String)],
        holders: &OnceCell<ObjectHolders>,
    ) -> Result<GroupPrograms, EngineError> {
        let contents = self.kernel.group_contents(path, attach_type)?;
        let mut ours = Vec::with_capacity(links.len());
        for (link, name) in links {
            ours.extend(self.pinned_link(&paths::link(*link))?.map(|facts| (facts.id, *link, name)));
        }
        let preorder = self.preorder_of(&contents);
        let first_own =
            contents.entries.iter().position(|(_, link)| ours.iter().any(|(own, ..)| Some(*own) == *link));
        let own = contents.entries.iter().enumerate().map(|(at, (program, kernel_link))| {
            let own = ours.iter().find(|(own, ..)| Some(*own) == *kernel_link);
            if let Some((_, link, name)) = own {
                return Ok(GroupProgram {
                    program: *program,
                    name: (*name).clone(),
                    link: Some(*link),
                    is_third_party: false,
                    kernel_link: *kernel_link,
                    preorder: Some(false),
                    held_by: Vec::new(),
                });
            }
            let is_preorder = match preorder {
                Some(count) if at < count => Some(true),
                Some(_) if first_own.is_some_and(|own| own < at) => Some(false),
                _ => None,
            };
            self.other_attachment(*program, *kernel_link, is_preorder, holders)
        });
        let own = own.collect::<Result<_, EngineError>>()?;
        let above = |programs: &[ProgramId], preorder| -> Result<Vec<GroupProgram>, EngineError> {
            let other = |program: &ProgramId| self.other_attachment(*program, None, Some(preorder), holders);
            programs.iter().map(other).collect()
        };
        Ok(GroupPrograms {
            hook,
            above_first: above(&contents.above_first, true)?,
            own,
            above_last: above(&contents.above_last, false)?,
            is_order_known: preorder.is_some(),
        })
    }

    fn other_attachment(
        &self,
        program: ProgramId,
        kernel_link: Option<KernelLinkId>,
        preorder: Option<bool>,
        holders: &OnceCell<ObjectHolders>,
    ) -> Result<GroupProgram, EngineError> {
        let own = self.state().program(program).map(|own| own.name.clone());
        let is_third_party = own.is_none();
        let (name, held_by) = match own {
            Some(name) => (name, Vec::new()),
            None => {
                let facts = self.kernel.program(program)?;
                let name = facts.map(|facts| facts.name).unwrap_or_default();
                let all = || self.kernel.all_holders().unwrap_or_default();
                (name, holders_among(holders.get_or_init(all), program, kernel_link))
            }
        };
        Ok(GroupProgram { program, name, link: None, is_third_party, kernel_link, preorder, held_by })
    }
}
