use std::path::Path;

use bpfman_model::{
    CgroupPath, FileReader, GroupContents, HookContents, HookKey, HookKind, Interface, KernelLinkId,
    LinkFacts, NetnsId, ProcessScope, ProgramId, XdpRunsIn,
};

use bpfman_model::uapi::link_type;

use crate::sim::errno::EINVAL;
use crate::sim::{
    SimHandle, SimKernel,
    objects::{LINK, SimLinkTarget},
    refuse,
};
use crate::{FilterPlace, FoundFile, KernelError, KernelHooks, LinkTarget, NewLink, ProbeTargetError};

impl KernelHooks for SimKernel {
    fn link_of(&self, handle: &SimHandle) -> Result<LinkFacts, KernelError> {
        self.enter("link_of")?.link_facts(handle.key)
    }

    fn find_hook(&self, interface: &Interface, kind: HookKind) -> Result<HookKey, KernelError> {
        self.enter("find_hook")?.network.find_hook(interface, kind)
    }

    fn hook_contents(&self, _: Option<&Path>, key: &HookKey) -> Result<HookContents, KernelError> {
        self.enter("hook_contents")?.hook_contents(key)
    }

    fn group_contents(&self, path: &CgroupPath, attach_type: u32) -> Result<GroupContents, KernelError> {
        Ok(self.enter("group_contents")?.group_contents(path, attach_type))
    }

    fn link_ids(&self) -> Result<Vec<KernelLinkId>, KernelError> {
        Ok(self.enter("link_ids")?.objects.ids(LINK).map(KernelLinkId).collect())
    }

    fn open_link(&self, id: KernelLinkId) -> Result<Option<SimHandle>, KernelError> {
        let mut state = self.enter("open_link")?;
        Ok(state.objects.find(LINK, id.0).map(|key| self.handle(&mut state, key)))
    }

    fn attach_identified(
        &self,
        program: &SimHandle,
        target: &LinkTarget<'_>,
    ) -> Result<NewLink<SimHandle>, KernelError> {
        let mut state = self.enter("attach")?;
        self.features.check_target(target)?;
        let targets = state.identities(target)?;
        let key = state.attach(program.key, target)?;
        Ok(NewLink { link: self.handle(&mut state, key), targets })
    }

    fn binary_identity(
        &self,
        target: &str,
        _: &ProcessScope,
        reader: Option<&FileReader>,
    ) -> Result<FoundFile, KernelError> {
        self.wait_for_file(target);
        let state = self.enter("binary_identity")?;
        if let Some(reader) = reader.filter(|reader| reader.uid != 0)
            && state.targets.first_hidden(&[target.into()]).is_some()
        {
            let reason = ProbeTargetError::Unreadable { uid: reader.uid, path: target.to_owned() };
            return Err(KernelError::CannotProbe { target: format!("\"{target}\""), reason });
        }
        let is_local = state.is_local(target);
        Ok(FoundFile { identity: state.binary_identity(target)?, is_local })
    }

    fn read_iterator(&self, link: SimHandle, each: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), KernelError> {
        let facts = self.enter("read_iterator")?.link_facts(link.key)?;
        if facts.kernel_type != link_type::ITER {
            return Err(refuse("read", "what is no iterator", EINVAL));
        }
        each(format!("program {}\n", facts.program).as_bytes());
        Ok(())
    }

    fn find_target(&self, _: &LinkTarget<'_>) -> Result<(), KernelError> {
        self.enter("find_target").map(drop)
    }

    fn replace(
        &self,
        link: &SimHandle,
        program: &SimHandle,
        expected: &SimHandle,
    ) -> Result<(), KernelError> {
        self.enter("replace")?.replace(link.key, program.key, expected.key)
    }

    fn replace_struct_ops(
        &self,
        link: &SimHandle,
        map: &SimHandle,
        expected: &SimHandle,
    ) -> Result<(), KernelError> {
        self.enter("replace_struct_ops")?.replace_struct_ops(link.key, map.key, expected.key)
    }

    fn replace_unlinked_xdp(
        &self,
        _: Option<&Path>,
        key: &HookKey,
        mode: XdpRunsIn,
        program: Option<&SimHandle>,
        expected: Option<&SimHandle>,
    ) -> Result<(), KernelError> {
        let key_of = |handle: &SimHandle| handle.key;
        self.enter("replace_unlinked_xdp")?.replace_unlinked_xdp(
            key,
            mode,
            program.map(key_of),
            expected.map(key_of),
        )
    }

    fn netkit_device(
        &self,
        home: NetnsId,
        _: Option<&Path>,
        link: &SimHandle,
        _: u32,
    ) -> Result<Option<String>, KernelError> {
        let state = self.enter("netkit_device")?;
        let namespace = state.network.reach(home, "a network namespace")?;
        Ok(match state.place_of_link(link.key) {
            Some(SimLinkTarget::Netkit { netns, ifindex, .. }) if *netns == namespace.id => {
                namespace.name_of(*ifindex)
            }
            _ => None,
        })
    }

    fn end_link(&self, path: &Path) -> Result<(), KernelError> {
        let members = self
            .state()
            .pins
            .list(path)
            .map_err(|number| refuse("list", path.display().to_string(), number))?;
        for name in &members {
            self.enter("end_link")?.end_link(&path.join(name))?;
        }
        let mut state = self.enter("end_link")?;
        if state.pins.is_folder(path) {
            let fail = |number| refuse("remove folder", path.display().to_string(), number);
            return state.pins.remove_folder(path).map_err(fail);
        }
        state.end_link(path)
    }

    fn add_filter(&self, at: &FilterPlace<'_>, program: &SimHandle, name: &str) -> Result<(), KernelError> {
        self.enter("add_filter")?.add_filter(at, program.key, name)
    }

    fn replace_filter(
        &self,
        at: &FilterPlace<'_>,
        program: &SimHandle,
        expected: ProgramId,
        name: &str,
    ) -> Result<(), KernelError> {
        self.enter("replace_filter")?.replace_filter(at, program.key, expected, name)
    }

    fn remove_filter(&self, at: &FilterPlace<'_>, expected: ProgramId) -> Result<(), KernelError> {
        self.enter("remove_filter")?.remove_filter(at, expected)
    }

    fn filter_program(&self, at: &FilterPlace<'_>) -> Result<Option<ProgramId>, KernelError> {
        self.enter("filter_program")?.filter_program(at)
    }
}
